"""The unit of work: one change of the records and its audit entries, durable together or not at all (P3).

Rules:
- `write(work)` runs `work(tx)` in a write transaction and returns its value only after COMMIT. All entries that `work`
  gave to `tx.audit` are in that same commit; when the entries cannot be written, nothing is (fail closed).
- Works take effect as if one ran after the other: what a work read still holds when it commits.
- `work` does no other I/O and keeps no state outside `tx`: it holds locks, and it may run more than once (PostgreSQL
  rejects the loser of a race, which runs again from the start). Only the value of the committed run is returned. Ids
  made inside are as good as ids made outside; values that must not differ between runs (`now`) are made outside.
- A refusal is a value that `work` returns (its entry commits) and that the caller raises afterwards; an exception
  undoes what `work` did. After a failed statement a work may only raise.
- SQLite: one transaction carries the works of all waiting threads (group commit: one fsync for many). Each work is
  fenced by a savepoint, set only before its first change, so a failed one undoes only itself.
- PostgreSQL: see `retention.records.postgres`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import IntEnum
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import CompoundSelect, Connection, CursorResult, Engine, Executable, Result, Select, text

from audit.entry import Entry
from audit.log import append

T = TypeVar("T")
_TRY = {"postgresql": text("SELECT pg_try_advisory_xact_lock(:number)")}
Rows = Sequence[Mapping[str, Any]]


class Reads(Protocol):
    """Something that queries run on: a Transaction, or a read-only Connection."""

    def execute(self, statement: Executable, values: Mapping[str, Any] | None = None, /) -> Result[Any]:
        """Run a SELECT; `values` for its bound parameters."""
        ...


class Turn(IntEnum):
    """The lock numbers of work that should not be done twice at once."""

    SWEEP = 4153697015


class Transaction:
    """A work's transaction: statements on the records, and entries that commit with them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.entries: list[append.EntryRow] = []
        self.changed = False
        self._last: dict[str, Callable[[], None]] = {}
        self._then: list[Callable[[], None]] = []

    def execute(self, statement: Executable, rows: Rows | Mapping[str, Any] | None = None) -> Result[Any]:
        """Run a statement, once for each of `rows`, or with the given values."""
        if not (self.changed or isinstance(statement, (Select, CompoundSelect))):
            self._before_first_change()
            self.changed = True
        return self._connection.execute(statement, rows)

    def change(self, statement: Executable, rows: Rows | None = None) -> int:
        """Run an INSERT, UPDATE or DELETE; return the number of changed rows."""
        result = self.execute(statement, rows)
        return result.rowcount if isinstance(result, CursorResult) else 0

    def take_turn(self, turn: Turn) -> bool:
        """Try to be alone at this kind of work until this commit; return success. SQLite's writers always are."""
        lock = _TRY.get(self._connection.dialect.name)
        return lock is None or bool(self._connection.execute(lock, {"number": turn.value}).scalar())

    def audit(self, *entries: Entry) -> None:
        """Add entries to this commit."""
        # An entry without a leaf fails its own work here, not the group's commit.
        self.entries.extend([append.row_of(entry) for entry in entries])

    def at_end(self, name: str, do: Callable[[], None]) -> None:
        """Run `do` when the work has returned, before its entries are written; the first of a `name` counts."""
        self._last.setdefault(name, do)

    def has_at_end(self, name: str) -> bool:
        """Tell whether `at_end` has something of this `name`."""
        return name in self._last

    def settle(self) -> None:
        """Run what `at_end` collected."""
        for do in self._last.values():
            do()

    def then(self, do: Callable[[], None]) -> None:
        """Run `do` once this work is durable. It must not raise or use the database."""
        self._then.append(do)

    def committed(self) -> None:
        """Run what `then` collected."""
        for do in self._then:
            do()

    def _before_first_change(self) -> None:
        """Set the savepoint to return to, where works share a transaction."""


class _Fenced(Transaction):
    """The transaction of one of several works in a group: it can be undone alone."""

    def keep(self) -> list[append.EntryRow]:
        if self.changed:
            self._connection.exec_driver_sql("RELEASE SAVEPOINT work")
        return self.entries

    def undo(self) -> None:
        if self.changed:
            self._connection.exec_driver_sql("ROLLBACK TO SAVEPOINT work")
            self._connection.exec_driver_sql("RELEASE SAVEPOINT work")

    def _before_first_change(self) -> None:
        self._connection.exec_driver_sql("SAVEPOINT work")


