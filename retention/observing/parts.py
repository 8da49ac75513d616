"""The parts of custody with an observer before them: what they do is unchanged.

Only assembly puts them there, and only when somebody watches: otherwise the parts stand alone and nothing is added to
any call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine

from audit.log import EntryRow
from retention.observing.observer import Observer
from retention.records.unit_of_work import Records, Transaction, Work

T = TypeVar("T")
P = TypeVar("P")


class WatchedRecords:
    """Records that tell which entries were committed."""

    def __init__(self, records: Records, observer: Observer) -> None:
        self._records, self._observer = records, observer

    @property
    def engine(self) -> Engine:
        return self._records.engine

    def write(self, work: Work[T]) -> T:
        entries: list[EntryRow] = []

        def watched(tx: Transaction) -> T:
            value = work(tx)
            entries[:] = tx.entries  # a work may run again: the run that is committed counts
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
    """Any other part: each of its methods is a call that is told. What `new_part` returns is watched in turn."""

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
    """A part being written: its durable end is told, and what goes wrong on the way. Segments are not."""

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


OBJECTS = frozenset({"new_part", "complete", "open_part", "destroy", "destroy_part", "remains", "check"})
KEYS = frozenset({"put", "replace", "get", "destroy", "remains", "check"})
WRAPPER = frozenset({"wrap", "unwrap", "rotate"})


def watched(part: P, name: str, observer: Observer, told: frozenset[str]) -> P:
    """`part`, with the operations `told` told under `name`."""
    return cast(P, _Watched(part, name, observer, told))
