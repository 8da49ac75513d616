"""Whether every part that custody needs is there: what `/readyz` responds.

- Each part is asked on a thread of its own, and the response waits DEADLINE_SECONDS for all of them together: a probe
  gives up soon, and one store that is away must not hide what is wrong with another.
- A part that has not responded by then is said to be late. It is not asked again before it has responded: however often
  somebody asks, a store that hangs holds one thread.
- What is said is for anybody: no path, no address, no name of a key. The service's log has type and place of an error.
- `checks` take the service out of use; what stands apart from them does not, because everything else goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from intake_api.logs import log_unexpected
from retention.assembly import Services
from retention.custody.log_gate import check_now
from retention.custody.reading.opening_entry import EntryNotKept
from retention.custody.timekeeping import doubt, read_mark
from retention.custody.work_state import oldest_unsequenced
from retention.doctor import MOST_UNSEQUENCED
from retention.domain.faults import Unavailable
from retention.envelope.format import KeyWrapperUnavailable
from retention.records.schema import NEWER

DEADLINE_SECONDS = 1.5
LATE = f"no response within {DEADLINE_SECONDS} s"
OK = "ok"
Look = Callable[[Services], object]
"""Raises when the part is not there; what it says otherwise is `ok`, or a sentence for who runs the service."""


def _database(services: Services) -> None:
    with services.custody.records.read() as reads:
        reads.execute(text("SELECT 1"))


def _log(services: Services) -> None:
    parts = services.custody
    parts.tiles.check()
    with suppress(DBAPIError, OSError):  # another check tells of the database
        check_now(parts.gate, parts.records, parts.clock.now())


def _unaltered(services: Services) -> None:
    parts = services.custody
    with suppress(SQLAlchemyError, OSError):  # that it does not answer, `database` tells
        try:
            parts.schema.require(parts.records)
        except Unavailable as error:
            if (
                error.reason != NEWER
            ):  # else `schema` tells: uploads go on here while the newer version starts
                raise
    if parts.openings.lost:
        raise EntryNotKept


CHECKS: Mapping[str, Look] = {
    "database": _database,
    "unaltered": _unaltered,
    "object_store": lambda services: services.custody.objects.check(),
    "key_store": lambda services: services.custody.keys.check(),
    "log": _log,
    "key": lambda services: services.custody.wrapper.current_kek_id,
    "clock": lambda services: services.clock_skew.require(),
}


def _uploads(services: Services) -> str:
    full = services.custody.objects.free_space() == 0
    return "no room: only what is kept for erasing and for the log" if full else OK


def _destruction(services: Services) -> str:
    with services.custody.records.read() as reads:
        return doubt(read_mark(reads)) or OK


def _sequencing(services: Services) -> str:
    with services.custody.records.read() as reads:
        waits = oldest_unsequenced(reads, services.custody.clock.now())
    late = f"late: an entry waits for its place in the log for {waits:.0f} s"
    return late if waits > MOST_UNSEQUENCED.total_seconds() else OK


def _schema(services: Services) -> str:
    try:
        services.custody.schema.require(services.custody.records)
    except Unavailable as error:
        return error.message
    return OK


APART: Mapping[str, Callable[[Services], str]] = {
    "uploads": _uploads,
    "destruction": _destruction,
    "sequencing": _sequencing,
    "schema": _schema,
}


@dataclass(slots=True)
class _Asked:
    """One question to one part, under way or responded to."""

    responded: threading.Event = field(default_factory=threading.Event)
    said: str = LATE


class Readiness:
    """The questions of one process. Thread-safe: one asker at a time comes here (`last_answer`)."""

    def __init__(self, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._deadline = deadline_seconds
        self._asked: dict[str, _Asked] = {}

    def look(self, services: Services) -> dict[str, str]:
        """What each part says, within the deadline."""
        asked = {
            **{name: self._ask(name, _checked(look), services) for name, look in CHECKS.items()},
            **{name: self._ask(name, _apart(look), services) for name, look in APART.items()},
        }
        give_up = time.monotonic() + self._deadline
        for one in asked.values():
            one.responded.wait(max(0.0, give_up - time.monotonic()))
        return {name: one.said for name, one in asked.items()}

    def _ask(self, name: str, look: Callable[[Services], str], services: Services) -> _Asked:
        before = self._asked.get(name)
        if before is not None and not before.responded.is_set():
            return before
        asked = self._asked[name] = _Asked()

        def ask() -> None:
            asked.said = look(services)
            asked.responded.set()

        # A daemon: a stop does not wait for a store that is away.
        threading.Thread(target=ask, name=f"ready-{name}", daemon=True).start()
        return asked


def _checked(look: Look) -> Callable[[Services], str]:
    def said(services: Services) -> str:
        try:
            look(services)
        except Unavailable as error:  # its words are for callers
            return error.message
        except KeyWrapperUnavailable as error:
            log_unexpected(error, "readiness")
            return f"the key-encryption key {error.cause}"
        except Exception as error:  # whatever is wrong with a part, the answer is that it is not there
            log_unexpected(error, "readiness")
            return "unavailable"
        return OK

    return said


def _apart(look: Callable[[Services], str]) -> Callable[[Services], str]:
    def said(services: Services) -> str:
        try:
            return look(services)
        except Exception:  # the checks tell what is wrong
            return "unknown"

    return said
