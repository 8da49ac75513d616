"""Who may read: `retention.domain.grants` and `audit.tlog.unaccounted`, which share no code, agree on every history
(P2, P6)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from audit.entry import Action, Entry, parse_leaf
from audit.times import rfc3339
from audit.tlog.unaccounted import Kind, unaccounted
from retention.domain.actor import Actor, Role
from retention.domain.approval import Approval, Policy, Rule, State, Step, Taken, decide_step
from retention.domain.bundle import BundleState
from retention.domain.case import CaseState
from retention.domain.faults import Conflict
from retention.domain.grants import Allowed, CaseFacts, Consent, Denied, Grant, decide_grant, decide_open

START = datetime(2026, 3, 1, tzinfo=UTC)
TICK, HOUR = timedelta(microseconds=1), timedelta(hours=1)
REASON = "Investigate the failed drive of node 4"
CASES, BUNDLES = ("c1", "c2"), ("b1", "b2")
ACTORS = {
    "erin": Actor(id="erin", roles=frozenset({Role.SUPPORT_ENGINEER})),
    "carl": Actor(id="carl", roles=frozenset({Role.SUPPORT_ENGINEER})),
    "pat": Actor(id="pat", roles=frozenset({Role.PARTNER_ENGINEER}), partner="oem", company="ptr_oem"),
    "rob": Actor(id="rob", roles=frozenset({Role.PARTNER_ENGINEER}), partner="rival", company="ptr_rival"),
    "both": Actor(id="both", roles=frozenset({Role.PARTNER_ENGINEER, Role.SUPPORT_ENGINEER}), partner="oem"),
    "lost": Actor(id="lost", roles=frozenset({Role.PARTNER_ENGINEER})),
}
OLGA = Actor(id="olga", roles=frozenset({Role.OPERATOR}), tenant="t1")
ANSWERS = {
    Step.GIVE: Action.APPROVAL_GIVEN,
    Step.DECLINE: Action.APPROVAL_DECLINED,
    Step.WITHDRAW: Action.APPROVAL_WITHDRAWN,
}
SCOPES: tuple[frozenset[str] | None, ...] = (None, frozenset({"b1"}), frozenset({"b1", "b2"}))
Leaf = dict[str, Any]


@dataclass
class Told:
    """One history, as facts for the one, as leaves for the other."""

    now: datetime = START
    states: dict[str, CaseState] = field(default_factory=dict)
    assigned: set[tuple[str, str]] = field(default_factory=set)
    grants: dict[str, Grant] = field(default_factory=dict)
    consents: dict[str, Consent] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    policies: dict[str, Policy] = field(default_factory=dict)
    since: dict[tuple[str, str], datetime] = field(default_factory=dict)
    requests: dict[str, tuple[Approval, str, timedelta]] = field(default_factory=dict)
    approved: dict[str, str] = field(default_factory=dict)
    leaves: list[Leaf] = field(default_factory=list)
    number: Any = field(default_factory=lambda: count(1))

    def leaf(self, action: Action, actor: Actor | None = None, **fields: Any) -> Leaf:
        by = actor or Actor(id="act_system", roles=frozenset({Role.CASE_SYSTEM}))
        company = {} if by.company is None else {"partner": by.company}
        details = {**company, **fields.pop("details", {})}
        kind, id_ = by.kind, f"ent_{next(self.number)}"
        made = Entry(
            id=id_, at=self.now, action=action, actor=by.id, actor_kind=kind, details=details, **fields
        )
        return parse_leaf(made.leaf())

    def log(self, action: Action, actor: Actor | None = None, **fields: Any) -> None:
        self.leaves.append(self.leaf(action, actor, **fields))

    def begin(self) -> None:
        for case, bundle in zip(CASES, BUNDLES, strict=True):
            self.states[case], self.held[bundle] = CaseState.OPEN, case
            self.log(Action.CASE_OPENED, case=case, tenant="t1")
            self.log(Action.UPLOAD_CREATED, case=case, bundle=bundle)

    def facts(self, actor: Actor, case: str) -> CaseFacts:
        known = tuple(self.consents.values()) if actor.has(Role.PARTNER_ENGINEER) else ()
        return CaseFacts(case, self.states[case], (case, actor.id) in self.assigned, known)

    def end_grants(self, action: Action, case: str | None = None, **only: str) -> None:
        for name, grant in self.grants.items():
            mine = all(getattr(grant, key) == value for key, value in only.items())
            if mine and grant.ended_at is None and (case is None or grant.case == case):
                self.grants[name] = replace(grant, ended_at=self.now)
                self.log(action, case=grant.case, subject=name)

    # The steps of a history. `ends` False: whoever did it forgot to end the grants.

    def assign(self, who: str, case: str, **_: Any) -> None:
        self.assigned.add((case, who))
        self.since[case, who] = self.now  # again: a restored database had lost it
        self.log(Action.CASE_ASSIGNED, case=case, subject=who)

    def unassign(self, who: str, case: str, ends: bool, **_: Any) -> None:
        self.assigned.discard((case, who))
        self.since.pop((case, who), None)
        self.log(Action.CASE_UNASSIGNED, case=case, subject=who)
        if ends:
            self.end_grants(Action.GRANT_ENDED, case, actor=who)

    def close(self, case: str, ends: bool, **_: Any) -> None:
        self.states[case] = CaseState.CLOSED
        self.log(Action.CASE_CLOSED, case=case, details={"closed_at": rfc3339(self.now)})
        if ends:
            self.end_grants(Action.GRANT_ENDED, case)

    def reopen(self, case: str, **_: Any) -> None:
        self.states[case] = CaseState.OPEN
        self.log(Action.CASE_REOPENED, case=case)

    def consent(self, case: str, who: str, pick: int, **_: Any) -> None:
        """`who` says to which company: the others' has none."""
        company = ACTORS[who].partner or "oem"
        id_, scope = f"con_{next(self.number)}", SCOPES[pick % len(SCOPES)]
        until = self.now + (1 + pick % 5) * HOUR
        self.consents[id_] = Consent(id_, case, company, scope, until)
        told = {"scope": "case" if scope is None else sorted(scope), "expires_at": rfc3339(until)}
        details = {**told, "partner": f"ptr_{company}"}
        self.log(Action.CONSENT_GIVEN, case=case, subject=id_, details=details)

    def revoke_consent(self, pick: int, ends: bool, **_: Any) -> None:
        if self.consents:
            id_ = sorted(self.consents)[pick % len(self.consents)]
            self.consents[id_] = replace(self.consents[id_], revoked_at=self.now)
            self.log(Action.CONSENT_REVOKED, case=self.consents[id_].case, subject=id_)
            if ends:
                self.end_grants(Action.GRANT_ENDED, consent=id_)

    def grant(self, who: str, case: str, pick: int, **_: Any) -> None:
        decided = decide_grant(
            ACTORS[who], self.facts(ACTORS[who], case), REASON, (1 + pick % 9) * HOUR, self.now
        )
        if isinstance(decided, Denied):
            return
        own = [(since, one) for (of, one), since in self.since.items() if of == case]
        owner = min(own)[1] if own else None
        policy = self.policies.get(case, Policy(Rule.INHERITED))
        if policy.rule is Rule.INHERITED:
            policy = self.policies.get("t1", Policy())
        if policy.needs_approval(ACTORS[who], owner, (1 + pick % 9) * HOUR):
            self.ask(who, case, (1 + pick % 9) * HOUR)
            return
        self.give(ACTORS[who], who, case, decided, {})

    def give(
        self,
        by: Actor,
        who: str,
        case: str,
        decided: tuple[datetime, Consent | None],
        more: dict[str, str],
    ) -> str:
        until, consent = decided
        id_ = f"grn_{next(self.number)}"
        self.grants[id_] = Grant(id_, case, who, until, None, consent.id if consent else None)
        told = {"expires_at": rfc3339(until), **({"consent": consent.id} if consent else {}), **more}
        self.log(Action.GRANT_GIVEN, by, case=case, subject=id_, details=told)
        return id_

    def ask(self, who: str, case: str, lasts: timedelta) -> None:
        id_, lapses = f"apr_{next(self.number)}", self.now + 3 * HOUR
        self.requests[id_] = Approval("t1", who, State.ASKED, lapses), case, lasts
        told = {"lapses_at": rfc3339(lapses), "duration_seconds": int(lasts.total_seconds())}
        self.log(Action.APPROVAL_ASKED, ACTORS[who], case=case, subject=id_, details=told)

    def policy(self, case: str, pick: int, ends: bool, **_: Any) -> None:
        """`ends`: for all cases."""
        rules = [rule for rule in Rule if not (ends and rule is Rule.INHERITED)]
        chosen = Policy(rules[pick % len(rules)], (1 + pick) * HOUR)
        self.policies["t1" if ends else case] = chosen
        told = {"rule": chosen.rule.value, "long_minutes": 60 * (1 + pick)}
        ids = {"tenant": "t1", "subject": "t1"} if ends else {"tenant": "t1", "case": case, "subject": case}
        self.log(Action.APPROVAL_POLICY_SET, OLGA, details=told, **ids)

    def answer(self, pick: int, ends: bool, **_: Any) -> None:
        """`ends`: withdrawn, by the asker or the customer; else given, or declined."""
        if not self.requests:
            return
        id_ = sorted(self.requests)[pick % len(self.requests)]
        approval, case, lasts = self.requests[id_]
        asker, grant = ACTORS[approval.asker], self.approved.get(id_)
        step = Step.WITHDRAW if ends else Step.DECLINE if pick % 4 == 3 else Step.GIVE
        by = asker if ends and approval.state is State.ASKED else OLGA
        live = grant is not None and self.grants[grant].is_live(self.now)
        try:
            taken = decide_step(approval, step, by, self.now, live=live)
        except Conflict:
            return
        assert isinstance(taken, Taken)
        decided = decide_grant(asker, self.facts(asker, case), REASON, lasts, self.now)
        if taken.repeated or (step is Step.GIVE and isinstance(decided, Denied)):
            return
        self.requests[id_] = replace(approval, state=taken.state), case, lasts
        self.log(ANSWERS[step], by, case=case, subject=id_, details={"engineer": asker.id})
        if step is Step.GIVE and not isinstance(decided, Denied):
            named = {"engineer": asker.id, "approval": id_}
            self.approved[id_] = self.give(OLGA, asker.id, case, decided, named)
        elif grant is not None:
            self.end_grants(Action.GRANT_ENDED, None, id=grant)

    def end(self, pick: int, **_: Any) -> None:
        if self.grants:
            id_ = sorted(self.grants)[pick % len(self.grants)]
            action = Action.GRANT_RELEASED if pick % 2 else Action.GRANT_REVOKED
            self.end_grants(action, None, id=id_)

    def move(self, case: str, pick: int, **_: Any) -> None:
        bundle = BUNDLES[pick % 2]
        if bundle not in self.gone:
            left, self.held[bundle] = self.held[bundle], case
            self.log(Action.BUNDLE_MOVED, case=case, bundle=bundle, subject=left)

    def erase(self, pick: int, **_: Any) -> None:
        bundle = BUNDLES[pick % 2]
        self.gone.add(bundle)
        self.log(Action.BUNDLE_ERASING, case=self.held[bundle], bundle=bundle)

    def wait(self, pick: int, **_: Any) -> None:
        self.now += pick * HOUR - TICK * (pick % 2)

    def decided(self, actor: Actor, bundle: str, grant: Grant | None) -> Allowed | Denied:
        """What custody says, if this grant were the only one."""
        case = self.held[bundle]
        state = BundleState.ERASING if bundle in self.gone else BundleState.COMPLETE
        offered = [] if grant is None else [grant]
        return decide_open(actor, self.facts(actor, case), bundle, state, offered, self.now)

    def allows(self, actor: Actor, bundle: str, grant: Grant | None) -> bool:
        return isinstance(self.decided(actor, bundle, grant), Allowed)


