"""The meaning of a failed statement, and whether its work runs again. Pure.

| trouble | shown by | then |
|---|---|---|
| contended | 40001, 40P01: a concurrent transaction won | again after a jittered pause |
| taken | 23505: another transaction won a unique key, or had it all along | again, a few times; then raised unchanged |
| lost | the connection is gone, or none could be made | again, a few times: the server may be restarting |
| slow | a timeout of statement, lock, or pool | Unavailable at once: more load would not help |
| other | anything else | a mistake of ours: raised unchanged |
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from retention.domain.faults import Unavailable


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a work runs again, and its pauses: up to `first` seconds, doubled each time, never above `longest`."""

    runs: int
    first: float
    longest: float

    def pause(self, runs: int, draw: float) -> float:
        """Return the pause after `runs` runs; `draw` is uniform in [0, 1), so that colliding works separate."""
        return draw * min(self.longest, self.first * 2.0 ** min(runs - 1, 30))


class Trouble(Enum):
    """The cause of a failed statement."""

    CONTENDED = "contended"
    TAKEN = "taken"
    LOST = "lost"
    SLOW = "slow"
    OTHER = "other"


PATIENCE = {
    Trouble.CONTENDED: Patience(runs=25, first=0.004, longest=0.4),
    Trouble.TAKEN: Patience(runs=6, first=0.004, longest=0.4),
    Trouble.LOST: Patience(runs=5, first=0.2, longest=1.5),
    Trouble.SLOW: Patience(runs=1, first=0.0, longest=0.0),
}
_BY_STATE = {
    "40001": Trouble.CONTENDED,  # serialization_failure
    "40P01": Trouble.CONTENDED,  # deadlock_detected
    "23505": Trouble.TAKEN,  # unique_violation
    "25P03": Trouble.LOST,  # idle_in_transaction_session_timeout
    "53300": Trouble.LOST,  # too_many_connections
    "57P01": Trouble.LOST,  # admin_shutdown
    "57P02": Trouble.LOST,  # crash_shutdown
    "57P03": Trouble.LOST,  # cannot_connect_now
    "57P05": Trouble.LOST,  # idle_session_timeout
    "55P03": Trouble.SLOW,  # lock_not_available
    "57014": Trouble.SLOW,  # query_canceled
}
_WORDS = {
    Trouble.CONTENDED: ("contended", "too many changes were made in the same place at once; try again"),
    Trouble.LOST: ("records-unreachable", "the database does not respond; try again later"),
    Trouble.SLOW: ("records-slow", "the database takes too long; try again later"),
}


def trouble(error: BaseException) -> Trouble:
    """Classify `error`, raised by SQLAlchemy."""
    if isinstance(error, PoolTimeout):
        return Trouble.SLOW
    if not isinstance(error, DBAPIError):
        return Trouble.OTHER
    state: str | None = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated or (state or "").startswith("08"):
        return Trouble.LOST
    if state is None:  # no response of a server at all: no connection could be made
        return Trouble.LOST if isinstance(error, OperationalError | InterfaceError) else Trouble.OTHER
    return _BY_STATE.get(state, Trouble.OTHER)


def give_up(why: Trouble) -> Unavailable:
    """Make the final error for the caller."""
    reason, words = _WORDS[why]
    return Unavailable(f"{words}; nothing was changed", reason=reason)


def outcome_unknown() -> Unavailable:
    """Make the error for a connection that broke during COMMIT: the one case in which nobody can say what happened."""
    return Unavailable(
        "the database stopped responding while it committed: the change may or may not have been made; "
        "check before you repeat it",
        reason="outcome-unknown",
    )
