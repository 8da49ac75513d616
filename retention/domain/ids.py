"""Opaque ids: three letters for the kind, an underscore, 130 random bits in base32.

An id reveals nothing, so audit leaves can hold it for ever.
Names given by others (an issuer's subjects and directories, companies) are stored and compared in one spelling.
A confirmation number is for people on the telephone: sixteen digits, the last a Luhn check digit.
"""

from __future__ import annotations

import secrets
import unicodedata
from enum import StrEnum

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]  # ten bits each


class Kind(StrEnum):
    """The kind of thing that an id names; the value is the id's prefix."""

    ACTOR = "act"
    APPROVAL = "apr"
    BUNDLE = "bun"
    CASE = "cas"
    CONSENT = "con"
    ENTRY = "ent"
    ERASURE = "ers"
    GRANT = "grn"
    INDEX = "idx"
    MANIFEST = "mft"
    NOTICE = "ntc"
    PART = "prt"
    PARTNER = "ptr"
    RECEIVER = "rcv"
    SESSION = "ses"
    STAMP = "stp"
    TENANT = "ten"
    UPLOAD_LINK = "lnk"


def new_id(kind: Kind) -> str:
    """Make a new id, e.g. `bun_` and 26 characters of a-z and 2-7."""
    number = secrets.randbits(130)
    return f"{kind.value}_{''.join([_PAIRS[number >> shift & 1023] for shift in range(0, 130, 10)])}"


def one_spelling(name: str) -> str:
    """Return the name in Unicode's form C, so that names that look the same compare equal."""
    return unicodedata.normalize("NFC", name)


def _luhn(digits: str) -> int:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return -total % 10


def new_confirmation() -> str:
    """Make a confirmation number, e.g. `4821-7739-0156-3304`."""
    digits = "".join(str(secrets.randbelow(10)) for _ in range(15))
    digits += str(_luhn(digits))
    return "-".join(digits[i : i + 4] for i in range(0, 16, 4))


def read_confirmation(text: str) -> str | None:
    """Return the number in its written form, or None if a digit was misheard or is missing."""
    digits = "".join(c for c in text if c not in "- ")
    if (
        len(digits) != 16
        or not digits.isascii()
        or not digits.isdigit()
        or _luhn(digits[:-1]) != int(digits[-1])
    ):
        return None
    return "-".join(digits[i : i + 4] for i in range(0, 16, 4))
