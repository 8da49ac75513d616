"""The sealed manifest beside the parts (P1): objects, data key and key-encryption key alone restore a bundle.

Order of writing, when the last byte is recorded:
  seal the manifest -> durable object -> objects.complete, which takes it as the last of the parts
`completion` records the bundle as received after that *, so every received bundle has its manifest. A crash in between
leaves an object that no list names: the next try makes another, and `complete` removes the first.

Rules:
- A bundle has one manifest, an object whose id begins with `mft_`. The store tells which one it is; no record does.
- It is an object of the bundle like its parts: destroyed with them, found by `remains` and by the search for orphans.
- The records say what the parts are; the manifest repeats it, under the data key. Where it is missing or differs
  (damage, or a bundle received before there were manifests) the read-back rewrites it.
- An upload without a byte has no parts, no data key and no manifest.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select

from retention.custody.context import Custody
from retention.domain.bundle import BundleState
from retention.domain.ids import Kind, new_id
from retention.envelope.data_keys import DataKey
from retention.envelope.format import SealBroken, WrappedKeyBroken
from retention.envelope.manifest import Manifest
from retention.envelope.sealed_manifest import seal_manifest
from retention.objects.store_errors import PartMissing
from retention.records.tables import bundles

TRIES = 8
"""A try is lost when another completion of the bundle comes between. Each completes once, and no more run at a time."""


def complete_objects(custody: Custody, manifest: Manifest) -> None:
    """Make the parts and their sealed manifest the bundle, and nothing else. Idempotent. PartMissing, KeyDestroyed."""
    bundle_id, listed = manifest.bundle_id, [part.part_id for part in manifest.parts]
    key = _data_key(custody, bundle_id) if listed else None
    for left in reversed(range(TRIES)):
        try:
            last = [] if key is None else [_write(custody, manifest, key)]
            custody.objects.complete(bundle_id, [*listed, *last])
        except PartMissing:
            destroy_if_gone(custody, bundle_id)
            # Another completion of this bundle may have removed our manifest; nobody removes its parts.
            if not left or not set(listed) <= set(custody.objects.list_parts(bundle_id)):
                raise
        else:
            return


def _data_key(custody: Custody, bundle_id: str) -> DataKey | None:
    """Return the data key; None if it is broken: the read-back finds that damage, and nothing can be sealed for it."""
    try:
        return custody.wrapper.unwrap(custody.keys.get(bundle_id), bundle_id)
    except WrappedKeyBroken:
        return None


def _write(custody: Custody, manifest: Manifest, key: DataKey) -> str:
    """Store the sealed manifest; return the object's id."""
    manifest_id = new_id(Kind.MANIFEST)
    with custody.objects.new_part(manifest.bundle_id, manifest_id) as writer:
        seal_manifest(manifest, key, manifest_id, writer)
        writer.commit()  # durable object
    return manifest_id


def is_kept(custody: Custody, manifest: Manifest, read_stored: Callable[[str], Manifest]) -> bool:
    """Tell whether the store holds this manifest, sealed, and no other; `read_stored` opens the one with that id."""
    if not manifest.parts:
        return True
    found = [
        name for name in custody.objects.list_parts(manifest.bundle_id) if name.startswith(Kind.MANIFEST)
    ]
    try:
        return len(found) == 1 and read_stored(found[0]).to_bytes() == manifest.to_bytes()
    except (SealBroken, PartMissing):
        return False


def destroy_if_gone(custody: Custody, bundle_id: str) -> None:
    """Remove objects begun after an erasure had looked for them; leave a live bundle alone, whatever the error said."""
    with custody.records.read() as reads:
        state = reads.execute(select(bundles.c.state).where(bundles.c.id == bundle_id)).scalar()
    if state in (BundleState.ERASING, BundleState.ERASED):
        custody.objects.destroy(bundle_id)
