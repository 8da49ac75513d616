"""Rows written by somebody who has the database and no key open nothing, and the doctor names them (P2, P6)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from audit.log.sequencer import TreeDamagedError
from audit.log.tail_recovery import RowGaps
from retention.custody import bundle_moves
from retention.custody.access import manage_cases, manage_consents, manage_grants
from retention.custody.access.bound_access import ALTERED, Altered
from retention.custody.access.first_binding import end_unproven
from retention.custody.access.manage_grants import bind_anew
from retention.custody.uploads import completion, concatenation, declaration
from retention.domain.actor import CLOCK
from retention.domain.faults import Conflict, Refused, Unavailable
from retention.domain.faults import NotFound as CustodyNotFound
from retention.envelope.manifest import Manifest
from retention.records.queries import bundle_parts
from tests.retention.attacks.conftest import CONTENT, Scene
from tests.retention.custody.world import HOUR, ISSUER, NUMBER, OTHER_NUMBER, REASON, World

ASSIGN = (
    "INSERT INTO assignments (case_id, actor_id, assigned_at) "
    "SELECT case_id, :mallory, assigned_at FROM assignments WHERE actor_id = :erin"
)
GRANT = (
    "INSERT INTO grants (id, case_id, actor_id, reason, granted_at, expires_at) "
    "SELECT 'grn_forged', case_id, :mallory, reason, granted_at, expires_at FROM grants WHERE id = :grant"
)
COPY_ACCESS = (
    "UPDATE case_access SET tag = (SELECT tag FROM case_access WHERE case_id = :other) WHERE case_id = :case"
)

TO_MALLORY = {
    "an assignment and a grant put in": (ASSIGN, GRANT),
    "a grant given to another": (ASSIGN, "UPDATE grants SET actor_id = :mallory WHERE id = :grant"),
    "a grant brought from another case": (ASSIGN, "UPDATE grants SET case_id = :case WHERE id = :mallorys"),
    "an assignment brought from another case": (
        "UPDATE assignments SET case_id = :case WHERE actor_id = :mallory",
        GRANT,
    ),
    "an assignment changed hands": (
        "UPDATE assignments SET actor_id = :mallory WHERE actor_id = :erin",
        GRANT,
    ),
    "another case's tag": (ASSIGN, GRANT, COPY_ACCESS),
    "the tag taken away": (ASSIGN, GRANT, "DELETE FROM case_access WHERE case_id = :case"),
    "the bundle moved to one's own case": ("UPDATE bundles SET case_id = :other WHERE id = :bundle",),
    "the bundle moved with its new neighbour's tag": (
        "UPDATE bundles SET case_id = :other, tag = (SELECT tag FROM bundles WHERE id = :own) WHERE id = :bundle",
    ),
    "the bundle moved and its tag taken away": (
        "UPDATE bundles SET case_id = :other, tag = NULL WHERE id = :bundle",
    ),
    "the two cases' ids exchanged in their bundles": (
        "UPDATE bundles SET case_id = CASE WHEN case_id = :case THEN :other ELSE :case END WHERE case_id IS NOT NULL",
    ),
}


@pytest.mark.parametrize("name", TO_MALLORY)
def test_rows_that_the_service_did_not_write_open_nothing(scene: Scene, name: str) -> None:
    assert isinstance(scene.tried(scene.mallory, scene.bundle), CustodyNotFound)
    scene.attack(*TO_MALLORY[name])
    refused = scene.tried(scene.mallory, scene.bundle)
    assert isinstance(refused, Unavailable), refused
    assert refused.reason == ALTERED
    assert scene.world.last() == ("bundle.opened", "refused", ALTERED)
    assert isinstance(scene.tried(scene.mallory, scene.bundle, scene.another_process()), Unavailable)
    assert scene.found()


def test_who_may_read_reads_before_and_not_while_the_rows_are_altered(scene: Scene) -> None:
    assert scene.tried(scene.world.engineer, scene.bundle) == CONTENT
    assert scene.tried(scene.world.partner, scene.bundle) == CONTENT
    assert scene.found() == []
    scene.attack(ASSIGN)
    assert isinstance(scene.tried(scene.world.engineer, scene.bundle), Altered)
    scene.attack("DELETE FROM assignments WHERE actor_id = :mallory AND case_id = :case")
    assert scene.tried(scene.world.engineer, scene.bundle) == CONTENT
    assert scene.found() == []


OF_THE_CASE = {
    "a grant made longer": "UPDATE grants SET expires_at = expires_at + 3600000000 WHERE id = :grant",
    "a grant deleted": "DELETE FROM grants WHERE id = :partners",
    "a grant taken from its consent": "UPDATE grants SET consent_id = NULL WHERE id = :partners",
    "an assignment deleted": "DELETE FROM assignments WHERE actor_id = :pat",
    "a consent made longer": "UPDATE consents SET expires_at = expires_at + 1 WHERE id = :consent",
    "a consent for another partner": "UPDATE consents SET partner = 'rival' WHERE id = :consent",
    "a consent made whole": "UPDATE consents SET whole_case = true WHERE id = :consent",
    "a consent's bundle exchanged": "UPDATE consent_bundles SET bundle_id = :unnamed WHERE consent_id = :consent",
    "a consent's bundle added": "INSERT INTO consent_bundles (consent_id, bundle_id) VALUES (:consent, :unnamed)",
    "a case's number taken": "UPDATE cases SET number = '999' WHERE id = :case",
    "a case's customer": "UPDATE cases SET tenant_id = :other_tenant WHERE id = :case",
    "a version turned up": "UPDATE case_access SET version = version + 1 WHERE case_id = :case",
}


@pytest.mark.parametrize("name", OF_THE_CASE)
def test_a_change_of_anything_that_allows_a_read_closes_the_case(scene: Scene, name: str) -> None:
    scene.attack(OF_THE_CASE[name])
    for actor, bundle in ((scene.world.engineer, scene.bundle), (scene.world.partner, scene.unnamed)):
        assert not isinstance(scene.tried(actor, bundle), bytes)
    assert any(scene.named["case"] in one for one in scene.found())


def _release(world: World, scene: Scene) -> None:
    manage_grants.release_grant(world.custody, world.engineer, scene.named["grant"])


ENDED: dict[str, tuple[Any, str, str]] = {
    "a released grant": (
        _release,
        "UPDATE grants SET ended_at = NULL, end_cause = NULL WHERE id = :grant",
        "erin",
    ),
    "an ended assignment": (
        lambda world, scene: world.unassign(world.engineer),
        "UPDATE assignments SET unassigned_at = NULL WHERE actor_id = :erin; "
        "UPDATE grants SET ended_at = NULL, end_cause = NULL WHERE id = :grant",
        "erin",
    ),
    "a revoked consent": (
        lambda world, scene: manage_consents.revoke_consent(
            world.custody, world.operator, scene.named["consent"]
        ),
        "UPDATE consents SET revoked_at = NULL WHERE id = :consent; "
        "UPDATE grants SET ended_at = NULL, end_cause = NULL WHERE id = :partners",
        "pat",
    ),
    "a closed case": (
        lambda world, scene: world.close_case(),
        "UPDATE cases SET state = 'open' WHERE id = :case; "
        "UPDATE grants SET ended_at = NULL, end_cause = NULL WHERE case_id = :case",
        "erin",
    ),
}


@pytest.mark.parametrize("name", ENDED)
def test_what_ended_stays_ended(scene: Scene, name: str) -> None:
    """Un-ended by hand; then with the tag that was good before; then in a process that has seen nothing."""
    end, un_end, who = ENDED[name]
    world = scene.world
    actor = {"erin": world.engineer, "pat": world.partner}[who]
    assert scene.tried(actor, scene.bundle) == CONTENT
    kept = _access_rows(scene)
    end(world, scene)
    scene.attack(*un_end.split("; "))
    assert not isinstance(scene.tried(actor, scene.bundle), bytes)
    _put_back(scene, kept)
    refused = scene.tried(actor, scene.bundle)
    assert isinstance(refused, Altered), "an older tag, put back"
    refused = scene.tried(actor, scene.bundle, scene.another_process())
    assert isinstance(refused, Altered), "the log knows a later act"
    assert any("put back" in one for one in scene.found())


def test_what_is_put_back_with_the_logs_rows_gone_is_found_by_the_log_check(scene: Scene) -> None:
    """What is not held at once (N19): a process that has seen nothing, and the log's newest rows deleted as well. The
    read has its entry, the sequencer signs nothing over the gap, and the walker says which leaf is gone."""
    world = scene.world
    kept = _access_rows(scene)
    _release(world, scene)
    world.sequence()
    scene.attack(
        "UPDATE grants SET ended_at = NULL, end_cause = NULL WHERE id = :grant",
        "DELETE FROM audit_entries WHERE action = 'grant.released'",
    )
    _put_back(scene, kept)
    assert isinstance(scene.tried(world.engineer, scene.bundle), Altered), "this process remembers"
    assert scene.tried(world.engineer, scene.bundle, scene.another_process()) == CONTENT
    assert "bundle.opened" in {leaf["action"] for leaf in world.leaves()}
    with pytest.raises(TreeDamagedError):
        world.sequence()
    assert world.log_problems()
    if not scene.is_postgres:
        with world.custody.records.read() as reads:
            assert RowGaps().look(reads) == 1


def test_an_act_does_not_bless_what_was_put_in_before_it(scene: Scene) -> None:
    scene.attack(ASSIGN, GRANT)
    world = scene.world
    acts = (
        lambda: world.grant(),
        lambda: world.consent("rival"),
        lambda: world.assign(world.colleague),
    )
    for act in acts:
        with pytest.raises(Altered):
            act()
    assert isinstance(scene.tried(scene.mallory, scene.bundle), Altered)


def test_what_ends_access_is_done_on_altered_rows_too_and_opens_nothing(scene: Scene) -> None:
    scene.attack(ASSIGN, GRANT)
    world = scene.world
    world.unassign(world.partner)
    world.close_case()
    assert world.leaves()[-1]["action"] in ("case.closed", "grant.ended")
    scene.attack("UPDATE cases SET state = 'open' WHERE id = :case")
    for actor in (scene.mallory, world.engineer, world.partner):
        assert not isinstance(scene.tried(actor, scene.bundle), bytes)


def test_a_case_is_begun_anew_by_an_administrator_with_nobody_in_it(scene: Scene) -> None:
    scene.attack(ASSIGN, GRANT)
    world = scene.world
    ended = end_unproven(world.custody, world.administrator, NUMBER)
    assert ended == 3 + 3 + 1  # grants, assignments, the consent
    assert world.last() == ("access.bound", "success", None)
    assert scene.found() == []
    for actor in (scene.mallory, world.engineer):
        assert isinstance(scene.tried(actor, scene.bundle), (Refused, CustodyNotFound))
    world.assign(world.engineer)
    world.grant()
    assert scene.tried(world.engineer, scene.bundle) == CONTENT
    assert end_unproven(world.custody, world.administrator, "no such case") is None


@pytest.mark.parametrize(
    "forged",
    [
        "UPDATE cases SET tenant_id = :other_tenant WHERE id = :case",
        "UPDATE cases SET state = 'closed' WHERE id = :case",
    ],
)
def test_a_case_begun_anew_is_whose_and_in_which_state_the_log_says(scene: Scene, forged: str) -> None:
    """Else whoever writes the database makes itself the customer, by the very command that mends the case."""
    scene.attack(forged)
    with pytest.raises(Conflict) as refused:
        end_unproven(scene.world.custody, scene.world.administrator, NUMBER)
    assert refused.value.reason == "case-altered"
    assert scene.world.last()[0] != "access.bound"


def test_records_of_a_back_up_are_bound_beyond_what_any_process_has_seen(scene: Scene) -> None:
    """After a restore under running processes: those that have seen later versions believe what was reconciled."""
    world, other = scene.world, scene.another_process()
    case, now = scene.named["case"], world.clock.now()
    kept = _access_rows(scene)
    for process in (world, other):
        process.custody.binding.remember(case, 50)
    assert isinstance(scene.tried(world.engineer, scene.bundle, other), Altered)
    world.custody.records.write(lambda tx: bind_anew(tx, world.custody.binding, CLOCK, [case], now))
    assert scene.tried(world.engineer, scene.bundle, other) == CONTENT
    assert scene.tried(world.engineer, scene.bundle) == CONTENT
    _put_back(scene, kept)
    assert isinstance(scene.tried(world.engineer, scene.bundle), Altered)
    scene.attack(ASSIGN)
    world.custody.records.write(lambda tx: bind_anew(tx, world.custody.binding, CLOCK, [case], now))
    assert isinstance(scene.tried(world.engineer, scene.bundle), Altered), "what was altered is not bound"


def test_a_bundle_put_back_into_the_case_that_it_left_is_not_opened_there(scene: Scene) -> None:
    world = scene.world
    world.assign(world.engineer, number=OTHER_NUMBER)
    before = dict(_rows(scene, "SELECT id, tag FROM bundles"))[scene.bundle]
    bundle_moves.move_bundle(world.custody, world.engineer, scene.bundle, OTHER_NUMBER, REASON)
    scene.named["before"] = before
    scene.attack("UPDATE bundles SET case_id = :case, tag = :before WHERE id = :bundle")
    assert not isinstance(scene.tried(world.engineer, scene.bundle), bytes)
    assert any(scene.bundle in one for one in scene.found())
    with pytest.raises(Altered):
        bundle_moves.move_bundle(world.custody, world.engineer, scene.bundle, OTHER_NUMBER, REASON)


PARTS = {
    "swapped": 'UPDATE parts SET number = 99 - number, "offset" = 10 - "offset" WHERE bundle_id = :two',
    "cut": "DELETE FROM parts WHERE bundle_id = :two AND number = 1; UPDATE bundles SET size = 10 WHERE id = :two",
    "with a manifest to it": "DELETE FROM parts WHERE bundle_id = :two AND number = 1; "
    "UPDATE bundles SET size = 10, manifest = :cut WHERE id = :two",
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_in_another_order_or_fewer_than_were_received_are_not_read(scene: Scene, name: str) -> None:
    world = scene.world
    two = scene.named["two"] = world.announce(20)
    world.send(two, b"a" * 10)
    with world.custody.records.read() as reads:
        first = Manifest(two, bundle_parts(reads, two))
    scene.named["cut"] = first.hash().hex()
    world.send(two, b"b" * 10, 10)
    completion.verify_bundle(world.custody, two)
    assert world.read(two) == b"a" * 10 + b"b" * 10
    scene.attack(*PARTS[name].split("; "))
    assert isinstance(scene.tried(world.engineer, two), Altered)
    assert world.last() == ("bundle.read-ended", "failed", ALTERED) or "manifest" in name


@pytest.mark.parametrize("verb", ["move", "claim"])
def test_whoever_was_assigned_once_takes_no_bundle_along_in_a_process_that_has_seen_nothing(
    scene: Scene, verb: str
) -> None:
    """It would be bound to the other case by the service itself, and read there under a good grant."""
    world, number = scene.world, NUMBER if verb == "move" else OTHER_NUMBER
    loose = world.upload(b"of no case", None)
    world.assign(scene.mallory, number=number)
    kept = _access_rows(scene)
    world.unassign(scene.mallory, number)
    scene.attack(
        "UPDATE assignments SET unassigned_at = NULL WHERE actor_id = :mallory",
        "UPDATE grants SET ended_at = NULL, end_cause = NULL WHERE id = :mallorys",
    )
    _put_back(scene, kept)
    fresh = scene.another_process().custody
    if verb == "move":
        act = partial(bundle_moves.move_bundle, fresh, scene.mallory, scene.bundle, OTHER_NUMBER, REASON)
    else:
        act = partial(declaration.claim_bundle, fresh, scene.mallory, loose, OTHER_NUMBER)
    with pytest.raises(Altered):
        act()


def test_a_bundle_taken_from_its_case_is_not_claimed(scene: Scene) -> None:
    scene.attack("UPDATE bundles SET case_id = NULL WHERE id = :bundle")
    with pytest.raises(Altered):
        declaration.claim_bundle(scene.world.custody, scene.mallory, scene.bundle, OTHER_NUMBER)
    assert any(scene.bundle in one for one in scene.found())


@pytest.mark.parametrize("listed", [False, True])
def test_a_bundle_made_to_look_like_a_partial_upload_is_not_sealed_again_for_another(
    scene: Scene, listed: bool
) -> None:
    world = scene.world
    if listed:
        final = world.announce(len(CONTENT), OTHER_NUMBER)
        scene.named["final"] = final
        scene.attack("INSERT INTO concatenations (final_id, number, partial_id) VALUES (:final, 0, :bundle)")
    else:
        scene.attack(
            "UPDATE bundles SET partial = true, state = 'received', case_id = NULL WHERE id = :bundle"
        )
    with pytest.raises(Altered):
        concatenation.concatenate(
            world.custody,
            world.uploads,
            world.stamp,
            world.collection(len(CONTENT)),
            [scene.bundle],
            case_number=OTHER_NUMBER,
            stamp_id=None,
        )


ACTOR_EDITS: dict[str, Sequence[str]] = {
    "another's subject in one's own row": (
        "UPDATE actors SET subject = 'x' WHERE id = :erin",
        "UPDATE actors SET subject = 'new@support.example' WHERE id = :erin",
    ),
    "with the tag of another row": (
        "UPDATE actors SET subject = 'new@support.example', tag = (SELECT tag FROM actors WHERE id = :mallory) "
        "WHERE id = :erin",
    ),
    "without a tag": ("UPDATE actors SET subject = 'new@support.example', tag = NULL WHERE id = :erin",),
}


@pytest.mark.parametrize("name", ACTOR_EDITS)
def test_nobody_becomes_another_by_an_edit_of_their_row(scene: Scene, name: str) -> None:
    scene.attack(*ACTOR_EDITS[name])
    with pytest.raises(Altered):
        scene.world.actor("new@support.example", *scene.world.engineer.roles)
    with pytest.raises(Altered):
        manage_cases.assign(
            scene.world.custody, scene.world.case_system, NUMBER, ISSUER, "new@support.example"
        )
    assert any(scene.named["erin"] in one for one in scene.found())


def test_a_customers_directory_and_a_stamps_customer_are_bound(scene: Scene) -> None:
    world = scene.world
    scene.attack("UPDATE stamps SET tenant_id = :other_tenant WHERE id = :stamp")
    with pytest.raises(Altered):
        world.actor("stamp-contoso", *world.stamp.roles, directory="fabrikam")
    scene.attack(
        "UPDATE tenants SET directory = 'x' WHERE id = :tenant",
        "UPDATE tenants SET directory = 'contoso' WHERE id = :other_tenant",
    )
    world.directory._tenants.clear()
    with pytest.raises(Altered):
        world.actor("olga@contoso.example", *world.operator.roles, directory="contoso")
    found = " ".join(scene.found())
    assert all(scene.named[name] in found for name in ("tenant", "other_tenant", "stamp"))


def test_a_read_under_way_is_cut_when_its_grant_is_put_back_by_hand(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = scene.world
    monkeypatch.setattr("retention.custody.reading.bundle_reads.RECHECK_SECONDS", 0)
    opened = world.open(scene.bundle)
    _release(world, scene)
    scene.attack("UPDATE grants SET ended_at = NULL, end_cause = NULL WHERE id = :grant")
    with pytest.raises(Altered):
        list(opened.pieces(opened.spans[0]))
    opened.close()


def test_an_expired_grant_is_not_brought_back_by_a_clock_that_goes_back(scene: Scene) -> None:
    world = scene.world
    world.clock.move(9 * HOUR)
    world.assign(world.colleague)  # bound anew, without what has expired
    world.clock.move(-9 * HOUR)
    assert isinstance(scene.tried(world.engineer, scene.bundle), Refused)


def _access_rows(scene: Scene) -> list[Any]:
    return _rows(scene, "SELECT case_id, version, as_of, entry_id, tag FROM case_access")


def _put_back(scene: Scene, kept: list[Any]) -> None:
    again = "UPDATE case_access SET version = :v, as_of = :a, entry_id = :e, tag = :t WHERE case_id = :c"
    with scene.owner.begin() as connection:
        for case, version, as_of, entry, tag in kept:
            connection.execute(text(again), {"c": case, "v": version, "a": as_of, "e": entry, "t": tag})


def _rows(scene: Scene, query: str) -> list[Any]:
    with scene.owner.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]
