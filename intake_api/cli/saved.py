"""A saved bundle: what a stamp without a connection puts on a disk, to be sent from another machine.

Two files that stay together, both of mode 0600:
- the bundle, byte for byte as it will be sent: a folder's deterministic zip, or the file itself;
- `<bundle>.collection.json`: the collection as it was declared (the keys of Upload-Metadata), size and SHA-256.
The second is written last, when the first is durable: without it a bundle was not saved whole. It is not signed; it
finds damage on the way, and whoever may send could declare anything anyhow.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from intake_api.cli.errors import CliError
from intake_api.cli.parcels import READ_AT_ONCE, Parcel, digest

FORMAT = "casevault-saved-bundle-v1"
ENDING = ".collection.json"


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved bundle, as its second file describes it."""

    bundle: Path
    size: int
    sha256: str
    collection: Mapping[str, str]

    @property
    def manifest(self) -> Path:
        """The second file."""
        return self.bundle.with_name(self.bundle.name + ENDING)


def save(what: Parcel, target: Path, collection: Mapping[str, str], progress: Callable[[int], None]) -> Saved:
    """Write both files; nothing is overwritten, and what is there is whole."""
    hashing = hashlib.sha256()
    size = 0

    def copied() -> Iterator[bytes]:
        nonlocal size
        with what.path.open("rb") as source:
            while piece := source.read(READ_AT_ONCE):
                hashing.update(piece)
                size += len(piece)
                progress(size)
                yield piece

    for path in (target, target.with_name(target.name + ENDING)):
        if path.exists():
            raise CliError(f"{path} is there already: name another file with -o")
    _write(target, copied())
    made = Saved(target, size, hashing.hexdigest(), dict(collection))
    told = {"format": FORMAT, "size": size, "sha256": made.sha256, "collection": made.collection}
    text = json.dumps(told, ensure_ascii=False, indent=2) + "\n"
    try:
        _write(made.manifest, [text.encode()])
    except BaseException:
        target.unlink()
        raise
    return made


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    fresh = path.with_name(path.name + ".part")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            for piece in pieces:
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
    except BaseException:
        with suppress(OSError):
            fresh.unlink()
        raise


def find_saved(source: Path) -> Saved | None:
    """The saved bundle that `source` (either of its files) is of; None for any other file or folder."""
    bundle = source.with_name(source.name.removesuffix(ENDING))
    manifest = bundle.with_name(bundle.name + ENDING)
    if not manifest.is_file():
        return None
    try:
        told = json.loads(manifest.read_text("utf-8"))
        collection = {str(key): str(value) for key, value in told["collection"].items()}
        found = Saved(bundle, int(told["size"]), str(told["sha256"]), collection)
        known = told["format"] == FORMAT and "filename" in collection
    except (ValueError, LookupError, TypeError, AttributeError):
        known = False
    if not known:
        raise CliError(f"{manifest} does not describe a saved bundle: `casevault save` writes it")
    return found


def proven(saved: Saved) -> Parcel:
    """The bundle as it was saved; CliError when it is not there, or is another."""
    if not saved.bundle.is_file():
        raise CliError(f"{saved.bundle} is missing: its description is here, the bundle is not")
    if saved.bundle.stat().st_size != saved.size or digest(saved.bundle) != saved.sha256:
        raise CliError(f"{saved.bundle} is not what was saved: it changed on the way; bring it again")
    return Parcel(saved.bundle, saved.collection["filename"], saved.sha256, saved.sha256)
