"""What somebody could do to a bundle's files; each returns what the reader has to say of it."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

from tests.outsider.files import Files, sealed_parts


def flip(path: Path, at: int) -> None:
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def in_the_first_segment(files: Files) -> str:
    flip(sealed_parts(files)[-1], 5_000)
    return "segment 0 does not open"


def in_the_last_tag(files: Files) -> str:
    flip(sealed_parts(files)[-1], -1)
    return "not the part that was received"


def in_the_header(files: Files) -> str:
    flip(sealed_parts(files)[3], 8)
    return "not the part that was received"


def two_parts_swapped(files: Files) -> str:
    """Of one length: only digest and associated data tell them apart."""
    one, other = sealed_parts(files)[2], sealed_parts(files)[3]
    sizes = {one.stat().st_size, other.stat().st_size}
    content = one.read_bytes(), other.read_bytes()
    one.write_bytes(content[1])
    other.write_bytes(content[0])
    return "wrong for" if len(sizes) > 1 else "not the part that was received"


def a_part_gone(files: Files) -> str:
    sealed_parts(files)[7].unlink()
    return "prt_[a-z2-7]{26} is missing"


def a_part_cut_by_its_last_segment(files: Files) -> str:
    part = sealed_parts(files)[-1]
    part.write_bytes(part.read_bytes()[: 1 << 20])
    return "wrong for"


def a_part_more(files: Files) -> str:
    part = sealed_parts(files)[0]
    shutil.copy(part, part.with_name(f"prt_{'a' * 26}.sealed"))
    return "what its manifest does not name"


def the_manifest_cut(files: Files) -> str:
    (manifest,) = (files.state / "objects" / files.bundle).glob("mft_*")
    content = manifest.read_bytes()
    manifest.write_bytes(content[:-39] + content[-38:])
    return "manifest: truncated"


def a_byte_of_the_manifest(files: Files) -> str:
    (manifest,) = (files.state / "objects" / files.bundle).glob("mft_*")
    flip(manifest, 100)
    return "manifest, segment 0 does not open"


def a_byte_of_the_data_key(files: Files) -> str:
    path = files.state / "data-keys" / f"{files.bundle}.key"
    wrapped = json.loads(path.read_text())
    content = bytearray(base64.b64decode(wrapped["wrapped"]))
    content[20] ^= 1
    path.write_text(json.dumps({**wrapped, "wrapped": base64.b64encode(content).decode()}))
    return "data key of .* does not open"


SABOTAGE = (
    *(in_the_first_segment, in_the_last_tag, in_the_header, two_parts_swapped, a_part_gone),
    *(
        a_part_cut_by_its_last_segment,
        a_part_more,
        the_manifest_cut,
        a_byte_of_the_manifest,
        a_byte_of_the_data_key,
    ),
)
