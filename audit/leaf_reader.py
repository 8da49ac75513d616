"""Leaves parsed by the shapes of leaves parsed before: what `parse_leaf` returns, at a fraction of its cost.

- A shape is the order of a leaf's names with the kinds of its details. What the strict parser has accepted gives one,
  as a pattern in which every name, bracket and comma is literal and only values vary.
- Bytes that are plain (printable ASCII without a backslash) and match a shape are canonical: a string without a quote
  needs no escape, a number is one that RFC 8785 writes so, and the names are those that were accepted, in their order.
- Everything else goes to the strict parser, so a reader accepts and refuses exactly what `parse_leaf` does.
- A log cannot make a reader grow: the number of shapes is bounded, and later ones are parsed strictly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audit.entry import LEAF_VERSION, canonical, parse_leaf

MOST_SHAPES = 512
_NOT_PLAIN = bytes([*range(0x20), ord("\\"), *range(0x7F, 0x100)])
_BEFORE_ACTION = len('{"action":"')
# Fewer digits than 2**53 has: longer numbers are for the strict parser.
_INTEGER = "(?:0|-?[1-9][0-9]{0,14})"
# Surrogates have no UTF-8, so no canonical form.
_PLAIN_STRING, _UNESCAPED_STRING = '"[^"]*"', r'"[^"\\\x00-\x1f\ud800-\udfff]*"'
_PLAIN_LIST = rf"\[(?:{_PLAIN_STRING}(?:,{_PLAIN_STRING})*)?\]"
_VERSION, _DETAILS = "v", "details"


def are_plain(leaves: Sequence[bytes]) -> bool:
    """Tell whether every leaf is bytes of printable ASCII, without a backslash."""
    try:
        joined = b"".join(leaves)
    except TypeError:  # SQLite allows text where bytes belong
        return False
    return len(joined.translate(None, _NOT_PLAIN)) == len(joined)


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """The form of some leaves: a pattern with one group for each of `names`, `details` being its JSON."""

    pattern: re.Pattern[str]
    names: tuple[str, ...]

    def fields(self, values: Sequence[str]) -> dict[str, Any]:
        """Make the fields of a leaf from its groups."""
        found: dict[str, Any] = dict(zip(self.names, values, strict=True))
        if _DETAILS in found:
            found[_DETAILS] = json.loads(found[_DETAILS])
        found[_VERSION] = LEAF_VERSION
        return found


class LeafReader:
    """A parser of many leaves, and of the particulars beside them."""

    def __init__(self) -> None:
        self._shapes: dict[str, list[Shape]] = {}  # by the leaf's action
        self._particulars: dict[str, list[re.Pattern[str]]] = {}  # by what they begin with
        self._room = MOST_SHAPES

    def parse(self, leaf: bytes) -> dict[str, Any]:
        """Parse a leaf into its fields; CanonicalError for what is not exactly what `Entry.leaf` writes."""
        found = self.known(leaf) if are_plain((leaf,)) else None
        return self.learn(leaf) if found is None else found[0].fields(found[1])

    def parse_all(self, leaves: Sequence[bytes]) -> Iterator[dict[str, Any]]:
        """Parse leaves one after the other, as `parse` does."""
        plain = are_plain(leaves)
        for leaf in leaves:
            found = self.known(leaf) if plain else None
            yield self.learn(leaf) if found is None else found[0].fields(found[1])

    def parse_flat(self, leaf: bytes) -> dict[str, str | None]:
        """Parse a leaf as `parse` does, with its details as canonical JSON, and without its version."""
        found = self.known(leaf) if are_plain((leaf,)) else None
        if found is not None:
            return dict(zip(found[0].names, found[1], strict=True))
        fields = self.learn(leaf)
        del fields[_VERSION]
        return {**fields, _DETAILS: canonical(fields[_DETAILS]).decode()} if _DETAILS in fields else fields

    def texts(self, leaves: Sequence[bytes]) -> Iterator[str]:
        """Yield leaves as text, each being canonical JSON; CanonicalError at the first that is not."""
        plain = are_plain(leaves)
        for leaf in leaves:
            if not (plain and self._fits(text := leaf.decode("ascii"))):
                self.learn(leaf)
                text = leaf.decode()
            yield text

    def known(self, leaf: bytes) -> tuple[Shape, tuple[str, ...]] | None:
        """Return the shape and the groups of a plain leaf; None when its shape is not known."""
        text = leaf.decode("ascii")
        return self.match(text, text[_BEFORE_ACTION : text.find('"', _BEFORE_ACTION)])

    def match(self, text: str, action: str) -> tuple[Shape, tuple[str, ...]] | None:
        """Return the shape and the groups of a plain leaf that should have this action; None when none is known."""
        for shape in self._shapes.get(action, ()):
            found = shape.pattern.fullmatch(text)
            if found is not None:
                return shape, found.groups()
        return None

    def _fits(self, text: str) -> bool:
        for shape in self._shapes.get(text[_BEFORE_ACTION : text.find('"', _BEFORE_ACTION)], ()):
            if shape.pattern.fullmatch(text):
                return True
        return False

    def learn(self, leaf: bytes) -> dict[str, Any]:
        """Parse a leaf strictly, and learn its shape."""
        fields = parse_leaf(leaf)
        if self._room and are_plain((leaf,)):
            shape = _shape_of(fields)
            if shape is not None and shape.pattern.fullmatch(leaf.decode("ascii")):
                self._room -= 1
                self._shapes.setdefault(fields["action"], []).append(shape)
        return fields

    def are_canonical(self, particulars: str) -> bool:
        """Tell whether the stored particulars of an entry are canonical JSON."""
        first = particulars[: particulars.find(":")]
        for pattern in self._particulars.get(first, ()):
            if pattern.fullmatch(particulars):
                return True
        try:
            fields = json.loads(particulars)
            if canonical(fields) != particulars.encode():
                return False
        except (TypeError, ValueError, RecursionError):
            return False
        if self._room and "\\" not in particulars and _is_flat(fields):
            self._room -= 1
            members = ",".join(f'"{re.escape(name)}":{_UNESCAPED_STRING}' for name in fields)
            self._particulars.setdefault(first, []).append(re.compile(f"\\{{{members}\\}}"))
        return True


def _is_flat(fields: object) -> bool:
    return isinstance(fields, dict) and all(isinstance(value, str) for value in fields.values())


def _shape_of(fields: Mapping[str, Any]) -> Shape | None:
    """Make the shape of a plain leaf with these fields, in their order; None when its details have no simple one."""
    members = []
    for name, value in fields.items():
        if name == _VERSION:
            members.append(f'"{_VERSION}":{LEAF_VERSION}')
        elif name == _DETAILS:
            kinds = [(each, _value_pattern(of)) for each, of in value.items()]
            if any(kind is None for _, kind in kinds):
                return None
            inner = ",".join(f'"{re.escape(each)}":{kind}' for each, kind in kinds)
            members.append(f'"{_DETAILS}":(\\{{{inner}\\}})')
        else:
            members.append(f'"{name}":"([^"]*)"')
    pattern = re.compile(f"\\{{{','.join(members)}\\}}")
    return Shape(pattern, tuple(name for name in fields if name != _VERSION))


def _value_pattern(value: object) -> str | None:
    if isinstance(value, str):
        return _PLAIN_STRING
    if isinstance(value, int):
        return _INTEGER
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return _PLAIN_LIST
    return None
