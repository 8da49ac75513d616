"""Everything that ends a grant ends it at once: for the next read and for the one that runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Row

from audit.tlog.unaccounted import Kind, unaccounted
from retention.custody.access import manage_consents, manage_grants
from retention.custody.access.first_binding import end_unproven
from retention.custody.access.manage_cases import get_case
from retention.custody.erasure import erasure_steps
from retention.custody.reading import bundle_reads
from retention.domain.actor import Role
from retention.domain.faults import CustodyError, Refused, Unavailable
from retention.domain.grants import LONGEST
from retention.envelope.format import FIRST_PLAINTEXT
from tests.retention.custody.world import DAY, HOUR, NUMBER, World

CONTENT = b"x" * (FIRST_PLAINTEXT + 5)  # two segments: a read has a middle


def ready(world: World) -> tuple[str, str]:
    """A complete bundle, and a live grant of the partner's engineer under a consent."""
    world.open_case()
    bundle = world.upload(CONTENT)
    world.assign(world.partner)
    world.consent()
    return bundle, str(world.grant(world.partner).id)


def revoke_consent(world: World, _bundle: str, _grant: str) -> None:
    given = manage_consents.list_consents(world.custody, world.operator, the_case(world), None, 10).items[0]
    manage_consents.revoke_consent(world.custody, world.operator, given.id)


def the_case(world: World) -> Row[Any]:
    return get_case(world.custody, world.operator, NUMBER)


Ending = Callable[[World, str, str], object]
ENDINGS: dict[str, Ending] = {
    "case-closed": lambda w, b, g: w.close_case(),
    "unassigned": lambda w, b, g: w.unassign(w.partner),
    "released": lambda w, b, g: manage_grants.release_grant(w.custody, w.partner, g),
    "revoked": lambda w, b, g: manage_grants.revoke_grant(w.custody, w.operator, g),
    "consent-revoked": revoke_consent,
    "erased": lambda w, b, g: erasure_steps.request_case_erasure(w.custody, w.operator, NUMBER),
}


@pytest.mark.parametrize("cause", ENDINGS)
def test_it_ends_the_grant_with_an_entry_and_the_next_read_is_refused(strict: World, cause: str) -> None:
    bundle, grant = ready(strict)
    assert strict.read(bundle, strict.partner) == CONTENT
    ENDINGS[cause](strict, bundle, grant)
    row = manage_grants.get_grant(strict.custody, strict.partner, grant)
    assert (row.end_cause, row.ended_at) == (cause, strict.clock.now())
    ended = [leaf for leaf in strict.leaves() if leaf.get("subject") == grant][-1]
    assert ended["details"]["cause"] == cause
    with pytest.raises(CustodyError):
        strict.read(bundle, strict.partner)
    listed = manage_grants.list_grants(strict.custody, strict.operator, the_case(strict), None, 10)
    assert [row.id for row in listed.items] == [grant]


@pytest.mark.parametrize("cause", ENDINGS)
def test_the_log_alone_accounts_for_the_read_before_and_not_for_one_after(strict: World, cause: str) -> None:
    bundle, grant = ready(strict)
    strict.read(bundle, strict.partner)
    read = next(leaf for leaf in strict.leaves() if leaf["action"] == "bundle.opened")
    assert read["details"]["partner"] == strict.partner.company
    ENDINGS[cause](strict, bundle, grant)
    leaves, far = strict.leaves(), strict.clock.now() + 1000 * DAY
    assert unaccounted(leaves, far) == []
    (found,) = unaccounted([*leaves, read], far)
    assert (found.kind, found.grant) == (Kind.UNALLOWED, grant)


def test_the_companies_of_consents_and_partners_stand_in_the_leaves_by_an_id_alone(strict: World) -> None:
    """So the log says whose engineers read under which consent, and names nobody."""
    bundle, _grant = ready(strict)
    strict.read(bundle, strict.partner)
    strict.assign(strict.rival)
    with pytest.raises(CustodyError):
        strict.grant(strict.rival)
    given, rivals = strict.leaves(), str(strict.rival.company)
    named = {(leaf["action"], leaf["outcome"]): leaf.get("details", {}).get("partner") for leaf in given}
    for action in ("consent.given", "grant.given", "bundle.opened", "bundle.read-ended"):
        assert named[action, "success"] == strict.partner.company
    assert named["grant.given", "refused"] == rivals != strict.partner.company
    assert named["case.assigned", "success"] is None and named["bundle.received", "success"] is None
    assert (
        strict.actor("pia@oem.example", Role.PARTNER_ENGINEER, partner="oem").company
        == strict.partner.company
    )
    both = strict.actor("bea@oem.example", Role.PARTNER_ENGINEER, Role.SUPPORT_ENGINEER, partner="oem")
    assert (both.company, both.kind) == (None, "engineer"), "one of ours reads without a consent"