Work = Callable[[Transaction], T]


class Records(Protocol):
    """The place where the records are kept."""

    @property
    def engine(self) -> Engine: ...

    def write(self, work: Work[T]) -> T:
        """Run `work` in a write transaction; return its value, once durable. Raises what `work` or the commit raised.

        Unavailable: the database does not respond; with the reason `outcome-unknown` it stopped during the commit.
        """
        ...

    def read(self) -> AbstractContextManager[Connection]:
        """Open a Connection that sees one snapshot and cannot write, for a `with` block."""
        ...

    def close(self) -> None:
        """Close the database."""
        ...


class _Waiting(Generic[T]):
    """One thread's work in the queue, and its result. `wake` is held until it is done, or its thread's turn to lead."""

    __slots__ = ("done", "error", "tx", "value", "wake", "work")

    def __init__(self, work: Work[T]) -> None:
        self.work = work
        self.tx: Transaction | None = None
        self.value: T | None = None
        self.error: BaseException | None = None
        self.done = False
        self.wake = threading.Lock()
        self.wake.acquire()


class SqliteRecords:
    """Records in one SQLite file: a single write connection.

    A thread that arrives when nobody commits leads: it runs every work in the queue, commits them together, wakes their
    threads, and hands the lead to the first thread that has arrived since.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._gate = threading.Lock()  # guards _queue and _led; held for moments
        self._queue: deque[_Waiting[Any]] = deque()
        self._led = False
        self._writer: Connection | None = None

    def write(self, work: Work[T]) -> T:
        waiting: _Waiting[T] = _Waiting(work)
        with self._gate:
            self._queue.append(waiting)
            lead, self._led = not self._led, True
        if not lead:
            waiting.wake.acquire()  # done by a leader, or chosen to lead
        if not waiting.done:
            self._lead()
        if waiting.error is not None:
            raise waiting.error
        return waiting.value  # type: ignore[return-value]  # None only if T admits it

    def _lead(self) -> None:
        with self._gate:
            group = list(self._queue)
            self._queue.clear()
        try:
            self._commit(group)
        finally:
            for waiting in group:
                waiting.done = True
                waiting.wake.release()
            with self._gate:
                self._led = bool(self._queue)
                if self._queue:
                    self._queue[0].wake.release()

    def _commit(self, group: Sequence[_Waiting[Any]]) -> None:
        try:
            if self._writer is None:
                self._writer = self.engine.connect()
            with self._writer.begin():
                entries: list[append.EntryRow] = []
                for waiting in group:
                    entries += _run(self._writer, waiting)
                    _refuse_undone(self._writer, waiting.error)
                append.append_rows(self._writer, entries)
            # * commit point: COMMIT has returned (synchronous=FULL), the group is durable
            for waiting in group:
                if waiting.tx is not None and waiting.error is None:
                    waiting.tx.committed()
        except BaseException as error:  # the whole group is undone: every caller gets the error
            self._drop_writer()
            for waiting in group:
                waiting.error = error  # its own may depend on another's changes in the group

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.invalidate()
            writer.close()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self.engine.connect() as connection:
            connection.execution_options(read_only=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        self._drop_writer()
        self.engine.dispose()


def _refuse_undone(connection: Connection, error: BaseException | None) -> None:
    """Raise if SQLite has undone the transaction, as it does after an I/O error or lack of memory, at a SELECT too:
    later statements would be committed one by one, and the COMMIT of nothing would be no error."""
    raw: Any = connection.connection.dbapi_connection
    if not raw.in_transaction:
        raise error or RuntimeError("SQLite undid the transaction")


def _run(connection: Connection, waiting: _Waiting[Any]) -> list[append.EntryRow]:
    """Run one work inside the group; return its entries, or none when it failed and was undone."""
    tx = waiting.tx = _Fenced(connection)
    try:
        waiting.value = waiting.work(tx)
        tx.settle()
        return tx.keep()
    except Exception as error:
        waiting.error = error
        tx.undo()
        return []
