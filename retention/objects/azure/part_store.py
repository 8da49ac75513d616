"""Sealed parts in Azure Blob Storage: one block blob a bundle. Contract: store.py. Blocks: block_names.py.

Order of writing
    new_part   stage the begin block
    a part     stage its blocks, two at once; the last one ends it *                        part_writer.py
    complete   commit the list of the listed parts' blocks, in their order *: strays go with it, in the same act
    destroy    discard staged blocks -> delete blob and snapshots -> earlier versions        bundle_blob.py
    keep_index the same with the index's blocks, in a blob of its own beside it
Every step can be repeated; a crash in between leaves what `remains` shows and `destroy` removes.

Reading: the committed list tells where in the blob each part lies. It is read once for each bundle and kept with the
blob's ETag; whenever a part is opened the service is asked whether that is still the blob. Committing the same list
again (two complete at once, or a late writer's blocks are removed) changes the ETag: a reader then checks that its part
is where it was, and reads on.

What the contract leaves open:
- An aborted part, or one destroyed singly, is marked dead, and shown by `remains`, until `complete` or `destroy`.
- The service discards staged blocks a week after the last one, so an upload must not stay open longer, and
  `discard_abandoned` has nothing to do.
- A bundle has at most 50,000 blocks: with a part for each small request, `StoreFull` is raised sooner.
- A writer that was still sending when its bundle was destroyed can leave staged blocks; it removes them when it ends,
  and if it dies the service does. Their data key is destroyed before.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobServiceClient

from audit.azure_errors import is_absent, is_conflict
from retention.domain.ids import Kind
from retention.objects import object_names
from retention.objects.azure.account_check import AccountCheck
from retention.objects.azure.blob_service import named_errors
from retention.objects.azure.block_names import MAX_BLOCKS, Extent
from retention.objects.azure.bundle_blob import ROUNDS, BundleBlob, find_names
from retention.objects.azure.part_reader import AzurePartReader
from retention.objects.azure.part_writer import AzurePartWriter
from retention.objects.store_errors import PartMissing, StoreFull, StoreUnavailable

READERS = 32
LAYOUTS, LAYOUT_PARTS = 256, 100_000
"""The most bundle layouts cached, and the most parts in all of them: some 20 MiB."""


class AzureBlobObjectStore:
    """Sealed parts in an existing container of their own. Contract: `ObjectStore`."""

    def __init__(self, service: BlobServiceClient, container: str) -> None:
        self._container = service.get_container_client(container)
        self._account = AccountCheck(service, container)
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="casevault-read")
        self._layouts: OrderedDict[str, tuple[str, dict[str, Extent]]] = OrderedDict()
        self._lock = threading.Lock()

    def _blob(self, bundle_id: str, part_id: str = "") -> BundleBlob:
        return BundleBlob(self._container, bundle_id, index=part_id.startswith(Kind.INDEX))

    def _both(self, bundle_id: str) -> tuple[BundleBlob, BundleBlob]:
        return self._blob(bundle_id), self._blob(bundle_id, Kind.INDEX)

    def new_part(self, bundle_id: str, part_id: str) -> AzurePartWriter:
        object_names.part_object(bundle_id, part_id)
        writer = AzurePartWriter(self._blob(bundle_id, part_id), part_id)
        writer.begin()
        return writer

    def complete(self, bundle_id: str, part_ids: Sequence[str]) -> None:
        for part_id in part_ids:
            object_names.part_object(bundle_id, part_id)
        with named_errors("a bundle cannot be completed"):
            self._commit(self._blob(bundle_id), part_ids)

    def keep_index(self, bundle_id: str, index_id: str) -> None:
        object_names.part_object(bundle_id, index_id)
        with named_errors("an index cannot be kept"):
            self._commit(self._blob(bundle_id, Kind.INDEX), [index_id])

    def _commit(self, blob: BundleBlob, part_ids: Sequence[str]) -> None:
        for _ in range(ROUNDS):
            if self._complete(blob, part_ids):
                return
        raise StoreUnavailable(f"bundle {blob.bundle_id} keeps being changed by other processes")

    def _complete(self, blob: BundleBlob, part_ids: Sequence[str]) -> bool:
        """Commit the parts' blocks; return whether they still existed when their list was committed."""
        lists, _ = blob.lists()
        runs = [lists.blocks_of(part_id) for part_id in part_ids]
        found = [run for run in runs if run is not None]
        if len(found) < len(runs):
            raise PartMissing(
                f"bundle {blob.bundle_id} lacks {len(runs) - len(found)} of its {len(runs)} parts"
            )
        names = [block.name for run in found for block in run]
        if len(names) > MAX_BLOCKS:
            raise StoreFull(
                f"bundle {blob.bundle_id} has {len(names)} blocks; a blob holds at most {MAX_BLOCKS}"
            )
        if not names:
            blob.destroy()
        elif lists.staged or names != [block.name for block in lists.committed if block]:
            return blob.commit_if_there(names)  # *
        return True

    def open_part(self, bundle_id: str, part_id: str) -> AzurePartReader:
        object_names.part_object(bundle_id, part_id)
        blob = self._blob(bundle_id, part_id)
        etag, extents = self._layout(blob)
        extent = extents.get(part_id)
        if extent is None:
            raise PartMissing(f"bundle {bundle_id} has no part {part_id}")

        def fetch(offset: int, length: int) -> bytes:
            nonlocal etag
            for _ in range(ROUNDS):
                got = _fetch(blob, etag, extent.offset + offset, length)
                if got is not None:
                    return got
                etag, now = self._layout(blob)
                if now.get(part_id) != extent:
                    raise PartMissing(f"part {part_id} was destroyed while it was being read")
            raise StoreUnavailable(f"bundle {bundle_id} keeps being changed by other processes")

        return AzurePartReader(fetch, extent.size, self._threads)

    def _layout(self, blob: BundleBlob) -> tuple[str, dict[str, Extent]]:
        with self._lock:
            kept = self._layouts.get(blob.name)
        with named_errors("a part cannot be found"):
            if kept is not None and blob.is_still(kept[0]):
                return kept
            lists, etag = blob.lists()
        layout = etag, lists.extents()
        with self._lock:
            self._layouts[blob.name] = layout
            self._layouts.move_to_end(blob.name)
            while len(self._layouts) > 1 and self._too_many_layouts():
                self._layouts.popitem(last=False)
        return layout

    def _too_many_layouts(self) -> bool:
        parts = sum(len(extents) for _, extents in self._layouts.values())
        return len(self._layouts) > LAYOUTS or parts > LAYOUT_PARTS

    def list_bundles(self) -> Iterator[str]:
        with named_errors("the store cannot be listed"):
            last = None
            for name in find_names(self._container):  # a bundle's blob, then the one of its index
                bundle_id = object_names.id_in(name, object_names.INDEX_BLOB) or name
                if bundle_id != last and object_names.is_id(bundle_id):
                    last = bundle_id
                    yield bundle_id

    def list_parts(self, bundle_id: str) -> list[str]:
        blob = self._blob(bundle_id)
        with named_errors("a bundle cannot be listed"):
            return blob.lists()[0].parts()

    def destroy(self, bundle_id: str) -> int:
        with named_errors("a bundle cannot be destroyed"):
            return sum(blob.destroy() for blob in self._both(bundle_id))

    def destroy_part(self, bundle_id: str, part_id: str) -> None:
        object_names.part_object(bundle_id, part_id)
        blob = self._blob(bundle_id)
        with named_errors("a part cannot be destroyed"):
            writers = [writer for part, writer in blob.lists()[0].living() if part == part_id]
            if writers:
                blob.forget(part_id, writers)

    def remains(self, bundle_id: str) -> list[str]:
        with named_errors("the store cannot be searched"):
            return [name for blob in self._both(bundle_id) for name in blob.remains()]

    def discard_abandoned(self) -> int:
        return 0

    def free_space(self) -> int | None:
        return None

    def check(self) -> None:
        self._account.check()


def _fetch(blob: BundleBlob, etag: str, offset: int, length: int) -> bytes | None:
    """Fetch a range; None when the blob is gone, or no longer has this ETag."""
    with named_errors("a part cannot be read"):
        try:
            return blob.client.download_blob(
                offset, length, etag=etag, match_condition=MatchConditions.IfNotModified, max_concurrency=1
            ).readall()
        except HttpResponseError as error:
            if not (is_absent(error) or is_conflict(error)):
                raise
    return None
