"""Why a token is refused: stable codes, one for each reason.

Neither the message nor the exception ever holds the token or a value taken from it: a forged header or claim must not
reach a log or an answer. `KeysUnavailable` is no refusal: nobody knows yet whether the token is good (try again later).
"""

from __future__ import annotations

from enum import StrEnum

from intake_api.identity.roles import Caller


class Refusal(StrEnum):
    MISSING = "missing"
    MALFORMED = "malformed"
    TOO_LONG = "too-long"
    ALGORITHM_REFUSED = "algorithm-refused"
    TYPE_REFUSED = "type-refused"
    HEADER_REFUSED = "header-refused"
    UNKNOWN_KEY = "unknown-key"
    BAD_SIGNATURE = "bad-signature"
    CLAIM_MISSING = "claim-missing"
    OTHER_KIND = "id-token"
    UNPROVEN_KIND = "not-access-token"
    WRONG_ISSUER = "wrong-issuer"
    WRONG_AUDIENCE = "wrong-audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    NO_ROLE = "no-role"


class InvalidToken(Exception):
    """The caller is not let in; `code` says why and never changes its meaning."""

    def __init__(self, code: Refusal, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NoRole(InvalidToken):
    """A good token of somebody who has no role of this service: `caller` is who it is."""

    def __init__(self, caller: Caller) -> None:
        super().__init__(Refusal.NO_ROLE, "the token grants no role of this service")
        self.caller = caller


class KeysUnavailable(Exception):
    """The issuer's keys cannot be had now, so the token can be neither accepted nor refused."""
