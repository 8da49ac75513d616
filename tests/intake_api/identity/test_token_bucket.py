"""The bucket that forged key ids empty."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from intake_api.identity.issuer_keys import TokenBucket

BEGIN = datetime(2026, 11, 20, tzinfo=UTC)


@given(
    steps=st.lists(st.integers(0, 20_000_000), min_size=1, max_size=80),
    burst=st.integers(1, 6),
    refill=st.integers(1, 10_000_000),
)
def test_a_bucket_never_gives_more_than_its_burst_and_the_refills(
    steps: list[int], burst: int, refill: int
) -> None:
    bucket, now, taken = TokenBucket(burst, timedelta(microseconds=refill)), BEGIN, []
    for step in steps:
        now += timedelta(microseconds=step)
        if bucket.take(now):
            taken.append(now)
    for first, start in enumerate(taken):
        for last, end in enumerate(taken[first:], first):
            assert last - first + 1 <= burst + (end - start) // timedelta(microseconds=refill)


@given(steps=st.lists(st.integers(-20_000_000, 20_000_000), max_size=40), refill=st.integers(1, 10_000_000))
def test_whatever_the_clock_did_a_bucket_gives_again_after_one_refill(steps: list[int], refill: int) -> None:
    bucket, now, each = TokenBucket(3, timedelta(microseconds=refill)), BEGIN, timedelta(microseconds=refill)
    for step in steps:
        now += timedelta(microseconds=step)
        bucket.take(now)
    assert bucket.take(now) or bucket.take(now + each)


def test_a_drained_bucket_gives_after_one_refill_and_is_full_after_all() -> None:
    bucket, each = TokenBucket(2, timedelta(seconds=5)), timedelta(seconds=5)
    bucket.drain(BEGIN)
    assert not bucket.take(BEGIN + each - timedelta(microseconds=1))
    assert bucket.take(BEGIN + each)
    assert not bucket.take(BEGIN + each)
    assert [bucket.take(BEGIN + 4 * each) for _ in range(3)] == [True, True, False]
