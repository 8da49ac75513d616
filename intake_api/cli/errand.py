"""What is to be sent, and how: the same for every way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from intake_api.cli.client import Client
from intake_api.cli.pace import Pace
from intake_api.cli.parcels import Parcel, digest
from intake_api.cli.printing import size_of
from intake_api.cli.remembered import Remembered


@dataclass(frozen=True, slots=True)
class Errand:
    """`same` is what makes it the same upload when it is sent again: of the metadata what has no times in it."""

    client: Client
    what: Parcel
    metadata: Mapping[str, str]
    same: Mapping[str, str]
    place: Remembered
    pace: Pace
    connections: int | None
    saved: bool
    with_digest: bool

    def sha256(self) -> str | None:
        """The file's, to be announced; reads the file unless it is known, or not wanted."""
        return self.what.sha256 or (digest(self.what.path) if self.with_digest else None)

    def announced(self, sha256: str | None) -> dict[str, str]:
        """The metadata as it is sent."""
        return {**self.metadata, **({"sha256": sha256} if sha256 else {})}


def share(kept: int, size: int) -> str:
    """How much of it the service has, in words."""
    return "all of it" if kept == size else f"{size_of(kept)} of {size_of(size)}"
