"""Records on PostgreSQL: many processes at once, each write a transaction of its own.

Every write runs SERIALIZABLE. The verbs of custody decide from what they read and then write elsewhere, so two that are
each right can be wrong together, with no row lock between them:

| two at once | without it |
|---|---|
| give a grant, close the case (or unassign, or revoke the consent) | a live grant on a closed case |
| declare a bundle, close its case | a bundle that no deadline finds |
| two workers erase the last two bundles of one erasure | each sees the other's undone: never proven, no receipt |
| two requests to erase an empty case | two confirmation numbers for one erasure |
| claim by two cases, two sweeps, a taken-over writer's last part | the later overwrites the earlier |

Row locks could prevent each of these, chosen verb by verb, and the next verb would forget one. SERIALIZABLE prevents
them all: PostgreSQL watches what each transaction read, and of two that could not have run one after the other it
rejects one (40001), whose work runs again. So works are repeatable (see `unit_of_work`), and all writes must go through
here.

It does not order everything: a work that only read what another changed may commit after it. Where the log's order is
read as the order of events, the verb holds the rows it relies on (`queries.hold`).

- `read` is one REPEATABLE READ READ ONLY snapshot: it waits for nobody and nobody for it.
- A connection lost before COMMIT: the server has undone the work, which runs again. Lost during COMMIT: Unavailable,
  `outcome-unknown`; only the caller can find out.
- The sequencer runs READ COMMITTED on `engine`: it takes its lock first and must see what was committed before.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from audit.log import append
from retention.records.retry import PATIENCE, Trouble, give_up, outcome_unknown, trouble
from retention.records.unit_of_work import Transaction, Work

T = TypeVar("T")
LOG = logging.getLogger(__name__)
_DRAW = random.SystemRandom()


class PostgresRecords:
    """Records in a PostgreSQL database; `engine` is from `postgres_engine`. Threads share it, processes do not."""

    ISOLATION = "SERIALIZABLE"

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writes = engine.execution_options(isolation_level=self.ISOLATION)
        self._reads = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def write(self, work: Work[T]) -> T:
        runs: Counter[Trouble] = Counter()
        while True:
            try:
                return self._run(work)
            except (DBAPIError, PoolTimeout) as error:
                time.sleep(_pause(error, runs))

    def _run(self, work: Work[T]) -> T:
        with self._writes.connect() as connection:  # rolls back at the end, unless committed
            tx = Transaction(connection)
            value = work(tx)
            tx.settle()
            append.append_rows(connection, tx.entries)
            _commit(connection, wrote=tx.changed or bool(tx.entries))
            tx.committed()
            return value

    @contextmanager
    def read(self) -> Iterator[Connection]:
        try:
            with self._reads.connect() as connection, connection.begin():
                yield connection
        except (DBAPIError, PoolTimeout) as error:
            why = trouble(error)
            if why is Trouble.OTHER:
                raise
            raise give_up(why) from None

    def close(self) -> None:
        self.engine.dispose()


def _commit(connection: Connection, *, wrote: bool) -> None:
    try:
        connection.commit()  # * commit point: COMMIT has returned (synchronous_commit=on), the work is durable
    except DBAPIError as error:
        if wrote and trouble(error) is Trouble.LOST:
            raise outcome_unknown() from None
        raise


def _pause(error: DBAPIError | PoolTimeout, runs: Counter[Trouble]) -> float:
    """Return how long to wait before the work runs again; raise when it does not."""
    why = trouble(error)
    if why is Trouble.OTHER:
        raise error
    runs[why] += 1
    if runs[why] < PATIENCE[why].runs:
        return PATIENCE[why].pause(runs[why], _DRAW.random())
    LOG.warning("gave up a transaction after %d runs: %s", runs.total(), why.value)
    if why is Trouble.TAKEN:
        raise error
    raise give_up(why) from None