NAMES = (
    "policy",
    "answer",
    "answer",
    "assign",
    "unassign",
    "close",
    "reopen",
    "consent",
    "revoke_consent",
    "grant",
    "grant",
    "end",
    "move",
)
steps = st.fixed_dictionaries(
    {
        "name": st.sampled_from([*NAMES, "assign", "grant", "consent", "wait", "erase"]),
        "who": st.sampled_from(sorted(ACTORS)),
        "case": st.sampled_from(CASES),
        "pick": st.integers(0, 9),
        "ends": st.booleans(),
    }
)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=25))
def test_both_implementations_agree_on_every_read_in_every_history(history: list[dict[str, Any]]) -> None:
    """Each actor reads each bundle under each grant, after each step: what custody allows is accounted for, and an
    entry of a read that it would refuse is found."""
    told = Told()
    told.begin()
    for step in history:
        getattr(told, step["name"])(**{key: value for key, value in step.items() if key != "name"})
    for actor in ACTORS.values():
        for bundle in BUNDLES:
            for grant in (None, *told.grants.values()):
                _check(told, actor, bundle, grant)


def _check(told: Told, actor: Actor, bundle: str, grant: Grant | None) -> None:
    named = None if grant is None else grant.id
    decided = told.decided(actor, bundle, grant)
    if isinstance(decided, Allowed):
        names = [None if decided.consent is None else decided.consent.id]
    else:  # whatever consent the entry names
        names = [None, *told.consents, "con_none"] if grant is not None and grant.consent else [None]
    for consent in names:
        told_of = {} if consent is None else {"consent": consent}
        ids = {"case": told.held[bundle], "bundle": bundle, "subject": named, "details": told_of}
        read = told.leaf(Action.BUNDLE_OPENED, actor, **ids)
        found = [one for one in unaccounted([*told.leaves, read], told.now) if one.kind is not Kind.UNUSED]
        wrong = [(Kind.UNALLOWED, read["id"], named)] if isinstance(decided, Denied) else []
        assert [(one.kind, one.entry, one.grant) for one in found] == wrong, (
            actor.id,
            bundle,
            grant,
            consent,
        )


