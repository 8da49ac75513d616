"""Ids of the right shape, numbered."""

from __future__ import annotations

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def an_id(prefix: str, number: int) -> str:
    digits = ""
    for _ in range(26):
        number, digit = divmod(number, 32)
        digits = _ALPHABET[digit] + digits
    return f"{prefix}_{digits}"


def bundle(number: int) -> str:
    return an_id("bdl", number)


def part(number: int) -> str:
    return an_id("prt", number)
