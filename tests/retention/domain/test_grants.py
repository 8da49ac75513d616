"""Every combination of role, assignment, consent, expiry and state: what is not provably allowed is denied."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.domain.actor import Actor, Role
from retention.domain.bundle import BundleState
from retention.domain.case import CaseState
from retention.domain.grants import (
    LONGEST,
    SHORTEST,
    Allowed,
    CaseFacts,
    Consent,
    Denied,
    Grant,
    check_reason,
    decide_grant,
    decide_open,
    live_consent,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOUR, TICK = timedelta(hours=1), timedelta(microseconds=1)
REASON = "Investigate the failed drive of node 4"
ENGINEER = Actor(id="act_e", roles=frozenset({Role.SUPPORT_ENGINEER}))
PARTNER = Actor(id="act_p", roles=frozenset({Role.PARTNER_ENGINEER}), partner="oem")

roles = st.frozensets(st.sampled_from(Role))
actors = st.builds(
    lambda held, name, partner: Actor(id=name, roles=held, partner=partner),
    roles,
    st.sampled_from(["act_a", "act_b"]),
    st.sampled_from([None, "oem", "rival"]),
)
near = st.sampled_from([-HOUR, -TICK, timedelta(0), TICK, HOUR]).map(lambda by: NOW + by)
consents = st.builds(
    Consent,
    id=st.sampled_from(["con_1", "con_2"]),
    case=st.just("cas_1"),
    partner=st.sampled_from(["oem", "rival"]),
    scope=st.none() | st.frozensets(st.sampled_from(["bun_1", "bun_2"]), min_size=1),
    expires_at=near,
    revoked_at=st.none() | st.just(NOW - HOUR),
)
facts = st.builds(
    CaseFacts,
    case=st.just("cas_1"),
    state=st.sampled_from(CaseState),
    assigned=st.booleans(),
    consents=st.lists(consents, max_size=3),
)
grants = st.builds(
    Grant,
    id=st.just("grn_1"),
    case=st.sampled_from(["cas_1", "cas_2"]),
    actor=st.sampled_from(["act_a", "act_b"]),
    expires_at=near,
    ended_at=st.none() | st.just(NOW - HOUR),
    consent=st.none() | st.sampled_from(["con_1", "con_2", "con_3"]),
)


def carries(grant: Grant, actor: Actor, known: CaseFacts, bundle: str) -> bool:
    """The rule once more, as the design says it."""
    live = grant.ended_at is None and grant.expires_at > NOW
    mine = grant.case == known.case and grant.actor == actor.id
    if grant.consent is None:
        return live and mine and Role.SUPPORT_ENGINEER in actor.roles
    theirs = [
        c
        for c in known.consents
        if c.revoked_at is None and c.expires_at > NOW and c.partner == actor.partner
    ]
    return (
        live
        and mine
        and grant.consent in [c.id for c in theirs]
        and any(c.scope is None or bundle in c.scope for c in theirs)
    )


@given(actors, st.none() | facts, st.sampled_from(BundleState), st.lists(grants, max_size=3))
def test_open_is_allowed_exactly_when_everything_holds(
    actor: Actor, known: CaseFacts | None, state: BundleState, held: list[Grant]
) -> None:
    decided = decide_open(actor, known, "bun_1", state, held, NOW)
    expected = (
        known is not None
        and bool(actor.roles & {Role.SUPPORT_ENGINEER, Role.PARTNER_ENGINEER})
        and known.assigned
        and known.state is CaseState.OPEN
        and state is BundleState.COMPLETE
        and any(carries(grant, actor, known, "bun_1") for grant in held)
    )
    assert isinstance(decided, Allowed) == expected
    if isinstance(decided, Allowed):
        assert (decided.bundle, decided.case, decided.actor) == ("bun_1", "cas_1", actor)
        ends = [decided.grant.expires_at] + ([decided.consent.expires_at] if decided.consent else [])
        assert NOW < decided.until == min(ends)
        assert (decided.consent is None) == (decided.grant.consent is None)
    else:
        assert decided.reason and decided.message


@pytest.mark.parametrize("other", ["a", "z"], ids=["that sorts before", "that sorts after"])
@pytest.mark.parametrize("what", ["case", "actor"])
def test_a_grant_opens_its_own_case_for_its_own_holder_alone(what: str, other: str) -> None:
    """One thing wrong at a time, with everything else in order: a draw meets that too rarely."""
    actor = Actor(id="act_m", roles=frozenset({Role.SUPPORT_ENGINEER}))
    known = CaseFacts("cas_m", CaseState.OPEN, assigned=True)
    grant = Grant("grn_1", "cas_m", "act_m", NOW + HOUR)
    strange = replace(grant, **{what: f"{getattr(grant, what)[:4]}{other}"})
    assert isinstance(decide_open(actor, known, "bun_1", BundleState.COMPLETE, [grant], NOW), Allowed)
    assert isinstance(decide_open(actor, known, "bun_1", BundleState.COMPLETE, [strange], NOW), Denied)


@given(actors, facts, st.sampled_from([SHORTEST - TICK, SHORTEST, HOUR, LONGEST, LONGEST + TICK]))
def test_a_grant_is_given_exactly_when_everything_holds(
    actor: Actor, known: CaseFacts, duration: timedelta
) -> None:
    decided = decide_grant(actor, known, REASON, duration, NOW)
    support, partner = (role in actor.roles for role in (Role.SUPPORT_ENGINEER, Role.PARTNER_ENGINEER))
    live = [c for c in known.consents if c.partner == actor.partner and c.is_live(NOW)]
    expected = (
        SHORTEST <= duration <= LONGEST
        and known.assigned
        and known.state is CaseState.OPEN
        and (support or (partner and bool(live)))
    )
    assert isinstance(decided, tuple) == expected
    if isinstance(decided, tuple):
        until, consent = decided
        assert (consent is None) == support
        assert NOW < until <= NOW + duration
        assert consent is None or until == min(NOW + duration, max(c.expires_at for c in live))


@pytest.mark.parametrize(("assigned", "state", "role"), [*product([True, False], CaseState, Role)])
def test_without_a_grant_nobody_opens_anything(assigned: bool, state: CaseState, role: Role) -> None:
    actor = Actor(id="act_a", roles=frozenset({role}))
    decided = decide_open(actor, CaseFacts("cas_1", state, assigned), "bun_1", BundleState.COMPLETE, (), NOW)
    assert isinstance(decided, Denied)


def test_a_grant_is_live_until_its_expiry_and_not_at_it() -> None:
    grant = Grant("grn_1", "cas_1", "act_e", NOW)
    assert grant.is_live(NOW - TICK) and not grant.is_live(NOW)
    consent = Consent("con_1", "cas_1", "oem", None, NOW)
    assert consent.is_live(NOW - TICK) and not consent.is_live(NOW)


def test_a_caller_without_a_company_has_no_consent() -> None:
    odd = Consent("con_1", "cas_1", None, None, NOW + HOUR)  # type: ignore[arg-type]
    assert live_consent([odd], "cas_1", None, NOW) is None
    assert live_consent([Consent("con_1", "cas_2", "oem", None, NOW + HOUR)], "cas_1", "oem", NOW) is None


@given(st.text(max_size=40))
def test_a_reason_that_is_taken_has_eight_letters_of_four_kinds(reason: str) -> None:
    if check_reason(reason) is None:
        letters = [c.lower() for c in reason if c.isalnum()]
        assert len(letters) >= 8 and len(set(letters)) >= 4


def test_of_two_live_consents_the_one_that_covers_the_bundle_counts_and_only_as_long_as_it_lives() -> None:
    """The grant was given under the one that lasts longest; the bundle is in the other's scope."""
    long = Consent("con_1", "cas_1", "oem", frozenset({"bun_1"}), NOW + 9 * HOUR)
    short = Consent("con_2", "cas_1", "oem", frozenset({"bun_2"}), NOW + HOUR)
    known = CaseFacts("cas_1", CaseState.OPEN, assigned=True, consents=[long, short])
    grant = Grant("grn_1", "cas_1", "act_p", NOW + 8 * HOUR, consent="con_1")
    opened = {
        bundle: decide_open(PARTNER, known, bundle, BundleState.COMPLETE, [grant], NOW)
        for bundle in ("bun_1", "bun_2", "bun_3")
    }
    assert isinstance(one := opened["bun_1"], Allowed) and one.until == NOW + 8 * HOUR
    assert isinstance(two := opened["bun_2"], Allowed) and (two.consent, two.until) == (short, NOW + HOUR)
    assert isinstance(three := opened["bun_3"], Denied) and three.reason == "no-consent"
    for other in (
        replace(short, revoked_at=NOW),
        replace(short, expires_at=NOW),
        replace(short, partner="x"),
    ):
        without = replace(known, consents=[long, other])
        assert isinstance(decide_open(PARTNER, without, "bun_2", BundleState.COMPLETE, [grant], NOW), Denied)
    ended = replace(known, consents=[replace(long, revoked_at=NOW), short])  # the grant's own ends the grant
    assert isinstance(decide_open(PARTNER, ended, "bun_2", BundleState.COMPLETE, [grant], NOW), Denied)


