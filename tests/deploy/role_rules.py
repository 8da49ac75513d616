"""Who may do what: Azure's own names for the roles, the least of them, and the table in docs/azure.md.

A rule names what is wrong with a `Site`; see test_rules.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from uuid import UUID

from tests.deploy.bicep import Resource
from tests.deploy.site import ADMINISTRATORS, ROOT, Site

OFFICIAL = {
    "7f951dda-4ed3-4680-a7ca-43fe172d538d": "AcrPull",
    "a4417e6f-fecd-4de8-b567-7b0420556985": "Key Vault Certificates Officer",
    "14b46e9e-c2b7-41b4-b07b-48a6ebf60603": "Key Vault Crypto Officer",
    "e147488a-f6f5-4113-8e2d-b22465e65bf6": "Key Vault Crypto Service Encryption User",
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": "Key Vault Secrets Officer",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": "Storage Blob Data Reader",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
}
"""Azure's built-in roles that are assigned here, after Azure's documentation: no Owner, no Contributor."""
PLACES = {
    "Microsoft.Storage/storageAccounts/blobServices/containers": "container `{}`",
    "Microsoft.KeyVault/vaults/secrets": "secret `{}`",
    "Microsoft.KeyVault/vaults/keys": "the key",
    "Microsoft.KeyVault/vaults": "the secrets' vault",
    "Microsoft.ContainerRegistry/registries": "the registry",
    "Microsoft.Insights/components": "telemetry",
    "Microsoft.Storage/storageAccounts": "the host's account",
}

Grant = tuple[str, str, str]
"""Role, who, where: in the words of the table."""


def roles_have_their_official_ids(site: Site) -> Iterator[str]:
    table = json.loads((site.folder / "roles.json").read_text())
    if table != {name: number for number, name in OFFICIAL.items()}:
        yield "roles.json differs from Azure's own list"
    for name, number in table.items():
        if str(UUID(number)) != number:
            yield f"{name} has no id"


def roles_are_the_least_and_stand_at_what_they_are_for(site: Site) -> Iterator[str]:
    bundles, _host = site.accounts
    kinds = {r.symbol: r for r in site.all("Microsoft.ManagedIdentity/userAssignedIdentities")}
    if set(kinds) != {"api", "clock"}:
        yield "each door has an identity of its own"
    for r in _assignments(site):
        role = r.properties["roleDefinitionId"].rsplit("/", 1)[1]
        if role not in OFFICIAL:
            yield f"{role} is none of the roles that are needed"
        if r.scope is None:
            yield f"{r.symbol} counts for the whole resource group"
        if r.scope == site.one("Microsoft.KeyVault/vaults/keys").id.rsplit("/keys/", 1)[0]:
            yield f"{r.symbol} counts for the whole vault of the key"
        if r.scope == bundles.id:
            yield f"{r.symbol} counts for the whole account of the bundles"
        person = r.properties["principalId"] == ADMINISTRATORS
        if r.properties["principalType"] != ("Group" if person else "ServicePrincipal"):
            yield f"{r.symbol} is for another kind of principal"
    for role, who, where in sorted(grants(site)):
        if where == PLACES["Microsoft.KeyVault/vaults"] and who != "administrators":
            yield f"{who} may {role} in the whole vault"
        if "Officer" in role and who != "administrators":
            yield f"{who} is {role}"


def the_roles_are_those_of_the_page(site: Site) -> Iterator[str]:
    ours, page = grants(site), documented()
    for role, who, where in sorted(ours - page):
        yield f"docs/azure.md does not say that {who}: {role} at {where}"
    for role, who, where in sorted(page - ours):
        yield f"nobody gives {who} {role} at {where}"


def grants(site: Site) -> set[Grant]:
    """What is assigned."""
    places = {r.id: r for r in site.final.resources}
    who = {_principal(site, symbol): word for symbol, word in (("api", "API"), ("clock", "clock"))}
    who[ADMINISTRATORS] = "administrators"
    found = set()
    for r in _assignments(site):
        role = OFFICIAL.get(r.properties["roleDefinitionId"].rsplit("/", 1)[1], "?")
        place = places.get(r.scope or "")
        where = PLACES.get(place.type, "?").format(place.name) if place else "?"
        found.add((role, who.get(r.properties["principalId"], "?"), where))
    return found


def documented() -> set[Grant]:
    """What the table of docs/azure.md says: role | who | where."""
    rows = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|", (ROOT / "docs/azure.md").read_text(), flags=re.M
    )
    return {
        (role, who, where)
        for role, several, where in rows
        if role in OFFICIAL.values()
        for who in several.split(", ")
    }


def _assignments(site: Site) -> list[Resource]:
    return site.all("Microsoft.Authorization/roleAssignments")


def _principal(site: Site, symbol: str) -> str:
    from tests.deploy.bicep import RUNTIME

    identity = site.one("Microsoft.ManagedIdentity/userAssignedIdentities", symbol)
    return str(RUNTIME["userAssignedIdentities", "principalId"](identity))
