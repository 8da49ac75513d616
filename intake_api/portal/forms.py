"""What a person typed, read by the API's own schemas, so that both doors take the same and refuse the same.

A field left empty is one that was not given. A moment from a browser's own field has no zone: the page says UTC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import marshmallow as ma

from intake_api.api.routes.blueprint import invalid

_LOCAL = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}", re.ASCII)


def read(schema: type[ma.Schema], given: Mapping[str, str], **more: object) -> dict[str, Any]:
    """Return what the schema reads from the fields that were filled in, and `more`. Invalid."""
    filled = {name: _moment(value) for name, value in given.items() if value.strip()}
    try:
        found: dict[str, Any] = schema().load({**filled, **more}, unknown=ma.RAISE)
    except ma.ValidationError as error:
        raise invalid(error.messages) from None
    return found


def day(text: str) -> str:
    """Return the first moment of the day that a browser's field holds, in UTC; empty where it is empty."""
    return f"{text}T00:00:00Z" if text else ""


def whole(text: str) -> int | str:
    """Return the number that was typed, or the text for the schema to refuse."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else text


def _moment(value: str) -> str:
    return f"{value}:00Z" if _LOCAL.fullmatch(value) else value