def allowed() -> Allowed:
    grant = Grant("grn_1", "cas_1", "act_e", NOW + HOUR)
    known = CaseFacts("cas_1", CaseState.OPEN, assigned=True)
    made = decide_open(ENGINEER, known, "bun_1", BundleState.COMPLETE, [grant], NOW)
    assert isinstance(made, Allowed)
    return made


def test_allowed_cannot_be_made_copied_stored_changed_or_passed_for() -> None:
    made = allowed()
    fields: dict[str, Any] = {name: getattr(made, name) for name in Allowed.__slots__ if name != "until"}
    attempts = [
        lambda: Allowed(object(), **fields),
        lambda: Allowed(None, **fields),
        lambda: copy.copy(made),
        lambda: copy.deepcopy(made),
        lambda: pickle.dumps(made),
        lambda: setattr(made, "until", NOW + 1000 * HOUR),
        lambda: setattr(made, "bundle", "bun_2"),
        lambda: type("Mine", (Allowed,), {}),
    ]
    for attempt in attempts:
        with pytest.raises(TypeError):
            attempt()
    assert (made.bundle, made.until) == ("bun_1", NOW + HOUR)


def test_a_partner_beside_a_support_role_reads_as_support() -> None:
    both = Actor(id="act_b", roles=PARTNER.roles | ENGINEER.roles, partner="oem")
    decided = decide_grant(both, CaseFacts("cas_1", CaseState.OPEN, True), REASON, HOUR, NOW)
    assert decided == (NOW + HOUR, None)