@pytest.mark.parametrize("cause", ENDINGS)
def test_it_cuts_the_read_that_runs(strict: World, cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_reads, "RECHECK_SECONDS", 0.0)
    bundle, grant = ready(strict)
    opened = strict.open(bundle, strict.partner)
    pieces = opened.pieces(opened.spans[0])
    assert len(next(pieces)) == FIRST_PLAINTEXT
    ENDINGS[cause](strict, bundle, grant)
    with pytest.raises(Refused) as cut:
        next(pieces)
    assert cut.value.reason == "grant-ended"
    opened.close()
    assert strict.last() == ("bundle.read-ended", "failed", "grant-ended")
    assert strict.leaves()[-1]["details"]["bytes"] == FIRST_PLAINTEXT


def test_a_grant_expires_in_the_middle_of_a_read(strict: World) -> None:
    bundle, grant = ready(strict)
    until = manage_grants.get_grant(strict.custody, strict.partner, grant).expires_at
    opened = strict.open(bundle, strict.partner)
    pieces = opened.pieces(opened.spans[0])
    next(pieces)
    strict.clock.at = until
    with pytest.raises(Refused) as cut:
        next(pieces)
    assert cut.value.reason == "grant-expired"
    opened.close()
    with pytest.raises(Refused):
        strict.read(bundle, strict.partner)


def test_erasing_one_bundle_cuts_its_readers_and_leaves_the_grant_for_the_others(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_reads, "RECHECK_SECONDS", 0.0)
    bundle, grant = ready(strict)
    other = strict.upload(b"other")
    opened = strict.open(bundle, strict.partner)
    pieces = opened.pieces(opened.spans[0])
    next(pieces)
    erasure_steps.request_bundle_erasure(strict.custody, strict.operator, bundle)
    with pytest.raises(Refused):
        next(pieces)
    opened.close()
    assert manage_grants.get_grant(strict.custody, strict.partner, grant).ended_at is None
    assert strict.read(other, strict.partner) == b"other"


def test_an_ended_grant_ends_once(strict: World) -> None:
    _bundle, grant = ready(strict)
    manage_grants.release_grant(strict.custody, strict.partner, grant)
    before = len(strict.leaves())
    again = manage_grants.release_grant(strict.custody, strict.partner, grant)
    strict.close_case()
    assert again.end_cause == "released"
    assert manage_grants.get_grant(strict.custody, strict.partner, grant).end_cause == "released"
    told = [leaf["action"] for leaf in strict.leaves()[before:]]
    assert told == ["record.shown", "case.closed"], "a look, the close, and no second end"


@pytest.mark.parametrize("ahead", [2 * HOUR, 30 * DAY])
def test_what_a_clock_that_was_ahead_bound_gives_no_longer_access_and_is_said(
    strict: World, ahead: timedelta
) -> None:
    """A machine that starts with a wrong clock and has nobody to ask (N14): 24 hours stay 24 hours."""
    strict.open_case()
    bundle = strict.upload(b"content")
    strict.assign(strict.engineer, strict.colleague)
    strict.clock.move(ahead)
    strict.grant(duration=LONGEST)
    assert strict.read(bundle) == b"content"
    strict.clock.move(-ahead)
    with pytest.raises(Refused) as refused:
        strict.read(bundle)
    assert refused.value.reason == "no-grant"
    with pytest.raises(Unavailable) as told:
        strict.grant(strict.colleague, duration=HOUR)
    assert told.value.reason == "bound-ahead"
    strict.unassign(strict.colleague)  # what ends access is done all the same
    end_unproven(strict.custody, strict.administrator, NUMBER)
    strict.assign(strict.colleague)
    strict.grant(strict.colleague, duration=HOUR)
    assert strict.read(bundle, strict.colleague) == b"content"


def test_a_partners_grant_does_not_outlive_the_consent(strict: World) -> None:
    strict.open_case()
    strict.assign(strict.partner)
    strict.consent(lasts=2 * HOUR)
    grant = strict.grant(strict.partner, duration=8 * HOUR)
    assert grant.expires_at == strict.clock.now() + 2 * HOUR


def test_a_consents_scope_is_the_partners_whole_world(strict: World) -> None:
    strict.open_case()
    bundle, hidden = strict.upload(CONTENT), strict.upload(b"hidden")
    strict.assign(strict.partner)
    strict.consent(scope=[bundle])
    strict.grant(strict.partner, duration=timedelta(hours=1))
    assert strict.read(bundle, strict.partner) == CONTENT
    with pytest.raises(CustodyError):
        strict.read(hidden, strict.partner)


def test_another_partner_and_a_consent_that_ran_out_open_nothing(strict: World) -> None:
    strict.open_case()
    strict.upload(CONTENT)
    strict.assign(strict.partner, strict.rival)
    strict.consent(lasts=DAY)
    with pytest.raises(Refused) as refused:
        strict.grant(strict.rival)
    assert refused.value.reason == "no-consent"
    strict.clock.move(DAY)
    with pytest.raises(Refused):
        strict.grant(strict.partner)
