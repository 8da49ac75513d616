"""Times as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake_api.cli.options import parse_moment

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ZONES = st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours)))


@given(
    st.builds(
        lambda seconds, zone: (NOW + timedelta(seconds=seconds)).astimezone(zone),
        st.integers(-(10**9), 10**9),
        ZONES,
    )
)
def test_a_time_with_its_zone_is_that_moment(at: datetime) -> None:
    parsed = parse_moment(at.isoformat(), NOW)
    assert parsed == at and parsed.tzinfo is UTC


@given(st.integers(0, 9999), st.sampled_from([("s", 1), ("m", 60), ("h", 3600), ("d", 86400), ("w", 604800)]))
def test_so_long_ago_and_ahead_are_counted_from_now(count: int, unit: tuple[str, int]) -> None:
    letter, seconds = unit
    assert parse_moment(f"-{count}{letter}", NOW) == NOW - timedelta(seconds=count * seconds)
    assert parse_moment(f"+{count}{letter}", NOW) == NOW + timedelta(seconds=count * seconds)
    assert parse_moment("now", NOW) == NOW


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4h",
        "-4",
        "-h",
        "-4y",
        "yesterday",
        "2026-11-20T14:00",
        "2026-11-20",
        "2026-13-01T00:00Z",
        "-999999w",
    ],
)
def test_what_could_be_another_moment_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="with its zone"):
        parse_moment(text, NOW)
