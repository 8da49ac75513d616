"""Plaintext lengths and offsets that matter: around nothing and around every segment boundary, and some between."""

from __future__ import annotations

from hypothesis import strategies as st

from retention.envelope.format import segment_start


def lengths(segments: int) -> st.SearchStrategy[int]:
    """Up to about `segments` segments."""
    boundaries = st.builds(
        lambda number, near: max(segment_start(number) + near, 0),
        st.integers(0, segments),
        st.sampled_from([-17, -16, -1, 0, 1, 16, 17]),
    )
    return boundaries | st.integers(0, segment_start(segments))
