"""What a walk through the log has to remember, by id: in memory, or wherever the caller keeps it. Pure.

- A map that is handed in behaves as a dict whose values may be changed in place until the next value of it is asked
  for, and gives its items in the order in which they were put in.
- A codec turns a value into what JSON can hold, and back: ids, codes, counts and times, as in the leaves that it is
  made of.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from datetime import datetime
from typing import Any, NamedTuple

from audit.times import from_microseconds, to_microseconds


class Codec(NamedTuple):
    """The two ways between a value and JSON's own types."""

    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]


Keep = Callable[[Codec], MutableMapping[str | None, Any]]
"""Makes an empty map for values of this codec."""


def in_memory(_codec: Codec) -> MutableMapping[str | None, Any]:
    """Make a map that grows in memory."""
    return {}


def _as_it_is(value: Any) -> Any:
    return value


AS_IT_IS = Codec(_as_it_is, _as_it_is)
"""For strings, numbers, and lists and objects of them."""


def packed_moment(at: datetime | None) -> int | None:
    """Turn a moment into microseconds."""
    return None if at is None else to_microseconds(at)


def unpacked_moment(us: int | None) -> datetime | None:
    """Turn microseconds into the moment."""
    return None if us is None else from_microseconds(us)


MOMENT = Codec(packed_moment, unpacked_moment)
