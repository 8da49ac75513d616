"""Every form in which a blob can still be there: itself, staged blocks, snapshots, versions, soft-deleted ones.

The service is asked for all of them each time. What it has deleted softly nobody can take away before its time is up:
such an account is refused at the start (azure_account.py), and here it is found, so that absence is never claimed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobProperties, ContainerClient

from audit.blob_answers import is_absent

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
