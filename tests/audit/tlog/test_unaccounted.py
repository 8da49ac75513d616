"""Reads that nothing in the log allowed, and grants nobody used: each way that access ends, each forgery we know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from audit.entry import Action, Entry, Outcome, parse_leaf
from audit.times import rfc3339
from audit.tlog.unaccounted import CUT_WITHIN, Kind, unaccounted

START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
Leaf = dict[str, Any]


def leaf(action: Action, at: float = 0, actor: str = "erin", kind: str = "engineer", **fields: Any) -> Leaf:
    """An entry `at` hours after the start; its id is its action and time."""
    fields = {"case": "c1", **fields}
    entry = Entry(
        id=f"{action}@{at}", at=START + at * HOUR, action=action, actor=actor, actor_kind=kind, **fields
    )
    return parse_leaf(entry.leaf())


def until(hours: float) -> str:
    return rfc3339(START + hours * HOUR)


def opened(at: float, **fields: Any) -> Leaf:
    return leaf(Action.BUNDLE_OPENED, at, **{"bundle": "b1", "subject": "g1", **fields})


HELD = [leaf(Action.CASE_OPENED), leaf(Action.UPLOAD_CREATED, bundle="b1")]
ASSIGNED = leaf(Action.CASE_ASSIGNED, subject="erin")
GIVEN = leaf(Action.GRANT_GIVEN, subject="g1", details={"expires_at": until(8)})
LOG = [*HELD, ASSIGNED, GIVEN]

PARTNER: dict[str, Any] = {"actor": "pat", "kind": "partner", "details": {"partner": "ptr_oem"}}
PAT = leaf(Action.CASE_ASSIGNED, subject="pat")


def consent(
    scope: object = "case", company: str | None = "ptr_oem", hours: float = 100, **fields: Any
) -> Leaf:
    details = {"scope": scope, "expires_at": until(hours), **({"partner": company} if company else {})}
    return leaf(Action.CONSENT_GIVEN, subject="k1", details=details, **fields)


PATS = leaf(
    Action.GRANT_GIVEN, subject="g1", **{**PARTNER, "details": {"expires_at": until(8), "consent": "k1"}}
)
SHARED = [*HELD, PAT, consent(), PATS]


def found(leaves: list[Leaf], at: float = 1000) -> list[tuple[Kind, str, tuple[str, ...]]]:
    return [(one.kind, one.entry, one.why) for one in unaccounted(leaves, START + at * HOUR)]


def faults(leaves: list[Leaf]) -> list[str]:
    """What is wrong with the only read."""
    ((kind, _, why),) = [one for one in found(leaves) if one[0] is not Kind.UNUSED]
    assert kind is Kind.UNALLOWED
    return list(why)


def test_a_read_under_a_live_grant_is_accounted_for() -> None:
    assert found([*LOG, opened(1), opened(8 - 1e-9)]) == []
    assert found([*SHARED, opened(1, **PARTNER)]) == []
    assert found([]) == []


ENDS: list[tuple[str, list[Leaf], list[str]]] = [
    ("released", [leaf(Action.GRANT_RELEASED, 1, subject="g1")], ["grant-ended"]),
    ("revoked", [leaf(Action.GRANT_REVOKED, 1, actor="olga", subject="g1")], ["grant-ended"]),
    ("ended", [leaf(Action.GRANT_ENDED, 1, actor="act_clock", subject="g1")], ["grant-ended"]),
    ("unassigned", [leaf(Action.CASE_UNASSIGNED, 1, subject="erin")], ["not-assigned"]),
    ("closed", [leaf(Action.CASE_CLOSED, 1, details={"closed_at": until(1)})], ["case-not-open"]),
    ("moved", [leaf(Action.BUNDLE_MOVED, 1, bundle="b1", case="c2")], ["bundle-not-of-this-case"]),
    ("erasing", [leaf(Action.BUNDLE_ERASING, 1, bundle="b1")], ["bundle-not-of-this-case"]),
    ("erased", [leaf(Action.BUNDLE_ERASED, 1, bundle="b1")], ["bundle-not-of-this-case"]),
]


@pytest.mark.parametrize(
    ("ended", "why"), [(ended, why) for _, ended, why in ENDS], ids=[n for n, *_ in ENDS]
)
def test_whatever_ends_access_ends_it(ended: list[Leaf], why: list[str]) -> None:
    assert found([*LOG, opened(0.5), *ended]) == [], "it was read in time"
    assert faults([*LOG, *ended, opened(2)]) == why
    # The order of the log counts, not what two clocks say.
    assert faults([*LOG, *ended, opened(0.5)]) == why


def test_a_grant_ends_at_its_expiry_without_an_entry() -> None:
    assert faults([*LOG, opened(8)]) == ["grant-expired"]


def test_a_case_that_was_reopened_opens_again_but_not_what_was_ended() -> None:
    closed, again = (
        leaf(Action.CASE_CLOSED, 1, details={"closed_at": until(1)}),
        leaf(Action.CASE_REOPENED, 2),
    )
    assert found([*LOG, closed, again, opened(3)]) == []
    assert faults([*LOG, closed, leaf(Action.GRANT_ENDED, 1, subject="g1"), again, opened(3)]) == [
        "grant-ended"
    ]


@pytest.mark.parametrize(
    ("leaves", "why"),
    [
        ([*SHARED, leaf(Action.CONSENT_REVOKED, 1, actor="olga", subject="k1")], "consent-revoked"),
        ([*HELD, PAT, consent(hours=2), PATS], "consent-expired"),
        ([*HELD, PAT, consent(scope=["b2"]), PATS], "consent-does-not-cover"),
        ([*HELD, PAT, consent(company="ptr_rival"), PATS], "consent-to-another-company"),
        ([*HELD, PAT, consent(case="c2"), PATS], "no-consent"),
        ([*HELD, PAT, PATS], "no-consent"),
    ],
)
def test_a_partners_read_needs_a_live_consent_that_covers_it(leaves: list[Leaf], why: str) -> None:
    assert faults([*leaves, opened(3, **PARTNER)]) == [why]


def test_a_partners_grant_without_a_consent_opens_nothing() -> None:
    bare = leaf(
        Action.GRANT_GIVEN,
        subject="g1",
        **{**PARTNER, "details": {"partner": "ptr_oem", "expires_at": until(8)}},
    )
    assert faults([*HELD, PAT, bare, opened(1, **PARTNER)]) == ["no-consent"]


def test_a_scope_names_bundles() -> None:
    assert found([*HELD, PAT, consent(scope=["b1", "b2"]), PATS, opened(1, **PARTNER)]) == []


def policy(rule: str, at: float = 0, minutes: int = 480, **fields: Any) -> Leaf:
    chosen = {"actor": "olga", "kind": "operator", "details": {"rule": rule, "long_minutes": minutes}}
    return leaf(Action.APPROVAL_POLICY_SET, at, **{**chosen, "tenant": "t1", **fields})


def given_by(who: str, at: float = 1, **fields: Any) -> Leaf:
    return leaf(Action.APPROVAL_GIVEN, at, **{"actor": who, "kind": "operator", "subject": "a1", **fields})


OPENED = leaf(Action.CASE_OPENED, tenant="t1")
ASKED = leaf(
    Action.APPROVAL_ASKED, subject="a1", details={"lapses_at": until(96), "duration_seconds": 8 * 3600}
)
TOLD = {"expires_at": until(9), "engineer": "erin", "approval": "a1"}
BY_APPROVAL = leaf(Action.GRANT_GIVEN, 1, actor="olga", kind="operator", subject="g1", details=TOLD)
OWNED = [OPENED, HELD[1], ASSIGNED]
APPROVED = [*OWNED, policy("ask"), ASKED, given_by("olga"), BY_APPROVAL]


def test_a_read_by_approval_is_accounted_for_by_its_holder() -> None:
    assert found([*APPROVED, opened(2)]) == []
    assert faults([*APPROVED, opened(2, actor="olga")]) == ["grant-of-another-actor", "not-assigned"]
    (unused,) = unaccounted(APPROVED, START + 1000 * HOUR)
    assert (unused.kind, unused.actor) == (Kind.UNUSED, "erin")


DIRECT = leaf(Action.GRANT_GIVEN, 1, subject="g1", details={"expires_at": until(9)})
LONG = leaf(Action.GRANT_GIVEN, 1, subject="g1", details={"expires_at": until(9 + 1 / 60)})
OTHERS = leaf(Action.CASE_ASSIGNED, -1, subject="carl")


@pytest.mark.parametrize(
    ("before", "grant", "why"),
    [
        ([policy("see")], DIRECT, []),
        ([policy("ask", tenant="t2", case=None)], DIRECT, []),
        ([policy("ask", case="c2")], DIRECT, []),
        ([policy("ask", case=None)], DIRECT, ["no-approval"]),
        ([policy("ask")], DIRECT, ["no-approval"]),
        ([policy("ask", case=None), policy("see")], DIRECT, []),
        ([policy("ask", case=None), policy("inherited")], DIRECT, ["no-approval"]),
        ([policy("a rule of a newer version")], DIRECT, ["no-approval"]),
        ([policy("own-cases")], DIRECT, []),
        ([policy("own-cases")], LONG, ["no-approval"]),
        ([policy("own-cases", minutes=481)], LONG, []),
        ([policy("own-cases"), OTHERS], DIRECT, ["no-approval"]),
        ([policy("own-cases"), OTHERS, leaf(Action.CASE_UNASSIGNED, subject="carl")], DIRECT, []),
        ([policy("own-cases")], {**DIRECT, "actor_kind": "partner"}, ["no-approval"]),
    ],
)
def test_a_read_under_a_grant_that_had_to_be_asked_for_is_listed(
    before: list[Leaf], grant: Leaf, why: list[str]
) -> None:
    leaves = [*OWNED, *before, grant, opened(2)]
    assert [one for _, _, codes in found(leaves) for one in codes] == why
    late = [*OWNED, grant, *before, opened(2)]
    assert found(late) == [], "a policy counts from its entry on"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({3: given_by("olga", subject="a2")}, ["no-approval"]),
        ({3: given_by("erin")}, ["approved-by-its-asker"]),
        ({3: given_by("carl", kind="engineer")}, ["not-an-approver"]),
        ({3: given_by("olga", 96)}, ["approval-lapsed"]),
        ({2: {**ASKED, "case": "c2"}}, ["approval-of-another"]),
        ({2: {**ASKED, "actor": "carl"}}, ["approval-of-another"]),
        (
            {2: {**ASKED, "details": {"lapses_at": until(96), "duration_seconds": 3600}}},
            ["longer-than-approved"],
        ),
        ({2: {**ASKED, "details": {"duration_seconds": 8 * 3600}}}, ["approval-lapsed"]),
        ({3: leaf(Action.APPROVAL_DECLINED, 1, actor="olga", subject="a1")}, ["approval-declined"]),
        ({3: leaf(Action.APPROVAL_LAPSED, 1, actor="act_clock", subject="a1")}, ["approval-lapsed"]),
    ],
)
def test_an_approval_that_was_not_given_as_it_has_to_be_allows_nothing(
    changed: dict[int, Leaf], why: list[str]
) -> None:
    story = [*OWNED[:2], ASSIGNED, policy("ask"), ASKED, given_by("olga"), BY_APPROVAL]
    leaves = [changed.get(place - 2, one) for place, one in enumerate(story)]
    assert faults([*leaves, opened(2)]) == why


def test_an_approval_is_for_one_grant_and_given_while_it_waits() -> None:
    again = {**BY_APPROVAL, "subject": "g2", "id": "again"}
    assert faults([*APPROVED, again, opened(2, subject="g2")]) == ["approval-used-twice"]
    over = leaf(Action.APPROVAL_WITHDRAWN, 0.5, subject="a1")
    late = [*OWNED, policy("ask"), ASKED, over, given_by("olga"), BY_APPROVAL]
    assert faults([*late, opened(2)]) == ["approval-was-over"]


def test_a_grant_that_somebody_gives_to_another_needs_an_approval_whatever_the_policy() -> None:
    forged = {**BY_APPROVAL, "details": {"expires_at": until(9), "engineer": "erin"}}
    assert faults([*OWNED, forged, opened(2)]) == ["no-approval"]


def test_a_read_after_the_approval_was_withdrawn_is_listed_though_nobody_ended_the_grant() -> None:
    withdrawn = leaf(Action.APPROVAL_WITHDRAWN, 3, actor="olga", kind="operator", subject="a1")
    assert found([*APPROVED, opened(2), withdrawn]) == []
    assert faults([*APPROVED, withdrawn, opened(4)]) == ["grant-ended"]


@pytest.mark.parametrize("gone", range(len(SHARED)))
def test_without_any_one_of_the_entries_that_it_rests_on_a_read_is_found(gone: int) -> None:
    """An entry removed: the tree shows that something is missing, this shows what it would have hidden."""
    left = [*SHARED[:gone], *SHARED[gone + 1 :]]
    assert len(faults([*left, opened(1, **PARTNER)])) >= 1


@pytest.mark.parametrize(
    ("forged", "why"),
    [
        (opened(1, actor="mallory"), ["grant-of-another-actor", "not-assigned"]),
        (opened(1, subject="g2"), ["no-such-grant"]),
        (opened(1, subject=None), ["no-such-grant"]),
        (opened(1, bundle="b2"), ["bundle-not-of-this-case"]),
        (opened(1, bundle=None), ["bundle-not-of-this-case"]),
        (
            opened(1, case="c2"),
            ["grant-of-another-case", "not-assigned", "case-not-open", "bundle-not-of-this-case"],
        ),
        (
            opened(1, case=None),
            ["grant-of-another-case", "not-assigned", "case-not-open", "bundle-not-of-this-case"],
        ),
    ],
)
def test_a_read_under_somebody_elses_grant_or_none_is_found(forged: Leaf, why: list[str]) -> None:
    assert faults([*LOG, forged]) == why


def test_refused_acts_give_nothing_and_end_nothing() -> None:
    refused: dict[str, Any] = {"outcome": Outcome.REFUSED, "reason": "role-missing"}
    assert faults([*HELD, ASSIGNED, leaf(Action.GRANT_GIVEN, subject="g1", **refused), opened(1)]) == [
        "no-such-grant"
    ]
    ended = leaf(Action.GRANT_REVOKED, 1, subject="g1", **refused)
    assert found([*LOG, ended, opened(2), opened(3, **refused)]) == []


def test_a_grant_or_consent_without_a_usable_end_allows_nothing() -> None:
    for details in ({}, {"expires_at": "never"}, {"expires_at": 7}):
        given = leaf(Action.GRANT_GIVEN, subject="g1", details=details)
        assert faults([*HELD, ASSIGNED, given, opened(1)]) == ["grant-expired"]
    bare = leaf(Action.CONSENT_GIVEN, subject="k1", details={"partner": "ptr_oem"})
    assert faults([*HELD, PAT, bare, PATS, opened(1, **PARTNER)]) == [
        "consent-expired",
        "consent-does-not-cover",
    ]


def test_entries_from_before_companies_were_named_are_told_apart() -> None:
    old: dict[str, Any] = {"actor": "pat", "kind": "partner"}
    untold = [(Kind.UNTOLD, "bundle.opened@1", ("company-not-named",))]
    assert found([*SHARED, opened(1, **old)]) == untold, "the read names none"
    assert found([*HELD, PAT, consent(company=None), PATS, opened(1, **PARTNER)]) == untold, "the consent"
    # Somebody of both kinds was called a partner then, and read without a consent.
    given = leaf(Action.GRANT_GIVEN, subject="g1", details={"expires_at": until(8)}, **old)
    assert found([*HELD, PAT, given, opened(1, **old)]) == untold
    # What else is wrong is told all the same.
    revoked = leaf(Action.CONSENT_REVOKED, 1, subject="k1")
    assert faults([*HELD, PAT, consent(company=None), PATS, revoked, opened(2, **old)]) == ["consent-revoked"]


def ended(read: Leaf, at: datetime, outcome: Outcome = Outcome.SUCCESS) -> Leaf:
    fields: dict[str, Any] = {"bundle": "b1", "subject": "g1", "details": {"opened": read["id"], "bytes": 7}}
    end = leaf(Action.BUNDLE_READ_ENDED, outcome=outcome, **fields)
    return {**end, "at": rfc3339(at), "id": "the end"}


def test_a_read_that_began_in_time_and_was_completed_long_after_is_told_apart() -> None:
    read = opened(1)
    revoked = leaf(Action.GRANT_REVOKED, 2, subject="g1")
    late = START + 2 * HOUR + CUT_WITHIN
    outlasted = [(Kind.OUTLASTED, "the end", ("completed-after-the-grant-ended",))]
    assert found([*LOG, read, revoked, ended(read, late)]) == []
    assert found([*LOG, read, revoked, ended(read, late + SECOND)]) == outlasted
    assert found([*LOG, read, revoked, ended(read, late + HOUR, Outcome.FAILED)]) == [], "it was cut"
    assert found([*LOG, read, ended(read, START + 8 * HOUR + CUT_WITHIN)]) == []
    assert found([*LOG, read, ended(read, START + 8 * HOUR + CUT_WITHIN + SECOND)]) == outlasted
    assert found([*LOG, read]) == [], "one whose end is not known is judged by its beginning"


def test_a_grant_nobody_used_is_named_once_it_is_over() -> None:
    unused = [(Kind.UNUSED, "grant.given@0", ("never-used",))]
    assert found(LOG, at=8 - 1e-9) == []
    assert found(LOG, at=8) == unused
    assert found([*LOG, leaf(Action.GRANT_RELEASED, 1, subject="g1")], at=1) == unused
    assert found([*LOG, opened(1)], at=1000) == []
    listed = leaf(Action.BUNDLE_LISTED, 1, bundle="b1", subject="g1")
    assert found([*LOG, listed], at=1000) == [], "a list of what is in it is a read"
