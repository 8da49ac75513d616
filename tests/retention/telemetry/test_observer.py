"""The trace that a caller brings (W3C Trace Context, section 3.2.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.telemetry.observer import NOTHING, trace_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "header", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-more"]
)
def test_a_well_formed_header_names_the_trace(header: str) -> None:
    assert trace_of(header) == TRACE
    assert NOTHING.request(header).trace_id == TRACE


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_any_other_names_none(header: str | None) -> None:
    assert trace_of(header) is None


@given(st.text())
def test_whatever_comes_a_trace_id_is_hexadecimal_or_nothing(header: str) -> None:
    assert trace_of(header) is None
