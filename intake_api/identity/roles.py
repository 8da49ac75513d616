"""Who calls, and in which roles (retention/actor.py names the roles).

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
from types import MappingProxyType

from retention.actor import OURS_ALONE, Role

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
