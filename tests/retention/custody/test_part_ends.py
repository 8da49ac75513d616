"""How many parts an upload comes to, by the rule of their time."""

from __future__ import annotations

from pathlib import Path

import pytest

from retention.config_azure import MAX_BLOB
from retention.custody.context import Limits
from retention.custody.uploads.part_ends import MOST_PARTS, open_seconds
from retention.custody.uploads.upload_session import PART_SEGMENTS, PART_SIZE
from retention.envelope.format import ciphertext_length

BLOCK, BLOCKS = 8 << 20, 50_000
"""Of the store's blobs: what it stages, and what one blob holds."""


def parts_in(seconds: float, base: float) -> int:
    """Parts that end by time alone in so long."""
    parts, gone = 0, 0.0
    while (gone := gone + open_seconds(base, parts)) < seconds:
        parts += 1
    return parts + 1


def test_two_gigabytes_at_twenty_kilobytes_a_second_are_1667_parts() -> None:
    assert parts_in(2e9 / 20e3, Limits().part_seconds) == 1667


def test_a_full_part_is_as_large_as_the_pages_tell_senders_that_a_kill_can_cost_them() -> None:
    docs = Path(__file__).parents[3] / "docs"
    mebibytes, rest = divmod(ciphertext_length(PART_SIZE), 1 << 20)
    assert rest == 0, "whole segments"
    intake = (docs / "intake.md").read_text()
    assert f"| 2 GB at 1.1 MB/s or more | {-(-2 * 10**9 // PART_SIZE)}, of {mebibytes} MiB |" in intake
    assert f"and never more than {mebibytes} MiB" in intake
    assert (
        f"A part of a tus or PUT upload holds at most {PART_SEGMENTS} segments"
        in (docs / "formats.md").read_text()
    )


@pytest.mark.parametrize("base", [5, 60, 3600])
def test_the_longest_upload_stays_within_the_most(base: float) -> None:
    assert parts_in(Limits().upload_longest.total_seconds(), base) <= MOST_PARTS


def test_the_longest_upload_by_the_default_is_8972_parts() -> None:
    assert parts_in(Limits().upload_longest.total_seconds(), Limits().part_seconds) == 8972


def test_a_blob_has_room_for_the_blocks_of_as_many_parts() -> None:
    by_size = MAX_BLOB // BLOCK
    assert by_size + MOST_PARTS < BLOCKS
    assert MAX_BLOB // PART_SIZE < MOST_PARTS
