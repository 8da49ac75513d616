"""The last cosigned checkpoints in a folder, one file a log. Contract: `CosignedStore`.

A file is replaced at once and durably, under a lock on the folder: of two requests for the same old size, one finds
that it moved. The name is the SHA-256 of the origin, as in the monitoring path.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from audit.folders import alone_in, make_folder, replace_file


class LocalCosignedStore:
    """Makes its folder, readable by its owner only."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self._folder = folder

    def last(self, origin: str) -> str | None:
        try:
            return self._file(origin).read_text()
        except FileNotFoundError:
            return None

    def swap(self, origin: str, before: str | None, after: str) -> bool:
        with alone_in(self._folder):
            if self.last(origin) != before:
                return False
            replace_file(self._file(origin), after.encode())
        return True

    def _file(self, origin: str) -> Path:
        return self._folder / origin_hash(origin)


def origin_hash(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()
