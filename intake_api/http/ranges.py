"""Which bytes a Range header asks for (RFC 9110 section 14). Pure.

Rules:
- A header that is not a byte range at all is ignored, as section 14.2 says: the response is the whole content.
- If-Range: the ranges hold only for this very content (strong comparison, section 13.1.5); otherwise the whole.
- For empty content a range from its first byte on, or a suffix, is the whole: Content-Range cannot express it.
- Ranges that begin past the end are left out; when none is left, the request is unsatisfiable.
- More than MOST_RANGES, or more than MOST_OVERLAPS that overlap, are refused (section 14.2: such a request costs more
  than it is worth). Those that touch or overlap become one; otherwise their order is kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

MOST_RANGES = 16
MOST_OVERLAPS = 2
LONGEST_HEADER = 1024
_SPEC = re.compile(r"(?:([0-9]+)-([0-9]*)|-([0-9]+))", re.ASCII)

Span = tuple[int, int]
"""Offset and length."""


class Unsatisfiable(Exception):
    """A range that cannot be served; `reason` says why."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def wanted(header: str | None, if_range: str | None, etag: str, size: int) -> list[Span] | None:
    """Return the spans to respond with, or None for the whole. `etag` is the strong tag, with its quotes."""
    if header is None or (if_range is not None and if_range.strip() != etag):
        return None
    specs = _parse(header)
    if specs is None or (not size and all(not first for first, _ in specs)):
        return None
    if len(specs) > MOST_RANGES:
        raise Unsatisfiable(
            "too-many-ranges", f"{len(specs)} ranges were asked for, the limit is {MOST_RANGES}"
        )
    spans = [span for first, last in specs if (span := _resolve(first, last, size)) is not None]
    if not spans:
        raise Unsatisfiable("outside", f"no requested range is inside the content, which has {size} bytes")
    return _coalesced(spans)


def _parse(header: str) -> list[tuple[int | None, int | None]] | None:
    """Return (first, last), (first, None) or (None, suffix length) for each range; None if one is not a byte range."""
    unit, equals, listed = header.partition("=")
    if unit.strip().lower() != "bytes" or not equals or len(header) > LONGEST_HEADER:
        return None
    specs: list[tuple[int | None, int | None]] = []
    for text in filter(None, (part.strip(" \t") for part in listed.split(","))):
        spec = _SPEC.fullmatch(text)
        if spec is None:
            return None
        first, last, suffix = (int(digits) if digits else None for digits in spec.groups())
        if first is None:
            specs.append((None, suffix))
        elif last is not None and last < first:
            return None
        else:
            specs.append((first, last))
    return specs or None


def _resolve(first: int | None, last: int | None, size: int) -> Span | None:
    if first is None:
        length = min(last or 0, size)
        return (size - length, length) if length else None
    if first >= size:
        return None
    end = size if last is None else min(last + 1, size)
    return first, end - first


def _coalesced(spans: Sequence[Span]) -> list[Span]:
    ordered = sorted(spans)
    meetings = [(a, b) for a, b in _running(ordered) if b[0] <= a]
    if sum(b[0] < a for a, b in meetings) > MOST_OVERLAPS:
        raise Unsatisfiable("overlapping-ranges", "the requested ranges overlap: ask for separate ones")
    if not meetings:
        return list(spans)
    merged: list[Span] = [ordered[0]]
    for start, length in ordered[1:]:
        begun, reach = merged[-1][0], sum(merged[-1])
        if start <= reach:
            merged[-1] = (begun, max(reach, start + length) - begun)
        else:
            merged.append((start, length))
    return merged


def _running(ordered: Sequence[Span]) -> list[tuple[int, Span]]:
    """Pair each span but the first with how far the spans before it reach."""
    reach, found = 0, []
    for before, span in pairwise(ordered):
        reach = max(reach, sum(before))
        found.append((reach, span))
    return found


def content_range(span: Span, size: int) -> str:
    """Return the Content-Range header for a span."""
    offset, length = span
    return f"bytes {offset}-{offset + length - 1}/{size}"
