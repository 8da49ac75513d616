"""Rotation of the key-encryption key: data keys are wrapped anew, bundles are never touched.

Order:
  * entry `switching`, with the current key -> the new key -> * entry `switched`
  every data key wrapped by another key: unwrapped, wrapped by the current one, replaced; all listed again, until a pass
  changes none -> * entry `rewrapped`, with those left

Rules:
- Rotating again makes up for a crash anywhere: the switch is not done twice (the last entry says how far it came, and
  `switching` with a key that is no longer current says that the switch took place).
- A data key that cannot be re-wrapped now is left, named in the entry, and stops nothing else. It keeps its old
  wrapping, so nothing is lost. Only a vault or a store that does not respond at all ends a pass.
- Reads go on meanwhile: each wrapped key names the key that unwraps it, and old ones are kept.
- An upload may wrap a data key by the old key just before the switch and store it later: so passes repeat until one
  finds none. A data key stored after the last pass stays readable; the next rotation, or `resume`, finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from audit.entry import Action, Detail, Outcome
from retention.custody.context import Custody, entry
from retention.domain.actor import Actor
from retention.envelope.data_keys import RotatingKeyWrapper
from retention.envelope.format import (
    KeyWrapperUnavailable,
    NewerFraming,
    UnknownKeyEncryptionKey,
    WrappedKeyBroken,
)
from retention.objects.store_errors import KeyDestroyed, KeyMissing, StoreError
from retention.records.queries import newest_leaf

KEYS_LEFT = "keys-left"
_NAMED = 100  # ids in one entry: a leaf is bounded
_REASONS: Mapping[type[Exception], str] = {
    WrappedKeyBroken: "key-broken",
    UnknownKeyEncryptionKey: "wrapped-by-an-unknown-key",
    NewerFraming: "newer-framing",
    KeyWrapperUnavailable: "key-unavailable",
    StoreError: "store-error",
}


class Step(StrEnum):
    """The steps of a rotation, in its entries' `step`."""

    SWITCHING = "switching"
    SWITCHED = "switched"
    REWRAPPED = "rewrapped"


@dataclass(frozen=True, slots=True)
class Rotation:
    """The result of a rotation. `left`: bundles whose data key is not under `key`, and the code of the reason."""

    key: str
    made: bool
    rewrapped: int
    left: Mapping[str, str]


def rotate(custody: Custody, wrapper: RotatingKeyWrapper, actor: Actor, *, resume: bool = False) -> Rotation:
    """Make a new key-encryption key and wrap every data key by it; with `resume`, by the current one.

    An unfinished rotation is continued, without making a key. KeyWrapperUnavailable, StoreError: continue later.
    """
    made = not resume and _switch(custody, wrapper, actor)
    return replace(rewrap_all(custody, actor), made=made)


def _switch(custody: Custody, wrapper: RotatingKeyWrapper, actor: Actor) -> bool:
    """Switch to a new key, unless the last rotation switched but did not finish; return whether one was made."""
    last, current = _last(custody), wrapper.current_kek_id
    if last.get("step") == Step.SWITCHED:
        return False
    if last.get("step") == Step.SWITCHING and last["from"] != current:  # it died before its entry
        _note(custody, actor, Step.SWITCHED, {"from": last["from"], "key": current})
        return False
    if last.get("step") != Step.SWITCHING:
        _note(custody, actor, Step.SWITCHING, {"from": current})  # *
    fresh = wrapper.rotate(custody.clock.now())
    _note(custody, actor, Step.SWITCHED, {"from": current, "key": fresh})  # *
    return True


def _last(custody: Custody) -> Mapping[str, Any]:
    """Return the details of the newest entry of a rotation."""
    with custody.records.read() as reads:
        newest = newest_leaf(reads, Action.KEY_ROTATED)
    return newest.get("details", {}) if newest else {}


def rewrap_all(custody: Custody, actor: Actor) -> Rotation:
    """Wrap every data key by the current key-encryption key, with one entry."""
    rewrapped, changed, current = 0, 1, ""
    while changed or custody.wrapper.current_kek_id != current:  # somebody may have rotated meanwhile
        current = custody.wrapper.current_kek_id
        changed, left = _pass(custody, current)
        rewrapped += changed
    details: dict[str, Detail] = {"key": current, "rewrapped": rewrapped, "left": len(left)}
    if left:
        details["bundles"] = sorted(left)[:_NAMED]
    _note(custody, actor, Step.REWRAPPED, details, failed=bool(left))  # *
    return Rotation(current, False, rewrapped, left)


def _pass(custody: Custody, current: str) -> tuple[int, Mapping[str, str]]:
    """Re-wrap each data key once. `current` is passed in, not asked for each bundle: with a vault it is a request."""
    changed, left = 0, {}
    for bundle_id in custody.keys.list_bundles():
        try:
            changed += _rewrap(custody, bundle_id, current)
        except (KeyMissing, KeyDestroyed):
            continue  # erased meanwhile
        except tuple(_REASONS) as error:
            _raise_outage(custody, error)
            left[bundle_id] = next(code for kind, code in _REASONS.items() if isinstance(error, kind))
    return changed, left


def _rewrap(custody: Custody, bundle_id: str, current: str) -> bool:
    wrapped = custody.keys.get(bundle_id)
    if wrapped.kek_id == current:
        return False
    fresh = custody.wrapper.wrap(custody.wrapper.unwrap(wrapped, bundle_id), bundle_id)
    custody.keys.replace(bundle_id, fresh)
    return True


def _raise_outage(custody: Custody, error: Exception) -> None:
    """Raise if the fault is not this data key's: the store or the key-encryption key is not responding at all."""
    if isinstance(error, StoreError):
        custody.keys.check()
    elif isinstance(error, KeyWrapperUnavailable):
        _ = custody.wrapper.current_kek_id


def _note(
    custody: Custody, actor: Actor, step: Step, details: Mapping[str, Detail], *, failed: bool = False
) -> None:
    rotated = entry(
        actor,
        Action.KEY_ROTATED,
        custody.clock.now(),
        outcome=Outcome.FAILED if failed else Outcome.SUCCESS,
        reason=KEYS_LEFT if failed else None,
        details={"step": step.value, **details},
    )
    custody.records.write(lambda tx: tx.audit(rotated))
