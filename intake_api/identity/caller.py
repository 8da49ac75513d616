"""Why a token is refused: stable codes, one for each reason.

Neither the message nor the exception ever holds the token or a value taken from it: a forged header or claim must not
reach a log or an answer. `KeysUnavailable` is no refusal: nobody knows yet whether the token is good (try again later).

Who calls, and in which roles (retention/domain/actor.py names the roles).

- A role is what the issuer says the caller may do; what it means is decided by custody, not here.
- A claim value that names no known role counts for nothing; a caller without any known role is refused.
- The service's own roles (the clock's, an upload link's) are nobody's to claim: no token can carry them.
- A `Caller` is made only from a token that was verified (tokens.py).
- The subject is an opaque id and may be logged; the name is a particular and never shows in a repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from retention.domain.actor import OURS_ALONE, Role

ROLE_OF_CLAIM_VALUE: Mapping[str, Role] = MappingProxyType(
    {role.value: role for role in Role if role not in OURS_ALONE}
)
"""What the roles claim may say, unless the deployment maps its own values."""


@dataclass(frozen=True, slots=True)
class Caller:
    issuer: str
    subject: str
    roles: frozenset[Role]
    expires: datetime
    directory: str | None = None  # the customer's directory: the `tid` claim
    partner: str | None = None
    token_id: str | None = None  # the `jti` claim
    name: str | None = field(default=None, repr=False)


class TokenRefusal(StrEnum):
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

    def __init__(self, code: TokenRefusal, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NoRole(InvalidToken):
    """A good token of somebody who has no role of this service: `caller` is who it is."""

    def __init__(self, caller: Caller) -> None:
        super().__init__(TokenRefusal.NO_ROLE, "the token grants no role of this service")
        self.caller = caller


class KeysUnavailable(Exception):
    """The issuer's keys cannot be had now, so the token can be neither accepted nor refused."""
