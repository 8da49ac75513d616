"""bzip2 and xz, of one file and of a tar: as their own tools make them, joined, nested, cut, and claiming too much."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace

import pytest

from retention.archive import ArchiveDamaged, ArchiveTooLarge, Memory, open_file
from retention.archive.source import Source
from tests.retention.archive.making import SMALL, content, listing, tar_of, zip_of

_TEXT = b"".join(b"line %d of a log\n" % n for n in range(20_000))
_PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
}


@pytest.mark.parametrize("kind", _PACK)
@pytest.mark.parametrize("pad", [0, 512])
def test_one_file_even_joined_and_padded_reads_whole_and_is_called_after_its_archive(
    kind: str, pad: int
) -> None:
    pack = _PACK[kind]
    data = zip_of({f"logs/agent.log.{kind}": pack(_TEXT) + pack(b"more") + bytes(pad)})
    assert content(data, f"logs/agent.log.{kind}!/agent.log") == _TEXT + b"more"
    (file,) = listing(data, inside=f"logs/agent.log.{kind}")
    assert file.key == f"logs/agent.log.{kind}!/agent.log"


@pytest.mark.parametrize("outer", _PACK)
@pytest.mark.parametrize("inner", _PACK)
def test_packed_tars_in_packed_tars_are_read(outer: str, inner: str) -> None:
    deep = _PACK[inner](tar_of({"deep.log": _TEXT, "after": b"x"}))
    data = _PACK[outer](tar_of({f"in.tar.{inner}": deep, "z": b"z"}))
    assert content(data, f"in.tar.{inner}!/deep.log") == _TEXT
    assert [file.key for file in listing(data)] == [f"in.tar.{inner}", "z"]


@pytest.mark.parametrize("kind", ["bz2", "xz", "lzma"])
def test_a_file_cut_short_or_changed_is_an_error(kind: str) -> None:
    packed = _PACK[kind](_TEXT)
    with pytest.raises(ArchiveDamaged, match="ends before its content does"):
        content(packed[:-40], "bundle")
    changed = bytearray(packed)
    changed[len(packed) // 2] ^= 0xFF
    with pytest.raises(ArchiveDamaged):
        content(bytes(changed), "bundle")


@pytest.mark.parametrize("kind", ["bzip2", "xz", "lzma"])
def test_what_the_tools_of_that_name_make_is_read(kind: str) -> None:
    tool = shutil.which(kind)
    assert tool is not None, f"{kind} is not installed"
    packed = subprocess.run([tool, "-9", "-c"], input=_TEXT, stdout=subprocess.PIPE, check=True).stdout
    assert content(packed, "bundle") == _TEXT


def test_an_xz_that_claims_a_large_dictionary_is_refused_before_it_is_decoded() -> None:
    filters = [{"id": lzma.FILTER_DELTA}, {"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 << 20}]
    packed = lzma.compress(b"small", filters=filters)
    limits = replace(SMALL, max_dictionary=8 << 20)
    with pytest.raises(ArchiveTooLarge, match="dictionary of 67108864 bytes"):
        content(packed, "bundle", limits)


def test_a_later_block_of_an_xz_may_not_need_more_than_the_first_says() -> None:
    small = lzma.compress(b"a" * 10, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 4096}])
    large = lzma.compress(b"b", filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 << 20}])
    assert content(small + large, "bundle") == b"a" * 10 + b"b", "joined ones are bounded each by itself"
    with pytest.raises(ArchiveTooLarge):
        content(small + large, "bundle", replace(SMALL, max_dictionary=8 << 20))


def test_memory_of_a_decoder_is_leased_while_it_reads() -> None:
    packed = lzma.compress(_TEXT, preset=1)
    memory = Memory(8 << 20)
    chunks = open_file(_source(packed), "bundle", "bundle", SMALL, memory=memory).chunks
    next(chunks)
    assert 1 << 20 < memory.held <= 3 << 20


def test_a_file_whose_decoder_takes_half_the_memory_is_read_whole_and_by_parts() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 4 << 20}]
    memory = Memory(6 << 20)
    single = lzma.compress(_TEXT, filters=filters)
    opened = open_file(_source(single), "bundle", "bundle", SMALL, memory=memory)
    assert memory.held == 0, "opening decodes nothing"
    assert b"".join(opened.part(5, 10)) == _TEXT[5:15]
    del opened
    assert b"".join(open_file(_source(single), "bundle", "bundle", SMALL, memory=memory).chunks) == _TEXT


def test_a_file_of_a_zip_that_was_opened_and_not_read_holds_no_memory() -> None:
    memory = Memory(6 << 20)
    data = zip_of({"a": _TEXT, "b": _TEXT}, zipfile.ZIP_BZIP2)
    one, two = (open_file(_source(data), "bundle", name, SMALL, memory=memory) for name in "ab")
    assert memory.held == 0
    assert b"".join(two.chunks) == b"".join(one.chunks) == _TEXT


def test_a_lzma_that_claims_a_large_dictionary_is_refused_before_it_is_decoded() -> None:
    packed = lzma.compress(b"small", lzma.FORMAT_ALONE, preset=9)
    with pytest.raises(ArchiveTooLarge, match="dictionary of 67108864 bytes"):
        content(packed, "bundle", replace(SMALL, max_dictionary=8 << 20))


def test_what_begins_as_lzma_does_and_is_none_is_a_file_as_any_other() -> None:
    assert (
        content(zip_of({"x": b"]\0\0 is no LZMA", "y": b"]\0\0\x80\0" + b"a" * 9}), "x")
        == b"]\0\0 is no LZMA"
    )


def test_text_that_begins_as_bzip2_does_is_text() -> None:
    data = zip_of({"x.bz2": b"BZh9 is how bzip2 begins"})
    assert content(data, "x.bz2") == b"BZh9 is how bzip2 begins"


def _source(data: bytes) -> Source:
    return io.BytesIO(data)
