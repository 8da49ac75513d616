"""The contract of an observer of the service, and the wrappers that report custody's parts to it.

Rules:
- The doors and the assembly report to it; the rules of custody know nothing of it.
- No tenant, case, bundle, person, address or file name is reported, so none can be exported; only routes, actions,
  outcomes, reason codes, names of parts and of error types, and numbers. All names are from closed lists.
- What the log counts is counted from the log: an act and a refusal when their entry is committed, in one place
  (`WatchedRecords`), so a figure and the log cannot disagree.
- Nobody waits for an observer, and nothing fails because of one.
- NOTHING is the default: it keeps no count and costs a call.
- The wrappers do not change what the parts do. Only assembly adds them, and only when somebody watches: otherwise
  nothing is added to any call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, TypeVar, cast

from sqlalchemy import Connection, Engine

from audit.log.append import EntryRow
from retention.records.unit_of_work import Records, Transaction, Work

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.ASCII)
_ZERO = re.compile(r"0+")
Figures = Callable[[], Mapping[str, float]]


class Watched(Protocol):
    """A request to a door, being watched."""

    @property
    def trace_id(self) -> str | None:
        """The id of the request's trace, 32 hexadecimal digits; None when it is part of none."""

    def within(self) -> AbstractContextManager[object]:
        """Attribute what is done in the block to the request."""

    def ended(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Report that the last byte was handed over, or that the caller left."""


class Observer(Protocol):
    """An observer of one process. Safe from many threads."""

    def request(self, traceparent: str | None) -> Watched:
        """Report the start of a request; `traceparent` is its header (W3C Trace Context, section 3.2)."""

    def call(self, part: str, operation: str) -> AbstractContextManager[object]:
        """Watch a call of a part of custody; an error that it raises is counted."""

    def work(self, name: str) -> AbstractContextManager[object]:
        """Watch work that no caller waits for."""

    def committed(self, rows: Sequence[EntryRow]) -> None:
        """Report that these entries are durable."""

    def cut(self, how: str) -> None:
        """Report an upload's request that ended before its body: `line`, `stalled` or `stopped`."""

    def job(self, name: str, *, well: bool) -> None:
        """Report the end of a round of the clock's work."""

    def watch_state(self, figures: Figures) -> None:
        """Export these figures, each under its name, whenever somebody collects."""

    def exposition(self) -> bytes:
        """Return all metrics of this process, in Prometheus' text format."""

    def close(self) -> None:
        """Export what is not exported yet."""


class Unwatched:
    """A request that nobody watches: its caller's trace is still good for the log."""

    __slots__ = ("trace_id",)

    def __init__(self, traceparent: str | None) -> None:
        self.trace_id = trace_of(traceparent)

    def within(self) -> AbstractContextManager[object]:
        return nullcontext()

    def ended(self, method: str, route: str | None, status: int, seconds: float) -> None:
        pass


class NoopObserver:
    """An observer that watches nothing."""

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

    def job(self, name: str, *, well: bool) -> None:
        pass

    def watch_state(self, figures: Figures) -> None:
        pass

    def exposition(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


NOTHING: Observer = NoopObserver()


def trace_of(traceparent: str | None) -> str | None:
    """Read the trace id of a traceparent header; None if it is malformed (section 3.2.2)."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    if found is None or _ZERO.fullmatch(found[1]) or _ZERO.fullmatch(found[2]):
        return None
    if (traceparent or "").startswith("00") and found[3]:  # version 00 ends with the flags
        return None
    return found[1]


T = TypeVar("T")
P = TypeVar("P")


class WatchedRecords:
    """Records that report committed entries."""

    def __init__(self, records: Records, observer: Observer) -> None:
        self._records, self._observer = records, observer

    @property
    def engine(self) -> Engine:
        return self._records.engine

    def write(self, work: Work[T]) -> T:
        entries: list[EntryRow] = []

        def watched(tx: Transaction) -> T:
            value = work(tx)
            entries[:] = tx.entries  # a work may run again: the committed run counts
            return value

        with self._observer.call("records", "write"):
            value = self._records.write(watched)
        self._observer.committed(entries)
        return value

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._records.read() as reads:
            yield reads

    def close(self) -> None:
        self._records.close()


class _Watched:
    """Any other part: calls of its methods are reported. The result of `new_part` is watched in turn."""

    def __init__(self, part: Any, name: str, observer: Observer, told: frozenset[str]) -> None:
        self._part, self._name, self._observer, self._told = part, name, observer, told

    def __getattr__(self, operation: str) -> Any:
        found = getattr(self._part, operation)
        if operation not in self._told:
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            with self._observer.call(self._name, operation):
                answer = found(*arguments, **named)
            if operation == "new_part":
                return _WatchedWriter(answer, self._name, self._observer)
            return answer

        setattr(self, operation, call)  # made once
        return call


class _WatchedWriter:
    """A part being written: its commit is reported, and any failure before it. Segments are not."""

    def __init__(self, writer: Any, name: str, observer: Observer) -> None:
        self._writer, self._name, self._observer = writer, name, observer
        self.reserve, self.advance, self.abort = writer.reserve, writer.advance, writer.abort

    def commit(self) -> None:
        with self._observer.call(self._name, "commit"):
            self._writer.commit()

    def __enter__(self) -> _WatchedWriter:
        self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)


OBJECTS = frozenset(
    {"new_part", "complete", "keep_index", "open_part", "destroy", "destroy_part", "remains", "check"}
)
KEYS = frozenset({"put", "replace", "get", "destroy", "remains", "check"})
WRAPPER = frozenset({"wrap", "unwrap", "rotate"})


def watched(part: P, name: str, observer: Observer, told: frozenset[str]) -> P:
    """Wrap `part`, so that the operations `told` are reported under `name`."""
    return cast(P, _Watched(part, name, observer, told))
