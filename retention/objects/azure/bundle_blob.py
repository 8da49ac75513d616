"""One bundle's blob: the calls that act on it as a whole, and the finding of its every form.

Staged blocks that no committed list names cannot be removed singly; committing a list removes all of them, and no
condition can say "unless another part was finished meanwhile". So, while parts may come, nothing is removed:
    forget        begun, not complete:  mark the writer dead; its blocks go with `complete` or `destroy`
                  complete:             commit the same list again, if it is still the same
                  destroyed (no begin block is left, and no part may come):
                                        commit the empty list, if still nothing is committed -> delete that empty blob
    destroy       staged blocks: commit the empty list (*) -> delete the blob with its snapshots -> earlier versions
Conditions on the blob's ETag turn a commit by another process in between into an error here, after which the lists are
read again. The service itself discards staged blocks a week after the last one was staged.

A blob can still exist in these forms: itself, staged blocks, snapshots, versions, soft-deleted ones. The service is
asked for all of them each time. Nobody can remove a soft-deleted blob before its time is up: such an account is refused
at the start (account_check.py), and here the blob is found, so that absence is never claimed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline import PipelineResponse
from azure.storage.blob import BlobBlock, BlobClient, BlobProperties, ContainerClient, ContentSettings

from audit.azure_errors import code_of, is_absent, is_conflict
from retention.objects import object_names
from retention.objects.azure.block_names import BlockLists
from retention.objects.store_errors import StoreUnavailable

EVERYTHING = ["snapshots", "versions", "deleted", "uncommittedblobs", "metadata"]


@dataclass(frozen=True, slots=True)
class Found:
    """One form of a blob. `past`: a snapshot or an earlier version, named by its time."""

    name: str
    size: int
    metadata: dict[str, str]
    snapshot: str | None = None
    version: str | None = None
    soft_deleted: bool = False

    @property
    def past(self) -> bool:
        return self.snapshot is not None or self.version is not None

    @property
    def label(self) -> str:
        kinds = (("snapshot", self.snapshot), ("version", self.version), ("soft-deleted", self.soft_deleted))
        marks = [kind if value is True else f"{kind} {value}" for kind, value in kinds if value]
        return f"{self.name} ({', '.join(marks)})" if marks else self.name


def _found(blob: BlobProperties) -> Found:
    version = None if blob.is_current_version else blob.version_id
    metadata = blob.metadata or {}
    return Found(blob.name, blob.size or 0, metadata, blob.snapshot, version, bool(blob.deleted))


def find_all(container: ContainerClient, name: str) -> list[Found]:
    """Find every form of the blob of this name."""
    listed = container.list_blobs(name_starts_with=name, include=EVERYTHING)
    return [_found(blob) for blob in listed if blob.name == name]


def find_names(container: ContainerClient, prefix: str = "") -> Iterator[str]:
    """Yield the names of blobs found in any form, each once."""
    last = None
    for blob in container.list_blobs(name_starts_with=prefix or None, include=EVERYTHING[:-1]):
        if blob.name != last:
            last = blob.name
            yield blob.name


def delete_past(container: ContainerClient, found: list[Found]) -> int:
    """Delete snapshots and earlier versions, as far as the account allows; return how many."""
    past = [each for each in found if each.past and not each.soft_deleted]
    for each in past:
        snapshot = {"snapshot": each.snapshot} if each.snapshot else {}
        version = {"version_id": each.version} if each.version else {}
        try:
            container.get_blob_client(each.name, **snapshot, **version).delete_blob()
        except HttpResponseError as error:
            if not is_absent(error):
                raise
    return len(past)


ROUNDS = 10
_SEALED = ContentSettings(content_type="application/octet-stream")


class BundleBlob:
    """The blob of one bundle. Errors of the service pass unchanged; the store names them."""

    def __init__(self, container: ContainerClient, bundle_id: str, *, index: bool = False) -> None:
        """`index`: the blob beside it, which holds its contents index."""
        self.bundle_id = bundle_id
        self._container = container
        self.name = object_names.index_blob(bundle_id) if index else object_names.bundle_folder(bundle_id)
        self.client: BlobClient = container.get_blob_client(self.name)

    def lists(self) -> tuple[BlockLists, str]:
        """Read the lists of blocks, and the committed blob's ETag ("" if there is none, which may also be given)."""
        answered: dict[str, str] = {}

        def heard(response: PipelineResponse[Any, Any]) -> None:
            headers: Mapping[str, str] = response.http_response.headers
            answered["etag"] = headers.get("ETag", "")

        try:
            committed, staged = self.client.get_block_list("all", raw_response_hook=heard)
        except HttpResponseError as error:
            if not is_absent(error):
                raise
            return BlockLists([], []), ""
        lists = BlockLists(((b.id, b.size) for b in committed), ((b.id, b.size) for b in staged))
        return lists, answered["etag"] if committed else ""

    def is_still(self, etag: str) -> bool:
        """Tell whether the committed blob still has this ETag."""
        try:
            return bool(etag) and self.client.get_blob_properties().etag == etag
        except HttpResponseError as error:
            if not is_absent(error):
                raise
            return False

    def commit(self, names: list[str], **condition: Any) -> str:
        """Commit this list, discarding every staged block that it does not name; return the new ETag."""
        blocks = [BlobBlock(block_id=name) for name in names]
        answer = self.client.commit_block_list(blocks, content_settings=_SEALED, **condition)
        return str(answer["etag"])

    def commit_if_there(self, names: list[str]) -> bool:
        """Commit this list; return whether all its blocks still existed."""
        try:
            self.commit(names)
        except HttpResponseError as error:
            if code_of(error) != "InvalidBlockList":
                raise
            return False
        return True

    def forget(self, part_id: str, writers: list[str]) -> None:
        """Drop these writers' staged blocks: marked dead, and removed where the bundle is complete or was destroyed
        meanwhile."""
        for _ in range(ROUNDS):
            lists, etag = self.lists()
            mine = [writer for writer in writers if lists.began(part_id, writer)]
            if mine and not lists.committed:
                if not any(lists.alive(part_id, writer) for writer in mine):
                    return
                self._mark_dead(lists, part_id, mine)  # then checked again: a destruction may come between
            elif not lists.staged or self._drop_staged(lists, etag):
                return
        raise StoreUnavailable(f"bundle {self.bundle_id} keeps being changed by other processes")

    def _mark_dead(self, lists: BlockLists, part_id: str, writers: list[str]) -> None:
        for writer in writers:
            if lists.alive(part_id, writer):
                self.client.stage_block(lists.dead_mark(part_id, writer), b"x")

    def _drop_staged(self, lists: BlockLists, etag: str) -> bool:
        """Discard staged blocks; return whether that was done before anything else changed the blob."""
        try:
            if lists.committed:
                names = [block.name for block in lists.committed if block is not None]
                if len(names) == len(lists.committed):
                    self.commit(names, etag=etag, match_condition=MatchConditions.IfNotModified)
                return True
            emptied = self._commit_nothing()
            self.client.delete_blob(etag=emptied, match_condition=MatchConditions.IfNotModified)
        except HttpResponseError as error:
            if not is_conflict(error) and not is_absent(error):
                raise
            return False
        return True

    def _commit_nothing(self) -> str:
        """Commit an empty blob, new or left by a crash; a conflict if the blob holds anything."""
        try:
            return self.commit([], match_condition=MatchConditions.IfMissing)
        except HttpResponseError as error:
            if not is_conflict(error):
                raise
            found = self.client.get_blob_properties()
            if found.size:
                raise
            return self.commit([], etag=found.etag, match_condition=MatchConditions.IfNotModified)

    def destroy(self) -> int:
        """Remove every form of the blob that can be removed; return how many names of `remains` those were."""
        removed = 0
        for _ in range(ROUNDS):
            found = [each for each in find_all(self._container, self.name) if not each.soft_deleted]
            if not found:
                return removed
            if any(not each.past for each in found):
                removed += self._delete_present()
            removed += delete_past(self._container, found)
        raise StoreUnavailable(f"bundle {self.bundle_id} was written again after each try to destroy it")

    def _delete_present(self) -> int:
        lists, _ = self.lists()
        if lists.staged:
            self.commit([])
        try:
            self.client.delete_blob(delete_snapshots="include")
        except HttpResponseError as error:
            if not is_absent(error):
                raise
        return max(1, len(lists.names(self.bundle_id)))

    def remains(self) -> list[str]:
        """Name all that is found: parts and staged blocks of the blob itself, and its other forms."""
        found = find_all(self._container, self.name)
        names = [each.label for each in found if each.past or each.soft_deleted]
        if len(names) < len(found):
            names += self.lists()[0].names(self.bundle_id) or [self.name]
        return names
