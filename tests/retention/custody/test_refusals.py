"""Every refusal is an entry, and the entry says who was refused what (P3)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from retention.custody import bundle_moves
from retention.custody.access import manage_cases, manage_consents, manage_grants, manage_stamps
from retention.custody.access.manage_cases import get_case
from retention.custody.erasure import erasure_steps
from retention.custody.uploads import declaration
from retention.domain.actor import Actor
from retention.domain.bundle import CollectionType
from retention.domain.faults import NotFound, Refused
from tests.retention.custody.world import DAY, HOUR, ISSUER, NUMBER, OTHER_NUMBER, REASON, TRIGGER, World

Verb = Callable[[World, Actor], object]
STAMP, BUNDLE = "stp_" + "a" * 26, "bun_" + "a" * 26
GRANT, CONSENT = "grn_" + "a" * 26, "con_" + "a" * 26

NOT_THERE: dict[str, Verb] = {
    "stamp.deregistered": lambda w, a: manage_stamps.deregister_stamp(w.custody, a, STAMP),
    "proactive-consent.set": lambda w, a: manage_stamps.set_proactive(w.custody, a, STAMP, True),
    "case.assigned": lambda w, a: manage_cases.assign(w.custody, a, OTHER_NUMBER, ISSUER, "x"),
    "case.unassigned": lambda w, a: manage_cases.unassign(w.custody, a, OTHER_NUMBER, ISSUER, "x"),
    "case.closed": lambda w, a: manage_cases.close_case(w.custody, a, OTHER_NUMBER),
    "case.reopened": lambda w, a: manage_cases.reopen_case(w.custody, a, OTHER_NUMBER),
    "upload.continued": lambda w, a: w.send(BUNDLE, b"x", actor=a),
    "bundle.claimed": lambda w, a: declaration.claim_bundle(w.custody, a, BUNDLE, NUMBER),
    "bundle.moved": lambda w, a: bundle_moves.move_bundle(w.custody, a, BUNDLE, NUMBER, REASON),
    "bundle.opened": lambda w, a: w.open(BUNDLE, a),
    "grant.given": lambda w, a: manage_grants.give_grant(w.custody, a, OTHER_NUMBER, REASON, HOUR),
    "grant.released": lambda w, a: manage_grants.release_grant(w.custody, a, GRANT),
    "grant.revoked": lambda w, a: manage_grants.revoke_grant(w.custody, a, GRANT),
    "consent.given": lambda w, a: manage_consents.give_consent(
        w.custody, a, OTHER_NUMBER, "oem", w.clock.now() + DAY, None
    ),
    "consent.revoked": lambda w, a: manage_consents.revoke_consent(w.custody, a, CONSENT),
    "erasure.requested": lambda w, a: erasure_steps.request_bundle_erasure(w.custody, a, BUNDLE),
}


@pytest.mark.parametrize("action", NOT_THERE)
def test_asking_for_what_is_not_there_is_an_entry(strict: World, action: str) -> None:
    strict.open_case()
    for actor in (strict.auditor, strict.operator, strict.engineer, strict.stamp):
        before = len(strict.entries())
        # An engineer who asks for access is told what one is told who is not assigned: no number is given away.
        alike = action == "grant.given" and actor is strict.engineer
        with pytest.raises(Refused if alike else NotFound):
            NOT_THERE[action](strict, actor)
        row = strict.entries()[-1]
        assert len(strict.entries()) == before + 1
        assert (row.action, row.outcome, row.actor) == (action, "refused", actor.id)
        assert row.reason == "not-assigned" if alike else row.reason.endswith("-not-visible")


def refused_verbs(world: World) -> dict[str, tuple[str, Callable[[], object]]]:
    """Every verb, called by somebody who sees the thing and may not do this: the reason and the call."""
    w, c = world, world.custody
    w.open_case()
    w.assign(w.engineer, w.partner)
    bundle = w.upload(b"content", number=None)
    held = w.upload(b"held")
    grant = w.grant()
    consent = w.consent()
    foreign = w.custody
    stamp = w.stamp.stamp or ""
    announce = w.collection(5, type=CollectionType.PROACTIVE, trigger=TRIGGER)
    manage_stamps.set_proactive(foreign, w.operator, stamp, False)
    return {
        "tenant.registered": ("role-missing", lambda: manage_stamps.register_tenant(c, w.operator, "X", "x")),
        "stamp.registered": ("role-missing", lambda: manage_stamps.register_stamp(c, w.stamp, "x", "x")),
        "stamp.deregistered": ("role-missing", lambda: manage_stamps.deregister_stamp(c, w.stamp, stamp)),
        "proactive-consent.set": (
            "role-missing",
            lambda: manage_stamps.set_proactive(c, w.stamp, stamp, True),
        ),
        "case.opened": (
            "role-missing",
            lambda: manage_cases.open_case(c, w.engineer, OTHER_NUMBER, "contoso"),
        ),
        "case.assigned": ("role-missing", lambda: manage_cases.assign(c, w.engineer, NUMBER, ISSUER, "me")),
        "case.unassigned": (
            "role-missing",
            lambda: manage_cases.unassign(c, w.engineer, NUMBER, ISSUER, "me"),
        ),
        "case.closed": ("role-missing", lambda: manage_cases.close_case(c, w.engineer, NUMBER)),
        "case.reopened": ("role-missing", lambda: manage_cases.reopen_case(c, w.engineer, NUMBER)),
        "upload.created": (
            "no-proactive-consent",
            lambda: declaration.create_upload(c, w.stamp, announce, case_number=None, stamp_id=None),
        ),
        "upload.continued": ("role-missing", lambda: w.send(bundle, b"x", actor=w.engineer)),
        "bundle.claimed": ("role-missing", lambda: declaration.claim_bundle(c, w.operator, bundle, NUMBER)),
        "bundle.moved": (
            "role-missing",
            lambda: bundle_moves.move_bundle(c, w.operator, held, NUMBER, REASON),
        ),
        "bundle.opened": ("not-an-engineer", lambda: w.open(held, w.operator)),
        "grant.given": (
            "not-assigned",
            lambda: manage_grants.give_grant(c, w.colleague, NUMBER, REASON, timedelta(hours=1)),
        ),
        "grant.released": ("not-your-grant", lambda: manage_grants.release_grant(c, w.operator, grant.id)),
        "grant.revoked": ("role-missing", lambda: manage_grants.revoke_grant(c, w.engineer, grant.id)),
        "consent.given": (
            "role-missing",
            lambda: manage_consents.give_consent(c, w.engineer, NUMBER, "oem", w.clock.now() + DAY, None),
        ),
        "consent.revoked": ("role-missing", lambda: manage_consents.revoke_consent(c, w.partner, consent.id)),
        "erasure.requested": (
            "role-missing",
            lambda: erasure_steps.request_bundle_erasure(c, w.stamp, bundle),
        ),
    }


def test_every_verb_that_refuses_writes_down_whom_and_why(strict: World) -> None:
    for action, (reason, call) in refused_verbs(strict).items():
        before = len(strict.entries())
        with pytest.raises(Refused) as refused:
            call()
        assert refused.value.reason == reason, action
        assert strict.last() == (action, "refused", reason)
        assert len(strict.entries()) == before + 1


def test_nothing_changes_when_the_entry_of_a_refusal_cannot_be_written(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict.open_case()

    def broken(*_: object) -> None:
        raise OSError("the log cannot be written")

    monkeypatch.setattr("retention.records.unit_of_work.append.append_rows", broken)
    with pytest.raises(OSError, match="cannot be written"):
        manage_cases.close_case(strict.custody, strict.engineer, NUMBER)
    with pytest.raises(OSError, match="cannot be written"):
        strict.close_case()
    monkeypatch.undo()
    assert get_case(strict.custody, strict.operator, NUMBER).state == "open"


@pytest.mark.parametrize("reason", ["", " ", ".", "        ", "aaaaaaaaaaaa", "ab ab ab ab", "x" * 1001])
def test_a_reason_that_says_nothing_is_refused(strict: World, reason: str) -> None:
    strict.open_case()
    strict.assign(strict.engineer)
    for call in (
        lambda: manage_grants.give_grant(strict.custody, strict.engineer, NUMBER, reason, HOUR),
        lambda: erasure_steps.request_case_erasure(strict.custody, strict.engineer, NUMBER, reason),
        lambda: erasure_steps.report_case(strict.custody, strict.engineer, NUMBER, reason),
    ):
        with pytest.raises(Refused) as refused:
            call()
        assert refused.value.reason == "reason-missing"
