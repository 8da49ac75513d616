"""The numbers of the rules, written a second time: tests elsewhere go by the names, and a changed number would agree
with itself. Whoever changes one here changes what customers were promised, and the page that says it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from retention.custody import failed_work
from retention.custody.uploads import part_ends, read_back_claim
from retention.domain import bundle, deadline, grants, trusted_time, upload_link


@pytest.mark.parametrize(
    ("said", "promised"),
    [
        (deadline.RETENTION, timedelta(days=90)),
        (grants.SHORTEST, timedelta(minutes=15)),
        (grants.LONGEST, timedelta(hours=24)),
        (grants.CLOCKS_APART, timedelta(minutes=5)),
        ((grants.MIN_REASON_CHARACTERS, grants.MAX_REASON_CHARACTERS), (8, 1000)),
        (bundle.CLOCK_SKEW, timedelta(minutes=5)),
        (bundle.MAX_FILE_NAME, 255),
        ((bundle.SEND_NOW_SHORTEST, bundle.SEND_NOW_LONGEST), (timedelta(hours=1), timedelta(hours=4))),
        (bundle.SEND_NOW_REACH, timedelta(days=7)),
        (grants.DEFAULT_DURATION, timedelta(hours=8)),
        (upload_link.LONGEST, timedelta(days=730)),
        (upload_link.START_SKEW, timedelta(minutes=15)),
        (upload_link.ASSUMED_WINDOW, timedelta(hours=4)),
        (trusted_time.SLACK, timedelta(minutes=1)),
        (trusted_time.SHORT, timedelta(hours=1)),
        (trusted_time.SETTLE, timedelta(hours=24)),
        ((failed_work.FIRST, failed_work.LONGEST), (timedelta(seconds=10), timedelta(minutes=15))),
        ((part_ends.DOUBLED_EVERY, part_ends.MOST_PARTS), (2048, 16_384)),
        (read_back_claim.LEASE, timedelta(minutes=2)),
    ],
)
def test_a_number_is_the_one_that_was_promised(said: object, promised: object) -> None:
    assert said == promised
