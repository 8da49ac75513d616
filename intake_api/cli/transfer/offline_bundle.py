"""A saved bundle: what a stamp without a connection puts on a disk, to be sent from another machine.

Two files that stay together, both of mode 0600:
- the bundle, byte for byte as it will be sent: a folder's deterministic zip, or the file itself;
- `<bundle>.collection.json`: the collection as it was declared (the keys of Upload-Metadata), size and SHA-256.
The second is written last, when the first is durable: without it the bundle was not saved completely. It is not signed:
it finds damage on the way, and anybody allowed to send could declare anything anyway.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from intake_api.cli.cli_errors import CliError
from intake_api.cli.output_file import Output
from intake_api.cli.transfer.source import READ_AT_ONCE, UploadSource, digest

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


def save(
    what: UploadSource,
    target: Path,
    collection: Mapping[str, str],
    progress: Callable[[int], None],
    *,
    force: bool = False,
) -> Saved:
    """Write both files, each complete or not at all; nothing is overwritten without `force`."""
    bundle = Output.at(target, force=force)
    if bundle.streams:
        raise CliError(
            f"{target} is not a regular file: a saved bundle is two files side by side; name a file with -o"
        )
    if target.exists() and what.path.samefile(target):
        raise CliError(f"{target} is the file to be saved: name another file with -o")
    second = target.with_name(target.name + ENDING)
    manifest = Output.at(second, force=force)
    hashing = hashlib.sha256()
    size = 0
    with bundle.writing() as out, what.path.open("rb") as source:
        while piece := source.read(READ_AT_ONCE):
            hashing.update(piece)
            size += len(piece)
            progress(size)
            out.write(piece)
        if force:  # the older one describes the older bundle
            second.unlink(missing_ok=True)
    made = Saved(target, size, hashing.hexdigest(), dict(collection))
    told = {"format": FORMAT, "size": size, "sha256": made.sha256, "collection": made.collection}
    text = json.dumps(told, ensure_ascii=False, indent=2) + "\n"
    try:
        with manifest.writing() as out:
            out.write(text.encode())
    except BaseException:
        bundle.real.unlink()
        raise
    return made


def find_saved(source: Path) -> Saved | None:
    """Find the saved bundle that `source` (either of its files) belongs to; None for any other file or folder."""
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
        raise CliError(
            f"{manifest} does not describe a saved bundle: it must be as `casevault save` wrote it"
        )
    return found


def proven(saved: Saved) -> UploadSource:
    """Check that the bundle is as it was saved; CliError when it is missing or differs."""
    if not saved.bundle.is_file():
        raise CliError(f"{saved.bundle} is missing: only its description is here; bring the bundle too")
    if saved.bundle.stat().st_size != saved.size or digest(saved.bundle) != saved.sha256:
        raise CliError(f"{saved.bundle} differs from what was saved: it changed on the way; copy it again")
    return UploadSource(saved.bundle, saved.collection["filename"], saved.sha256, saved.sha256)
