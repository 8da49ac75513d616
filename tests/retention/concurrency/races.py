"""Two callers at once: what each does, and what must hold whoever comes first.

A race is prepared in the world, its two acts run at the same moment (in threads that meet before COMMIT, or in two
processes), and its check looks at what became of both: a value, or the error that a caller would see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from audit.entry import Action
from retention.custody.access import manage_cases, manage_consents, manage_stamps
from retention.custody.erasure import erasure_steps
from retention.custody.uploads import declaration, handover, upload_session
from retention.custody.uploads.completion import finish_upload, verify_bundle
from retention.domain.actor import Role
from retention.domain.faults import Conflict, CustodyError
from retention.jobs.sweep import begin_due, begin_expired
from retention.records.tables import (
    actors,
    assignments,
    bundles,
    consents,
    erasure_bundles,
    erasures,
    grants,
    parts,
    receipts,
)
from retention.records.tables import cases as case_table
from tests.retention.custody.world import DAY, HOUR, ISSUER, World

CONTENT = bytes(range(250)) * 12
Args = Mapping[str, Any]
Act = Callable[[World, Args], Any]


@dataclass(frozen=True)
class Race:
    """`first` and `second` run at once on what `prepare` made; `check` raises if no serial order explains what came."""

    prepare: Callable[[World, int], Args]
    first: Act
    second: Act
    check: Callable[[World, Args, Sequence[Any]], None]


def outcome(act: Act, world: World, args: Args) -> Any:
    """What a caller would see: a value, or the error as one."""
    try:
        return act(world, args)
    except CustodyError as error:
        return error


def _number(turn: int) -> str:
    return f"{turn:015d}"


def _case(world: World, turn: int) -> Args:
    number = _number(turn)
    case = world.open_case(number)
    world.assign(world.engineer, world.colleague, world.partner, number=number)
    return {"number": number, "case": case.id, "turn": turn}


def _case_and_consent(world: World, turn: int) -> Args:
    args = _case(world, turn)
    until = world.clock.now() + 30 * DAY
    consent = manage_consents.give_consent(world.custody, world.operator, args["number"], "oem", until, None)
    return {**args, "consent": consent.id}


def _case_and_bundle(world: World, turn: int) -> Args:
    args = _case(world, turn)
    return {**args, "bundle": world.upload(CONTENT, args["number"])}


def _case_bundle_and_grant(world: World, turn: int) -> Args:
    args = _case_and_bundle(world, turn)
    return {**args, "grant": world.grant(number=args["number"]).id}


def _unclaimed(world: World, turn: int) -> Args:
    first, second = _case(world, turn), _case(world, 10**9 + turn)
    return {**first, "other": second["number"], "bundle": world.upload(CONTENT, None)}


def _due_bundles(world: World, turn: int) -> Args:
    number, start = _number(turn), world.clock.now() - 100 * DAY
    manage_cases.open_case(world.custody, world.case_system, number, "contoso", start)
    held = [world.announce(len(CONTENT), number) for _ in range(3)]
    manage_cases.close_case(world.custody, world.case_system, number, start + DAY)
    return {"bundles": held}


def _expired_upload(world: World, turn: int) -> Args:
    world.open_case(_number(turn))
    bundle = world.announce(len(CONTENT), _number(turn))
    stale = bundles.update().where(bundles.c.id == bundle).values(expires_at=world.clock.now() - HOUR)
    world.custody.records.write(lambda tx: tx.change(stale))
    return {"bundles": [bundle]}


def _two_last_bundles(world: World, turn: int) -> Args:
    args = _case(world, turn)
    held = [world.announce(len(CONTENT), args["number"]) for _ in range(2)]
    erasure = erasure_steps.request_case_erasure(world.custody, world.operator, args["number"])
    return {"bundles": held, "erasure": erasure.id}


def _upload(world: World, turn: int) -> Args:
    world.open_case(_number(turn))
    bundle = world.announce(len(CONTENT), _number(turn))
    world.send(bundle, CONTENT[:500])
    return {"bundle": bundle}


def _all_recorded(world: World, turn: int) -> Args:
    """Every byte is recorded, and the request died before it could say so."""
    args = _upload(world, turn)
    with upload_session.begin(
        world.custody, upload_session.Uploads(), world.stamp, args["bundle"], 500
    ) as session:
        session.feed(CONTENT[500:])
        session._end_part()
    return args


def _received(world: World, turn: int) -> Args:
    args = _all_recorded(world, turn)
    finish_upload(world.custody, world.stamp, args["bundle"])
    return args


def _turn_only(_world: World, turn: int) -> Args:
    return {"turn": turn}


def _grants(world: World, args: Args, *which: Any) -> int:
    live = select(func.count()).where(grants.c.case_id == args["case"], grants.c.ended_at.is_(None), *which)
    with world.custody.records.read() as reads:
        return int(reads.execute(live).scalar_one())


def _rows(world: World, statement: Any) -> Sequence[Any]:
    with world.custody.records.read() as reads:
        return reads.execute(statement).all()


def _no_live_grant(world: World, args: Args, _outcomes: Sequence[Any]) -> None:
    assert _grants(world, args) == 0, "a grant outlived what it rests on"


def _one_conflict(_world: World, _args: Args, outcomes: Sequence[Any]) -> None:
    assert [isinstance(o, Conflict) for o in outcomes].count(True) == 1, outcomes
    assert [isinstance(o, Exception) for o in outcomes].count(True) == 1, outcomes


def _deadline_known(world: World, args: Args, outcomes: Sequence[Any]) -> None:
    held = _rows(world, select(bundles).where(bundles.c.case_id == args["case"]))
    assert len(held) == (0 if isinstance(outcomes[0], Exception) else 1)
    assert all(bundle.due_at is not None for bundle in held), "no sweep will ever find this bundle"


def _claimed_once(world: World, args: Args, outcomes: Sequence[Any]) -> None:
    _one_conflict(world, args, outcomes)
    entries = [e for e in world.entries() if e.action == Action.BUNDLE_CLAIMED and e.bundle == args["bundle"]]
    assert len(entries) == 1


def _claimed_with_deadline(world: World, args: Args, outcomes: Sequence[Any]) -> None:
    bundle = world.row(args["bundle"])
    assert bundle.due_at is not None
    assert (bundle.case_id is None) == isinstance(outcomes[0], Exception)
    case = _rows(world, select(case_table).where(case_table.c.id == args["case"]))[0]
    assert case.state == "closed"


def _erasures_of(world: World, bundle: str) -> list[Any]:
    of = erasure_bundles.c
    return list(_rows(world, select(of.erasure_id).where(of.bundle_id == bundle)))


def _begun_once(world: World, args: Args, outcomes: Sequence[Any]) -> None:
    assert sum(outcomes) == len(args["bundles"]), outcomes
    for bundle in args["bundles"]:
        assert world.state(bundle) == "erasing"
        assert len(_erasures_of(world, bundle)) == 1


def _same_confirmation(_world: World, _args: Args, outcomes: Sequence[Any]) -> None:
    assert outcomes[0].confirmation == outcomes[1].confirmation


def _proven(world: World, args: Args, _outcomes: Sequence[Any]) -> None:
    erasure = _rows(world, select(erasures).where(erasures.c.id == args["erasure"]))[0]
    assert erasure.proven_at is not None, "no sweep looks for it any more: it would never be proven"
    assert len(_rows(world, select(receipts).where(receipts.c.subject_id == args["erasure"]))) == 1
    proofs = [
        e for e in world.entries() if e.subject == args["erasure"] and e.action == Action.ERASURE_PROVEN
    ]
    assert len(proofs) == 1


def _one_tombstone(world: World, args: Args, _outcomes: Sequence[Any]) -> None:
    bundle = args["bundles"][0]
    assert len([e for e in world.entries() if e.action == Action.BUNDLE_ERASED and e.bundle == bundle]) == 1


def _parts_fit(world: World, args: Args, _outcomes: Sequence[Any]) -> None:
    found = _rows(world, select(parts).where(parts.c.bundle_id == args["bundle"]).order_by(parts.c.number))
    at = 0
    for number, part in enumerate(found):
        assert (part.number, part.offset) == (number, at)
        at += part.length
    assert world.row(args["bundle"]).offset == at


def _uploaded(world: World, args: Args, outcomes: Sequence[Any]) -> None:
    _parts_fit(world, args, outcomes)
    offset = world.row(args["bundle"]).offset
    if offset < len(CONTENT):
        world.send(args["bundle"], CONTENT[offset:], offset)
    assert verify_bundle(world.custody, args["bundle"]) == "complete"


def _one_entry(action: Action) -> Callable[[World, Args, Sequence[Any]], None]:
    def check(world: World, args: Args, outcomes: Sequence[Any]) -> None:
        assert not any(isinstance(o, Exception) for o in outcomes), outcomes
        found = [e for e in world.entries() if e.action == action and e.bundle == args["bundle"]]
        assert len(found) == 1

    return check


def _read_stands_before_the_end(world: World, args: Args, _outcomes: Sequence[Any]) -> None:
    over = False
    for logged in world.entries():
        if logged.subject == args["grant"] and logged.action == Action.GRANT_ENDED:
            over = True
        if logged.bundle == args["bundle"] and logged.action == Action.BUNDLE_ERASING:
            over = True
        opened = logged.action == Action.BUNDLE_OPENED and logged.outcome == "success"
        if opened and logged.bundle == args["bundle"]:
            assert not over, "by the log, a bundle was opened under a grant that had ended"


def _one_actor(world: World, args: Args, outcomes: Sequence[Any]) -> None:
    assert outcomes[0].id == outcomes[1].id
    subject = f"new-{args['turn']}@support.example"
    assert len(_rows(world, select(actors).where(actors.c.subject == subject))) == 1


def _assigned_once(world: World, args: Args, outcomes: Sequence[Any]) -> None:
    assert list(outcomes) == [None, None]
    made = select(assignments).join(actors, actors.c.id == assignments.c.actor_id)
    subject = f"late-{args['turn']}@support.example"
    assert len(_rows(world, made.where(actors.c.subject == subject))) == 1


def _revoked(world: World, args: Args, outcomes: Sequence[Any]) -> None:
    _no_live_grant(world, args, outcomes)
    assert _rows(world, select(consents).where(consents.c.id == args["consent"]))[0].revoked_at is not None


def _grant(world: World, args: Args) -> Any:
    return world.grant(number=args["number"])


def _grant_partner(world: World, args: Args) -> Any:
    return world.grant(world.partner, number=args["number"])


def _close(world: World, args: Args) -> Any:
    return world.close_case(args["number"])


def _unassign(world: World, args: Args) -> Any:
    return world.unassign(world.engineer, args["number"])


def _revoke(world: World, args: Args) -> Any:
    return manage_consents.revoke_consent(world.custody, world.operator, args["consent"])


def _announce(world: World, args: Args) -> Any:
    return world.announce(len(CONTENT), args["number"])


def _claim(world: World, args: Args) -> Any:
    return declaration.claim_bundle(world.custody, world.engineer, args["bundle"], args["number"])


def _claim_for_other(world: World, args: Args) -> Any:
    return declaration.claim_bundle(world.custody, world.colleague, args["bundle"], args["other"])


def _erase_case(world: World, args: Args) -> Any:
    return erasure_steps.request_case_erasure(world.custody, world.operator, args["number"])


def _erase_bundle(world: World, args: Args) -> Any:
    return erasure_steps.request_bundle_erasure(world.custody, world.operator, args["bundle"])


def _carry_out(which: int) -> Act:
    return lambda world, args: erasure_steps.erase_bundle(world.custody, args["bundles"][which])


def _park_more(world: World, args: Args) -> Any:
    uploads = upload_session.Uploads()
    with upload_session.begin(world.custody, uploads, world.stamp, args["bundle"], 500) as session:
        session.feed(CONTENT[500:])
        return session.park()


def _take_over(world: World, args: Args) -> Any:
    return handover.take_over(world.custody, world.stamp, args["bundle"], "a token", 500, None)


def _open(world: World, args: Args) -> Any:
    return world.open(args["bundle"]).close()


def _sign_in(world: World, args: Args) -> Any:
    return world.actor(f"new-{args['turn']}@support.example", Role.SUPPORT_ENGINEER)


def _assign_new(world: World, args: Args) -> Any:
    subject = f"late-{args['turn']}@support.example"
    return manage_cases.assign(world.custody, world.case_system, args["number"], ISSUER, subject)


def _open_same_case(world: World, args: Args) -> Any:
    return world.open_case(_number(args["turn"]))


def _register(world: World, args: Args) -> Any:
    name = f"directory-{args['turn']}"
    return manage_stamps.register_tenant(world.custody, world.administrator, "A customer", name)


RACES: Mapping[str, Race] = {
    "grant, close": Race(_case, _grant, _close, _no_live_grant),
    "grant, unassign": Race(_case, _grant, _unassign, _no_live_grant),
    "partner's grant, revoke the consent": Race(_case_and_consent, _grant_partner, _revoke, _revoked),
    "announce, close": Race(_case, _announce, _close, _deadline_known),
    "claim, claim": Race(_unclaimed, _claim, _claim_for_other, _claimed_once),
    "claim, close": Race(_unclaimed, _claim, _close, _claimed_with_deadline),
    "sweep, sweep": Race(
        _due_bundles, lambda w, a: begin_due(w.custody), lambda w, a: begin_due(w.custody), _begun_once
    ),
    "expire, expire": Race(
        _expired_upload,
        lambda w, a: begin_expired(w.custody),
        lambda w, a: begin_expired(w.custody),
        _begun_once,
    ),
    "part, take over": Race(_upload, _park_more, _take_over, _parts_fit),
    "upload, upload": Race(_upload, _park_more, _park_more, _uploaded),
    "finish, finish": Race(
        _all_recorded,
        lambda w, a: finish_upload(w.custody, w.stamp, a["bundle"]),
        lambda w, a: finish_upload(w.custody, w.stamp, a["bundle"]),
        _one_entry(Action.BUNDLE_RECEIVED),
    ),
    "verify, verify": Race(
        _received,
        lambda w, a: verify_bundle(w.custody, a["bundle"]),
        lambda w, a: verify_bundle(w.custody, a["bundle"]),
        _one_entry(Action.BUNDLE_VERIFIED),
    ),
    "erase a case, erase it": Race(_case_and_bundle, _erase_case, _erase_case, _same_confirmation),
    "erase an empty case, erase it": Race(_case, _erase_case, _erase_case, _same_confirmation),
    "erase a bundle, erase it": Race(_case_and_bundle, _erase_bundle, _erase_bundle, _same_confirmation),
    "the last bundle, the last bundle": Race(_two_last_bundles, _carry_out(0), _carry_out(1), _proven),
    "one bundle, by two workers": Race(_two_last_bundles, _carry_out(0), _carry_out(0), _one_tombstone),
    "open, close": Race(_case_bundle_and_grant, _open, _close, _read_stands_before_the_end),
    "open, erase": Race(_case_bundle_and_grant, _open, _erase_bundle, _read_stands_before_the_end),
    "sign in, sign in": Race(_turn_only, _sign_in, _sign_in, _one_actor),
    "assign, assign": Race(_case, _assign_new, _assign_new, _assigned_once),
    "open a case, open it": Race(_turn_only, _open_same_case, _open_same_case, _one_conflict),
    "register, register": Race(_turn_only, _register, _register, _one_conflict),
}
