"""Rotation of the key-encryption key: data keys are wrapped anew, bundles are never touched.

Resumable: a data key that is wrapped by the current key is left alone, so a rotation that stopped half way is simply
run again. Reads go on meanwhile: each wrapped key names the key that unwraps it.
"""

from __future__ import annotations

from audit.entry import Action
from retention.actor import Actor
from retention.custody.context import Custody, entry
from retention.objects.errors import KeyDestroyed, KeyMissing


def rewrap_all(custody: Custody, actor: Actor) -> int:
    """Wrap every data key by the current key-encryption key; how many were changed. One entry."""
    changed, key = 0, ""
    while (current := custody.wrapper.current_kek_id) != key:  # again, if somebody rotated meanwhile
        changed, key = changed + _rewrap_by(custody, current), current
    now = custody.clock.now()
    details: dict[str, str | int | list[str]] = {"key": key, "rewrapped": changed}
    rotated = entry(actor, Action.KEY_ROTATED, now, details=details)
    custody.records.write(lambda tx: tx.audit(rotated))
    return changed


def _rewrap_by(custody: Custody, current: str) -> int:
    """`current` is asked for once and not for each bundle: in a vault it is a request."""
    changed = 0
    for bundle_id in custody.keys.list_bundles():
        try:
            wrapped = custody.keys.get(bundle_id)
            if wrapped.kek_id == current:
                continue
            fresh = custody.wrapper.wrap(custody.wrapper.unwrap(wrapped, bundle_id), bundle_id)
            custody.keys.replace(bundle_id, fresh)
        except (KeyMissing, KeyDestroyed):
            continue  # erased meanwhile
        changed += 1
    return changed
