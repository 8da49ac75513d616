"""Custody in any order, against a model that is nothing but dates: the promises hold after every step.

The model knows for each bundle the moment by which it must be gone, worked out from the design's own words, and for
each grant until when it opens. What it says is compared with the records, with `audit.tlog.overdue` over the log, and
with what can in fact be read.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from sqlalchemy import select

from audit.tlog.overdue import overdue
from audit.tlog.unaccounted import Kind, unaccounted
from retention.custody import bundle_moves
from retention.custody.access import manage_cases, manage_grants
from retention.custody.erasure import erasure_steps
from retention.custody.log_rules import tell_rules
from retention.custody.uploads import completion, declaration
from retention.domain.faults import Conflict, CustodyError, Erased, Refused
from retention.jobs.sweep import SweepReport, begin_due, begin_expired, erase_pending, sweep
from retention.records.queries import bundle_history
from retention.records.tables import grants
from tests.fakes.stores import StrictKeyStore, StrictObjectStore
from tests.retention.custody.world import DAY, HOUR, NUMBER, OTHER_NUMBER, REASON, World, but, strict_world

NINETY = 90 * DAY
NUMBERS = st.sampled_from([NUMBER, OTHER_NUMBER])
ENGINEERS = st.sampled_from(["engineer", "colleague"])
MOVES = st.sampled_from([HOUR, HOUR, DAY, 6 * DAY, 45 * DAY, 90 * DAY, timedelta(microseconds=1)])


@dataclass
class Case:
    last: datetime
    closed: datetime | None = None
    assigned: set[str] = field(default_factory=set)


@dataclass
class Kept:
    content: bytes
    case: str | None
    since: datetime
    expires: datetime
    created: datetime
    cap: datetime | None = None
    offset: int = 0
    state: str = "receiving"
    erasing: bool = False


class CustodyMachine(RuleBasedStateMachine):
    uploads = Bundle("uploads")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.world: World = self.stack.enter_context(strict_world())
        self.cases: dict[str, Case] = {}
        self.kept: dict[str, Kept] = {}
        self.grants: dict[str, tuple[str, str, datetime]] = {}
        self.unused: dict[str, datetime] = {}
        self.swept = False
        self.limits = (7 * DAY, 30 * DAY)

    def teardown(self) -> None:
        try:
            self.world.sequence()
            assert self.world.log_problems() == []
        finally:
            self.stack.close()

    @property
    def now(self) -> datetime:
        return self.world.clock.now()

    def due(self, kept: Kept) -> datetime | None:
        if kept.case is None:
            return kept.since + NINETY
        closed = self.cases[kept.case].closed
        known = [at for at in (kept.cap, closed and closed + NINETY) if at]
        return min(known, default=None)

    def is_due(self, kept: Kept) -> bool:
        at = self.due(kept)
        return at is not None and at <= self.now

    def goes_with_its_case(self, kept: Kept) -> bool:
        """Due by the case's own deadline, not only by one that it brought along."""
        closed = self.cases[kept.case].closed if kept.case else None
        own = closed and closed + NINETY
        return bool(own and own <= self.now and (kept.cap is None or own <= kept.cap))

    def told(self, created: datetime) -> datetime:
        """Until when an upload is kept of which bytes come now."""
        return min(self.now + self.limits[0], created + self.limits[1])

    def has_expired(self, kept: Kept) -> bool:
        return kept.state == "receiving" and kept.expires <= self.now

    def gone_by(self, kept: Kept) -> datetime | None:
        expires = [kept.expires] if kept.state == "receiving" else []
        return min([at for at in (self.due(kept), *expires) if at], default=None)

    def alive(self) -> dict[str, Kept]:
        return {name: kept for name, kept in self.kept.items() if not kept.erasing}

    def end_grants(self, number: str, who: str | None = None) -> None:
        self.grants = {
            name: held
            for name, held in self.grants.items()
            if held[0] != number or (who is not None and held[1] != who)
        }

    @initialize()
    def two_cases(self) -> None:
        assert tell_rules(self.world.custody)
        for number in (NUMBER, OTHER_NUMBER):
            self.world.open_case(number)
            self.world.assign(self.world.engineer, self.world.colleague, number=number)
            self.cases[number] = Case(self.now, assigned={"engineer", "colleague"})

    @rule(number=NUMBERS, who=ENGINEERS)
    def assign(self, number: str, who: str) -> None:
        try:
            self.world.assign(getattr(self.world, who), number=number)
        except Conflict:
            assert self.cases[number].closed is not None
        else:
            self.cases[number].assigned.add(who)

    @rule(number=NUMBERS, who=ENGINEERS)
    def unassign(self, number: str, who: str) -> None:
        self.world.unassign(getattr(self.world, who), number)
        self.cases[number].assigned.discard(who)
        self.end_grants(number, who)

    @rule(number=NUMBERS, late=st.sampled_from([0, 0, 1, 30, 100]))
    def close(self, number: str, late: int) -> None:
        """Heard up to `late` days after it happened, never before what happened last."""
        case = self.cases[number]
        at = max(case.last, self.now - late * DAY)
        try:
            self.world.close_case(number, at)
        except Conflict:
            assert case.closed is not None
            return
        assert case.closed is None
        case.closed = case.last = at
        self.swept = False
        self.end_grants(number)

    @rule(number=NUMBERS, late=st.sampled_from([0, 0, 1, 100]))
    def reopen(self, number: str, late: int) -> None:
        case = self.cases[number]
        at = max(case.last, self.now - late * DAY)
        try:
            manage_cases.reopen_case(self.world.custody, self.world.case_system, number, at)
        except Conflict:
            assert case.closed is None
            return
        assert case.closed is not None
        for kept in self.alive().values():
            due = self.due(kept)
            if kept.case == number and due is not None and due <= at:
                kept.erasing = True
        case.closed, case.last = None, at

    @rule(target=uploads, number=NUMBERS | st.none(), content=st.binary(min_size=1, max_size=40))
    def announce(self, number: str | None, content: bytes) -> Any:
        try:
            name = self.world.announce(len(content), number)
        except Conflict:
            assert number is not None
            closed = self.cases[number].closed
            assert closed is not None and closed + NINETY <= self.now
            return multiple()
        self.kept[name] = Kept(content, number, self.now, self.told(self.now), self.now)
        return name

    @rule(target=uploads, number=NUMBERS | st.none(), content=st.binary(min_size=1, max_size=40))
    def upload(self, number: str | None, content: bytes) -> Any:
        name = self.announce(number, content)
        if isinstance(name, str):
            self.send(name, len(content))
            self.read_back(name)
        return name

    @rule(name=uploads, count=st.integers(1, 40))
    def send(self, name: str, count: int) -> None:
        kept = self.kept[name]
        try:
            offset = self.world.send(name, kept.content[kept.offset :][:count], kept.offset)
        except Erased:
            assert kept.erasing or self.has_expired(kept)
            return
        except Conflict:
            assert kept.state != "receiving"
            return
        assert not kept.erasing and kept.state == "receiving"
        kept.offset = min(len(kept.content), kept.offset + count)
        kept.expires = self.told(kept.created)
        assert offset == kept.offset
        if offset == len(kept.content):
            kept.state, kept.since = "received", self.now

    @rule(name=uploads)
    def read_back(self, name: str) -> None:
        kept = self.kept[name]
        completion.verify_bundle(self.world.custody, name)
        if kept.state == "received" and not kept.erasing:
            kept.state = "complete"

    @rule(name=uploads, number=NUMBERS, who=ENGINEERS)
    def claim(self, name: str, number: str, who: str) -> None:
        kept, case = self.kept[name], self.cases[number]
        allowed = (
            who in case.assigned
            and case.closed is None
            and kept.case is None
            and not kept.erasing
            and not self.is_due(kept)
        )
        try:
            declaration.claim_bundle(self.world.custody, getattr(self.world, who), name, number)
        except CustodyError:
            assert not allowed
        else:
            assert allowed
            kept.case = number

    @rule(name=uploads, number=NUMBERS, who=ENGINEERS)
    def move(self, name: str, number: str, who: str) -> None:
        kept, case = self.kept[name], self.cases[number]
        allowed = (
            kept.case not in (None, number)
            and who in case.assigned
            and who in self.cases[str(kept.case)].assigned
            and not kept.erasing
            and not self.is_due(kept)
            and (case.closed is None or case.closed + NINETY > self.now)
        )
        try:
            bundle_moves.move_bundle(self.world.custody, getattr(self.world, who), name, number, REASON)
        except CustodyError:
            assert not allowed
        else:
            assert allowed
            kept.cap = self.due(kept)  # in the case that it leaves
            kept.case = number
            self.swept = False

    @rule(number=NUMBERS, who=ENGINEERS, hours=st.sampled_from([1, 8, 24]))
    def grant(self, number: str, who: str, hours: int) -> None:
        case = self.cases[number]
        try:
            given = self.world.grant(getattr(self.world, who), number, hours * HOUR)
        except Refused:
            assert who not in case.assigned or case.closed is not None
        else:
            assert who in case.assigned and case.closed is None
            self.grants[given.id] = (number, who, self.now + hours * HOUR)
            self.unused[given.id] = self.now + hours * HOUR

    @rule(data=st.data())
    def release(self, data: Any) -> None:
        if self.grants:
            name = data.draw(st.sampled_from(sorted(self.grants)))
            manage_grants.release_grant(
                self.world.custody, getattr(self.world, self.grants.pop(name)[1]), name
            )

    @rule(name=uploads, who=ENGINEERS)
    def read(self, name: str, who: str) -> None:
        kept = self.kept[name]
        live = any(
            case == kept.case and holder == who and self.now < until
            for case, holder, until in self.grants.values()
        )
        allowed = live and kept.state == "complete" and not kept.erasing
        try:
            content = self.world.read(name, getattr(self.world, who))
        except CustodyError:
            assert not allowed
        else:
            assert allowed, "read without a live grant, or after it should be gone"
            assert content == kept.content
            under = str(self.world.leaves()[-1]["subject"])
            assert self.grants[under][:2] == (kept.case, who)
            self.unused.pop(under, None)

    @rule(name=uploads)
    def erase_one(self, name: str) -> None:
        erasure_steps.request_bundle_erasure(self.world.custody, self.world.operator, name)
        self.kept[name].erasing = True

    @rule(number=NUMBERS)
    def erase_case(self, number: str) -> None:
        had_work = any(kept.case == number for kept in self.alive().values())
        before = len(self.world.entries())
        erasure_steps.request_case_erasure(self.world.custody, self.world.operator, number)
        for kept in self.kept.values():
            kept.erasing = kept.erasing or kept.case == number
        asked = [leaf for leaf in self.world.leaves()[before:] if leaf["action"] == "erasure.requested"]
        if had_work or not any({"repeated", "hastened"} & leaf["details"].keys() for leaf in asked):
            self.end_grants(number)  # the same one again ends nothing

    @rule(by=MOVES)
    def time_passes(self, by: timedelta) -> None:
        self.world.clock.move(by)
        self.swept = False

    @rule()
    def sweep(self) -> None:
        late = {name for name, kept in self.alive().items() if self.has_expired(kept)}
        due = {name for name, kept in self.alive().items() if self.is_due(kept)}
        ended = {self.kept[name].case for name in due if self.goes_with_its_case(self.kept[name])}
        sweep(self.world.custody)
        for name in due | late:
            self.kept[name].erasing = True
        for number in ended:
            self.end_grants(str(number))
        for kept in self.alive().values():
            kept.state = "complete" if kept.state == "received" else kept.state
        for name, kept in self.kept.items():
            assert (self.world.state(name) == "erased") == kept.erasing, (
                "alive past its time, or erased early"
            )
        self.swept = True

    @rule()
    def a_sweep_that_stops_half_way(self) -> None:
        """Erasures begin and one is carried out; the rest waits."""
        begin_due(self.world.custody)
        begin_expired(self.world.custody)
        for kept in self.alive().values():
            late = self.has_expired(kept)
            if self.is_due(kept) or late:
                kept.erasing = True
                if self.goes_with_its_case(kept):
                    self.end_grants(str(kept.case))
        erase_pending(self.world.custody, SweepReport(), 1)

    @rule(limits=st.sampled_from([(7, 30), (1, 2), (3, 30)]))
    def begin_again_with_other_limits(self, limits: tuple[int, int]) -> None:
        """They count for the bytes that come from now on."""
        self.limits = (limits[0] * DAY, limits[1] * DAY)
        lifetimes = {"upload_lifetime": self.limits[0], "upload_longest": self.limits[1]}
        self.world = but(self.world, limits=replace(self.world.custody.limits, **lifetimes))
        tell_rules(self.world.custody)

    @rule()
    def sequence(self) -> None:
        self.world.sequence()

    @invariant()
    def the_grants_that_live_are_those_of_the_model(self) -> None:
        live = grants.c.ended_at.is_(None), grants.c.expires_at > self.now
        with self.world.custody.records.read() as reads:
            found = set(reads.execute(select(grants.c.id).where(*live)).scalars())
        assert found == {name for name, (_, _, until) in self.grants.items() if self.now < until}

    @invariant()
    def what_is_erased_is_gone_and_nothing_else_is(self) -> None:
        custody = self.world.custody
        assert isinstance(custody.objects, StrictObjectStore)
        assert isinstance(custody.keys, StrictKeyStore)
        for name, kept in self.kept.items():
            state = self.world.state(name)
            assert (state in ("erasing", "erased")) == kept.erasing
            if state == "erased":
                assert custody.objects.remains(name) == [] and not custody.keys.exists(name)
            elif not kept.erasing:
                assert state == kept.state
                assert custody.keys.exists(name) == (name in set(custody.objects.list_bundles()))

    @invariant()
    def the_records_the_log_and_the_model_agree_on_every_deadline(self) -> None:
        rows = {name: self.world.row(name) for name in self.kept}
        with self.world.custody.records.read() as reads:
            for name, kept in self.alive().items():
                assert rows[name].due_at == self.due(kept)
                assert kept.state != "receiving" or rows[name].expires_at == kept.expires
                assert bundle_history(reads, rows[name]).received_at == kept.since
        from_log = {late.bundle: late.deadline for late in overdue(self.world.leaves(), self.now)}
        left = {name: self.gone_by(kept) for name, kept in self.kept.items() if rows[name].state != "erased"}
        assert from_log == {name: at for name, at in left.items() if at and at <= self.now}
        if self.swept:
            assert from_log == {}, "overdue after a sweep, with no time gone by"

    @invariant()
    def the_log_alone_accounts_for_every_read_and_names_the_grants_nobody_used(self) -> None:
        found = unaccounted(self.world.leaves(), self.now)
        assert [one for one in found if one.kind is not Kind.UNUSED] == []
        over = {n for n, until in self.unused.items() if until <= self.now or n not in self.grants}
        assert {one.grant for one in found} == over


CustodyMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCustodyInAnyOrder = pytest.mark.timeout(900)(
    CustodyMachine.TestCase
)  # a failure takes long to make small
