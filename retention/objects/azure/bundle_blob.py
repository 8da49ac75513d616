"""One bundle's blob, and the few calls of the service that act on it as a whole. Names of blocks: azure_blocks.py.

Staged blocks that no committed list names cannot be taken away singly; committing a list takes all of them away, and no
condition can say "unless another part was finished meanwhile". So, while parts may come, nothing is taken away:
    forget        begun, not complete:  mark the writer dead; its blocks go with `complete` or `destroy`
                  complete:             commit the same list again, if it is still the same
                  destroyed (no begin block is left, and no part may come):
                                        commit the empty list, if still nothing is committed -> delete that empty blob
    destroy       staged blocks: commit the empty list (*) -> delete the blob with its snapshots -> earlier versions
Conditions on the blob's ETag make a commit by another process in between an error here, after which the lists are read
again. The service itself discards staged blocks a week after the last one was staged.

Every form in which a blob can still be there: itself, staged blocks, snapshots, versions, soft-deleted ones.

The service is asked for all of them each time. What it has deleted softly nobody can take away before its time is up:
such an account is refused at the start (azure_account.py), and here it is found, so that absence is never claimed.
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
    """One form of a blob. `past`: a snapshot or an earlier version, by the time that names it."""

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
    """Every form of the blob of this name."""
    listed = container.list_blobs(name_starts_with=name, include=EVERYTHING)
    return [_found(blob) for blob in listed if blob.name == name]


def find_names(container: ContainerClient, prefix: str = "") -> Iterator[str]:
    """Names of which anything is found, each once."""
    last = None
    for blob in container.list_blobs(name_starts_with=prefix or None, include=EVERYTHING[:-1]):
        if blob.name != last:
            last = blob.name
            yield blob.name


def delete_past(container: ContainerClient, found: list[Found]) -> int:
    """Delete snapshots and earlier versions, as far as the account allows. Returns how many."""
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
    """The blob of one bundle. Errors of the service leave as they are; the store names them."""

    def __init__(self, container: ContainerClient, bundle_id: str) -> None:
        self.bundle_id = bundle_id
        self._container = container
        self._name = object_names.bundle_folder(bundle_id)
        self.client: BlobClient = container.get_blob_client(self._name)

    def lists(self) -> tuple[BlockLists, str]:
        """What blocks there are, and the committed blob's ETag ("" if there is none, which may also be given)."""
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
        """Whether the committed blob is the one with this ETag."""
        try:
            return bool(etag) and self.client.get_blob_properties().etag == etag
        except HttpResponseError as error:
            if not is_absent(error):
                raise
            return False

    def commit(self, names: list[str], **condition: Any) -> str:
        """Commit this list, and so discard every staged block that it does not name. The new ETag."""
        blocks = [BlobBlock(block_id=name) for name in names]
        answer = self.client.commit_block_list(blocks, content_settings=_SEALED, **condition)
        return str(answer["etag"])

    def commit_if_there(self, names: list[str]) -> bool:
        """Commit this list; whether all its blocks were still there."""
        try:
            self.commit(names)
        except HttpResponseError as error:
            if code_of(error) != "InvalidBlockList":
                raise
            return False
        return True

    def forget(self, part_id: str, writers: list[str]) -> None:
        """These writers' staged blocks are nothing any more: marked dead, and gone where the bundle is complete, or
        was destroyed meanwhile."""
        for _ in range(ROUNDS):
            lists, etag = self.lists()
            mine = [writer for writer in writers if lists.began(part_id, writer)]
            if mine and not lists.committed:
                if not any(lists.alive(part_id, writer) for writer in mine):
                    return
                self._mark_dead(lists, part_id, mine)  # then looked at again: a destruction may come between
            elif not lists.staged or self._drop_staged(lists, etag):
                return
        raise StoreUnavailable(f"bundle {self.bundle_id} is being changed by others all the time")

    def _mark_dead(self, lists: BlockLists, part_id: str, writers: list[str]) -> None:
        for writer in writers:
            if lists.alive(part_id, writer):
                self.client.stage_block(lists.dead_mark(part_id, writer), b"x")

    def _drop_staged(self, lists: BlockLists, etag: str) -> bool:
        """Whether it was done before anything else changed the blob."""
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
        """Make the blob, or an empty one that a crash left, empty and committed; a conflict if it holds anything."""
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
        """Remove every form of the blob that can be removed. Returns how many names of `remains` that were."""
        removed = 0
        for _ in range(ROUNDS):
            found = [each for each in find_all(self._container, self._name) if not each.soft_deleted]
            if not found:
                return removed
            if any(not each.past for each in found):
                removed += self._delete_present()
            removed += delete_past(self._container, found)
        raise StoreUnavailable(f"bundle {self.bundle_id} comes back as often as it is destroyed")

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
        """Names of all that is found: parts and staged blocks of the blob itself, and its other forms."""
        found = find_all(self._container, self._name)
        names = [each.label for each in found if each.past or each.soft_deleted]
        if len(names) < len(found):
            names += self.lists()[0].names(self.bundle_id) or [self._name]
        return names
