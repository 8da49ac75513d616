"""Who acts, as custody sees it.

A door turns a token (or the timer) into an Actor; custody's rules look at nothing else. The id is opaque and may
stand in the audit leaves; names and addresses are particulars and stand beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What a caller may be; the values are the claim values that an issuer sends."""

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

KIND_OF_ROLE: Mapping[Role, str] = {
    Role.CLOCK: "clock",
    Role.UPLOAD_LINK: "upload-link",
    Role.ADMINISTRATOR: "administrator",
    Role.CASE_SYSTEM: "case-system",
    Role.AUDITOR: "auditor",
    Role.STAMP: "stamp",
    Role.OPERATOR: "operator",
    Role.PARTNER_ENGINEER: "partner",
    Role.SUPPORT_ENGINEER: "engineer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """One caller. `tenant` binds operators and stamps to their own; `stamp` is set for a stamp's own identity."""

    id: str
    roles: frozenset[Role]
    tenant: str | None = None
    stamp: str | None = None
    partner: str | None = None
    particulars: Mapping[str, str] = field(default_factory=dict, repr=False)

    def has(self, *roles: Role) -> bool:
        """True when the actor holds any of `roles`."""
        return not self.roles.isdisjoint(roles)

    @property
    def kind(self) -> str:
        """The word for this actor in an entry: that of its most telling role."""
        return next((word for role, word in KIND_OF_ROLE.items() if role in self.roles), "unknown")


CLOCK = Actor(id="act_clock", roles=frozenset({Role.CLOCK}))
"""The timer: the only actor without a token; no door can hand out its role."""
