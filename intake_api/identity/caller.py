"""The caller, their roles, and why a token is refused: stable codes, one for each reason.

- The issuer says which roles a caller has (retention/domain/actor.py names them); custody decides what they mean.
- A claim value that names no known role is ignored; a caller without any known role is refused.
- No token can carry the service's own roles (the clock's, an upload link's).
- A `Caller` is made only from a verified token (tokens.py).
- The subject is an opaque id and can be logged; the name is a particular and never shows in a repr.
- No message or exception ever holds the token or a value from it: a forged header or claim must not reach a log or a
  response. `KeysUnavailable` is not a refusal: it is unknown yet whether the token is good (try again later).
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
"""The values of the roles claim, unless the deployment maps its own."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A person or machine with a verified token."""

    issuer: str
    subject: str
    roles: frozenset[Role]
    expires: datetime
    directory: str | None = None  # the customer's directory: the `tid` claim
    partner: str | None = None
    token_id: str | None = None  # the `jti` claim
    name: str | None = field(default=None, repr=False)


class TokenRefusal(StrEnum):
    """The reason why a token is refused."""

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
    """A refused token; `code` says why, and its meaning never changes."""

    def __init__(self, code: TokenRefusal, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NoRole(InvalidToken):
    """A good token of a `caller` who has no role in this service."""

    def __init__(self, caller: Caller) -> None:
        super().__init__(TokenRefusal.NO_ROLE, "the token grants no role of this service")
        self.caller = caller


class KeysUnavailable(Exception):
    """The issuer's keys are unavailable now, so the token can be neither accepted nor refused."""
