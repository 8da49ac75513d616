"""A bundle's life, and the rules for an acceptable collection.

States:
  staging   -> receiving       blocks arrive in any order; committing their list fixes the size
  receiving -> received        the last byte is durable (completion); waiting for the read-back
  received  -> complete        read back, opened and hashed: the intake receipt is signed
  received  -> damaged         the read-back found other bytes than were sealed or declared; never readable
  complete  -> damaged         a read or the scrubbing found other bytes than were sealed, twice; not readable
  damaged   -> complete        the scrubbing found the sealed bytes of a once complete bundle again (restored store)
  any of these -> erasing      the deadline, a request, an expiry or a termination; no way back
  erasing   -> erased          the data key is destroyed, absence is proven; the tombstone stays

Only a complete bundle can be opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from retention.domain.characters import is_visible
from retention.domain.faults import Conflict, Invalid


class BundleState(StrEnum):
    """The states of a bundle."""

    STAGING = "staging"
    RECEIVING = "receiving"
    RECEIVED = "received"
    COMPLETE = "complete"
    DAMAGED = "damaged"
    ERASING = "erasing"
    ERASED = "erased"


LIVE = frozenset(
    {
        BundleState.STAGING,
        BundleState.RECEIVING,
        BundleState.RECEIVED,
        BundleState.COMPLETE,
        BundleState.DAMAGED,
    }
)
"""States in which there is data to erase and no erasure under way."""

STATUSES: Mapping[str, tuple[BundleState, ...]] = {
    "in-progress": (BundleState.STAGING, BundleState.RECEIVING, BundleState.RECEIVED),
    "complete": (BundleState.COMPLETE,),
    "damaged": (BundleState.DAMAGED,),
    "erasing": (BundleState.ERASING,),
    "erased": (BundleState.ERASED,),
}
"""Filter values for lists: the word shown to people -> the states it covers."""

TRANSITIONS: Mapping[BundleState, frozenset[BundleState]] = {
    BundleState.STAGING: frozenset({BundleState.RECEIVING, BundleState.ERASING}),
    BundleState.RECEIVING: frozenset({BundleState.RECEIVED, BundleState.ERASING}),
    BundleState.RECEIVED: frozenset({BundleState.COMPLETE, BundleState.DAMAGED, BundleState.ERASING}),
    BundleState.COMPLETE: frozenset({BundleState.DAMAGED, BundleState.ERASING}),
    BundleState.DAMAGED: frozenset({BundleState.COMPLETE, BundleState.ERASING}),
    BundleState.ERASING: frozenset({BundleState.ERASED}),
    BundleState.ERASED: frozenset(),
}


def step(state: BundleState, to: BundleState) -> BundleState:
    """Return `to` if a bundle can go there from `state`; Conflict otherwise."""
    if to not in TRANSITIONS[state]:
        raise Conflict(f"a bundle that is {state} cannot become {to}", reason=f"bundle-{state}")
    return to


class CollectionType(StrEnum):
    """The ways a collection is started."""

    PROACTIVE = "proactive"
    ON_DEMAND = "on-demand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """The act that made a bundle, as its stamp declares it. Times are aware, UTC; `size` is in bytes."""

    type: CollectionType
    logs_start: datetime
    logs_end: datetime
    time_collected: datetime
    file_name: str
    size: int
    trigger: str | None = None
    roles: Sequence[str] = ()
    send_logs_now: bool = False
    sha256: str | None = None


CLOCK_SKEW = timedelta(minutes=5)
"""How far a stamp's clock may run ahead of ours."""
SEND_NOW_SHORTEST, SEND_NOW_LONGEST, SEND_NOW_REACH = (
    timedelta(hours=1),
    timedelta(hours=4),
    timedelta(days=7),
)
MAX_FILE_NAME = 255


@dataclass(frozen=True, slots=True)
class Triggers:
    """The FaultIdTypes allowed to trigger a proactive collection: the alert table, and prefixes of hidden events."""

    titles: Mapping[str, str]
    prefixes: Sequence[str] = ()

    def knows(self, trigger: str) -> bool:
        """Return True if `trigger` is in the table or under an allowed prefix."""
        return trigger in self.titles or any(trigger.startswith(p) and trigger != p for p in self.prefixes)


def check_collection(collection: Collection, triggers: Triggers, max_size: int, now: datetime) -> None:
    """Raise Invalid, naming every wrong field, unless `collection` is acceptable at `now`."""
    _refuse({**_size_errors(collection, max_size), **_errors(collection, triggers, now)})


def check_unsized(collection: Collection, triggers: Triggers, now: datetime) -> None:
    """Check a collection whose size is not known yet, all but the size: that is checked once it is known."""
    _refuse(_errors(collection, triggers, now))


def _errors(collection: Collection, triggers: Triggers, now: datetime) -> dict[str, str]:
    return {
        **_name_errors(collection),
        **_window_errors(collection, now),
        **_trigger_errors(collection, triggers),
    }


def _refuse(errors: Mapping[str, str]) -> None:
    if errors:
        raise Invalid(
            "the collection cannot be accepted: " + "; ".join(f"{k} {v}" for k, v in errors.items()), errors
        )


def _size_errors(c: Collection, max_size: int) -> dict[str, str]:
    if c.size < 0:
        return {"size": f"must not be negative, but is {c.size}"}
    if c.size > max_size:
        return {"size": f"must be at most {max_size} bytes, but is {c.size}"}
    return {}


def _name_errors(c: Collection) -> dict[str, str]:
    name = c.file_name
    if (
        not name.strip()
        or len(name.encode("utf-8", "replace")) > MAX_FILE_NAME
        or not is_visible(name)
        or name in (".", "..")
        or set(name) & set("/\\")
    ):
        return {
            "file_name": f"must be a plain name, 1 to {MAX_FILE_NAME} bytes, no path, no invisible characters"
        }
    return {}


def _window_errors(c: Collection, now: datetime) -> dict[str, str]:
    errors: dict[str, str] = {}
    if c.logs_start >= c.logs_end:
        errors["logs_start"] = "must be before logs_end"
    for field in ("logs_end", "time_collected"):
        if getattr(c, field) > now + CLOCK_SKEW:
            errors[field] = (
                f"must not be in the future, but is {getattr(c, field).isoformat()} "
                f"(now is {now.isoformat()}; check the stamp's clock)"
            )
    if c.send_logs_now and not errors:
        errors |= _send_now_errors(c)
    return errors


def _send_now_errors(c: Collection) -> dict[str, str]:
    """Check a 'Send logs now' window: one to four hours within the last week."""
    if c.type is not CollectionType.ON_DEMAND:
        return {"send_logs_now": f"needs type on-demand, not {c.type}"}
    if not SEND_NOW_SHORTEST <= c.logs_end - c.logs_start <= SEND_NOW_LONGEST:
        return {"logs_end": "must be 1 to 4 hours after logs_start for 'Send logs now'"}
    if c.time_collected - c.logs_start > SEND_NOW_REACH:
        return {"logs_start": "must be within the last week for 'Send logs now'"}
    return {}


def _trigger_errors(c: Collection, triggers: Triggers) -> dict[str, str]:
    if c.type is CollectionType.ON_DEMAND:
        return {} if c.trigger is None else {"trigger": f"needs type proactive, not {c.type}"}
    if c.trigger is None or not triggers.knows(c.trigger):
        known = ", ".join([*triggers.titles, *(f"{p}*" for p in triggers.prefixes)])
        return {"trigger": f"must be a known FaultIdType, one of: {known}"}
    return {}