def unused(told: Told) -> set[str]:
    over = {name for name, grant in told.grants.items() if not grant.is_live(told.now)}
    found = {str(one.grant) for one in unaccounted(told.leaves, told.now) if one.kind is Kind.UNUSED}
    assert found == over
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=25))
def test_every_grant_that_is_over_and_was_never_read_under_is_named(history: list[dict[str, Any]]) -> None:
    told = Told()
    told.begin()
    for step in history:
        getattr(told, step["name"])(**{key: value for key, value in step.items() if key != "name"})
    for name in unused(told):
        used = told.leaf(Action.BUNDLE_LISTED, case="c1", bundle="b1", subject=name)
        left = unaccounted([*told.leaves, used], told.now)
        assert name not in {one.grant for one in left if one.kind is Kind.UNUSED}


def test_the_histories_of_these_tests_hold_reads_of_every_kind() -> None:
    """A partner within a consent's scope reads; the same outside of it does not."""
    told = Told()
    told.begin()
    told.assign("pat", "c1")
    told.consent("c1", "pat", 1)
    told.grant("pat", "c1", 3)
    (grant,) = told.grants.values()
    assert told.allows(ACTORS["pat"], "b1", grant)
    _check(told, ACTORS["pat"], "b1", grant)
    told.consents.update(
        narrow := {"con_b2": Consent("con_b2", "c1", "oem", frozenset({"b2"}), told.now + HOUR)}
    )
    scope = {"scope": ["b2"], "expires_at": rfc3339(narrow["con_b2"].expires_at), "partner": "ptr_oem"}
    told.log(Action.CONSENT_GIVEN, case="c1", subject="con_b2", details=scope)
    told.move("c1", 1)
    assert told.allows(ACTORS["pat"], "b2", grant)  # by the other consent, while the grant's own lives
    _check(told, ACTORS["pat"], "b2", grant)
    told.wait(1)
    told.now += TICK
    assert not told.allows(ACTORS["pat"], "b2", grant)
    _check(told, ACTORS["pat"], "b2", grant)
