"""Whether every part that custody needs is available: what `/readyz` responds.

- Each part is asked on a thread of its own, and the response waits DEADLINE_SECONDS for all of them together: a probe
  gives up soon, and an unavailable store must not hide what is wrong with another.
- A part that has not responded by then is reported late, and not asked again until it has responded: however often
  somebody asks, a hanging store holds one thread.
- Anybody can read the result: no path, no address, no name of a key. The service's log has an error's type and place.
- A failed check of CHECKS takes the service out of use; one of APART does not, because everything else goes on.
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
from retention.custody.backlog import oldest_unsequenced
from retention.custody.log_gate import check_now
from retention.custody.reading.opening_entry import EntryNotKept
from retention.custody.timekeeping import doubt, read_mark
from retention.doctor import MOST_UNSEQUENCED
from retention.domain.faults import Unavailable
from retention.envelope.format import KeyWrapperUnavailable
from retention.records.schema import NEWER

DEADLINE_SECONDS = 1.5
LATE = f"no response within {DEADLINE_SECONDS} s"
OK = "ok"
Look = Callable[[Services], object]
"""A check: raises when the part is not available."""


def _database(services: Services) -> None:
    with services.custody.records.read() as reads:
        reads.execute(text("SELECT 1"))


def _log(services: Services) -> None:
    parts = services.custody
    parts.tiles.check()
    with suppress(DBAPIError, OSError):  # `database` reports the database
        check_now(parts.gate, parts.records, parts.clock.now())


def _unaltered(services: Services) -> None:
    parts = services.custody
    with suppress(SQLAlchemyError, OSError):  # `database` reports that it does not respond
        try:
            parts.schema.require(parts.records)
        except Unavailable as error:
            if error.reason != NEWER:  # `schema` reports that: uploads go on while the newer version starts
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
    return "no room left but the reserve for erasures and the log" if full else OK


def _destruction(services: Services) -> str:
    with services.custody.records.read() as reads:
        return doubt(read_mark(reads)) or OK


def _sequencing(services: Services) -> str:
    with services.custody.records.read() as reads:
        waits = oldest_unsequenced(reads, services.custody.clock.now())
    late = f"late: an entry has waited {waits:.0f} s for its place in the log"
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
    """The readiness checks of one process. Called by one thread at a time (`context.SingleFlight`)."""

    def __init__(self, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._deadline = deadline_seconds
        self._asked: dict[str, _Asked] = {}

    def look(self, services: Services) -> dict[str, str]:
        """Return each part's result, by name, within the deadline."""
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

        # A daemon: a stop does not wait for a store that hangs.
        threading.Thread(target=ask, name=f"ready-{name}", daemon=True).start()
        return asked


def _checked(look: Look) -> Callable[[Services], str]:
    def said(services: Services) -> str:
        try:
            look(services)
        except Unavailable as error:  # its message is written for callers
            return error.message
        except KeyWrapperUnavailable as error:
            log_unexpected(error, "readiness")
            return f"the key-encryption key {error.cause}"
        except Exception as error:  # whatever is wrong with a part, it is unavailable
            log_unexpected(error, "readiness")
            return "unavailable"
        return OK

    return said


def _apart(look: Callable[[Services], str]) -> Callable[[Services], str]:
    def said(services: Services) -> str:
        try:
            return look(services)
        except Exception:  # the checks report what is wrong
            return "unknown"

    return said
