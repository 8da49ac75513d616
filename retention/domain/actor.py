"""The caller, as custody sees it.

A door turns a token (or the timer) into an Actor; custody's rules look at nothing else. The id is opaque and may
stand in the audit leaves; names and addresses are particulars and stand beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """The roles of a caller; the values are the claim values that an issuer sends."""

    ADMINISTRATOR = "CaseVault.Administrator"
    OPERATOR = "CaseVault.Operator"
    STAMP = "CaseVault.Stamp"
    CASE_SYSTEM = "CaseVault.CaseSystem"
    SUPPORT_ENGINEER = "CaseVault.SupportEngineer"
    PARTNER_ENGINEER = "CaseVault.PartnerEngineer"
    AUDITOR = "CaseVault.Auditor"
    CLOCK = "CaseVault.Clock"
    UPLOAD_LINK = "CaseVault.UploadLink"


OURS_ALONE = frozenset({Role.CLOCK, Role.UPLOAD_LINK})
"""Roles that no issuer can hand out: the service itself acts in them."""

NO_ROLE = "no-role"
WITHHELD: Mapping[str, str] = {
    "directory-unknown": "the directory in your token belongs to no registered customer; have the service's "
    "administrator register it, or the issuer name another",
    "directory-missing": "your token names no customer directory; have the issuer add it",
    NO_ROLE: "your token grants no role of this service; have the issuer assign you one",
    "partner-missing": "your token names no partner; have the issuer add your company",
}
"""Why the service withholds a role in a token, or why the token has none: reason code -> what to do."""

KIND_OF_ROLE: Mapping[Role, str] = {
    Role.CLOCK: "clock",
    Role.UPLOAD_LINK: "upload-link",
    Role.ADMINISTRATOR: "administrator",
    Role.CASE_SYSTEM: "case-system",
    Role.AUDITOR: "auditor",
    Role.STAMP: "stamp",
    Role.OPERATOR: "operator",
    Role.SUPPORT_ENGINEER: "engineer",  # somebody with both roles acts as one of ours: no consent needed
    Role.PARTNER_ENGINEER: "partner",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """One caller.

    `tenant` is the customer named by the token itself; an operator always has one. `stamp` is set for a stamp's own
    identity, `partner` for a partner's engineer; `company` is that company's opaque id, set only for somebody acting
    for it, so not for a partner's engineer who is also ours. `withheld` maps the roles in the token that it does not
    tie to anybody, and that are therefore not held, to their reason in `WITHHELD`.
    """

    id: str
    roles: frozenset[Role]
    tenant: str | None = None
    stamp: str | None = None
    partner: str | None = None
    company: str | None = None
    withheld: Mapping[Role, str] = field(default_factory=dict)
    particulars: Mapping[str, str] = field(default_factory=dict, repr=False)

    def has(self, *roles: Role) -> bool:
        """Return True if the actor holds any of `roles`."""
        return not self.roles.isdisjoint(roles)

    @property
    def kind(self) -> str:
        """This actor's word in an entry: that of its most specific role, held or else withheld."""
        words = [
            KIND_OF_ROLE[role]
            for held in (self.roles, self.withheld)
            for role in KIND_OF_ROLE
            if role in held
        ]
        return words[0] if words else "unknown"


CLOCK = Actor(id="act_clock", roles=frozenset({Role.CLOCK}))
"""The timer: the only actor without a token; no door can hand out its role."""
