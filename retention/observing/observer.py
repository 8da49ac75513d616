"""What an observer of the service is told. The doors and the assembly tell it; the rules of custody know nothing of it.

Rules:
- No tenant, case, bundle, person, address or file name is told, so none can be exported: routes, actions, outcomes,
  reason codes, names of parts and of error types, numbers. All of them are from closed lists.
- What the log counts is counted from the log: an act and a refusal when their entry is committed, at one place
  (`parts.WatchedRecords`), so a figure and the log cannot disagree.
- Nobody waits for an observer, and nothing fails because of one.
- NOTHING is the default: it keeps no count and costs a call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from audit.log import EntryRow

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.ASCII)
_ZERO = re.compile(r"0+")
Figures = Callable[[], Mapping[str, float]]


class Watched(Protocol):
    """One request to a door."""

    @property
    def trace_id(self) -> str | None:
        """32 hexadecimal digits: of the trace that the request is part of; None when it is part of none."""

    def within(self) -> AbstractContextManager[object]:
        """What is done in here is done for the request."""

    def ended(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Its last byte was handed over, or its caller left."""


class Observer(Protocol):
    """Safe from many threads."""

    def request(self, traceparent: str | None) -> Watched:
        """A request begins; `traceparent` is its header (W3C Trace Context, section 3.2)."""

    def call(self, part: str, operation: str) -> AbstractContextManager[object]:
        """Around a call of a part that custody is made of; an error that comes out of it is counted."""

    def work(self, name: str) -> AbstractContextManager[object]:
        """Around work that no caller waits for."""

    def committed(self, rows: Sequence[EntryRow]) -> None:
        """These entries are durable."""

    def cut(self, how: str) -> None:
        """An upload's request ended before its body: `line`, `stalled` or `stopped`. What came is kept."""

    def beat(self, name: str, *, well: bool) -> None:
        """A round of the clock's work ended."""

    def watch_state(self, figures: Figures) -> None:
        """Export these, each under its name, whenever somebody collects."""

    def exposition(self) -> bytes:
        """All metrics of this process, in Prometheus' text format."""

    def close(self) -> None:
        """Hand over what is not exported yet."""


class Unwatched:
    """A request that nobody watches: its caller's trace is still good for the log."""

    __slots__ = ("trace_id",)

    def __init__(self, traceparent: str | None) -> None:
        self.trace_id = trace_of(traceparent)

    def within(self) -> AbstractContextManager[object]:
        return nullcontext()

    def ended(self, method: str, route: str | None, status: int, seconds: float) -> None:
        pass


class Nobody:
    """Watches nothing."""

    def request(self, traceparent: str | None) -> Watched:
        return Unwatched(traceparent)

    def call(self, part: str, operation: str) -> AbstractContextManager[object]:
        return nullcontext()

    def work(self, name: str) -> AbstractContextManager[object]:
        return nullcontext()

    def committed(self, rows: Sequence[EntryRow]) -> None:
        pass

    def cut(self, how: str) -> None:
        pass

    def beat(self, name: str, *, well: bool) -> None:
        pass

    def watch_state(self, figures: Figures) -> None:
        pass

    def exposition(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


NOTHING: Observer = Nobody()


def trace_of(traceparent: str | None) -> str | None:
    """The trace id of a traceparent header; None of one that is not well formed (section 3.2.2)."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    if found is None or _ZERO.fullmatch(found[1]) or _ZERO.fullmatch(found[2]):
        return None
    if (traceparent or "").startswith("00") and found[3]:  # version 00 ends with the flags
        return None
    return found[1]
