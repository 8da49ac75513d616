"""Stores, vault and database: nothing is open, nothing is copied, nothing is secret.

A rule names what is wrong with a `Site`; see test_rules.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from functions.config import CONNECTION
from retention.keys.signing import BINDING_KEY, LINK_KEY, SIGNING_KEYS
from tests.deploy.bicep import Resource
from tests.deploy.role_rules import grants
from tests.deploy.site import Site


def nothing_keeps_a_copy_of_what_is_erased(site: Site) -> Iterator[str]:
    bundles, _host = site.accounts
    (service,) = [
        r for r in site.all(f"{bundles.type}/blobServices") if r.id == f"{bundles.id}/blobServices/default"
    ]
    off = ("deleteRetentionPolicy", "containerDeleteRetentionPolicy", "changeFeed", "restorePolicy")
    for name in off:
        if service.properties.get(name) != {"enabled": False}:
            yield f"{name} must be off"
    if service.properties.get("isVersioningEnabled") is not False:
        yield "versions must be off"
    if bundles.properties.get("immutableStorageWithVersioning"):
        yield "immutability must not be"
    for r in site.final.resources:
        if re.search(
            r"immutabil|objectReplication|backup(Vaults|Instances)|managementPolicies", r.type, re.I
        ):
            yield f"{r.type} keeps or moves copies"
    if bundles.body["sku"]["name"] not in ("Standard_ZRS", "Standard_LRS"):
        yield "a second region is a copy that lags behind"


def no_store_is_open(site: Site) -> Iterator[str]:
    for account in site.accounts:
        wanted = {
            "allowBlobPublicAccess": False,
            "allowSharedKeyAccess": False,
            "supportsHttpsTrafficOnly": True,
            "minimumTlsVersion": "TLS1_2",
        }
        for name, value in wanted.items():
            if account.properties.get(name) != value:
                yield f"{account.symbol}: {name} must be {value}"
        if account.body["kind"] != "StorageV2" or account.properties.get("isHnsEnabled"):
            yield f"{account.symbol} must be a v2 account without hierarchical namespace"
    for container in site.all("Microsoft.Storage/storageAccounts/blobServices/containers"):
        if container.properties.get("publicAccess") != "None":
            yield f"{container.name} must be closed"
    registry = site.one("Microsoft.ContainerRegistry/registries")
    if registry.properties.get("adminUserEnabled") or registry.properties.get("anonymousPullEnabled"):
        yield "the registry must ask for an identity"


def nothing_is_reached_from_outside_unless_it_is_said(site: Site) -> Iterator[str]:
    endpoints = {
        e.properties["privateLinkServiceConnections"][0]["properties"]["privateLinkServiceId"]
        for e in site.all("Microsoft.Network/privateEndpoints")
    }
    for r in _stores(site):
        if _public(r) != "Disabled":
            yield f"{r.type} is open"
        if r.id not in endpoints and r.type != "Microsoft.Web/sites":
            yield f"{r.type} has no private endpoint"
    opened = {r.id: r for r in site.opened.resources if not r.existing}
    for r in _stores(site):
        rules = opened[r.id].properties.get("networkAcls")
        if rules is not None and (rules["defaultAction"], rules["bypass"]) != ("Deny", "None"):
            yield f"{r.type} lets others in while it is set up"
        if rules is not None and [rule["value"] for rule in rules["ipRules"]] != ["198.51.100.7"]:
            yield f"{r.type} does not let the administrator in"
    scm = opened[site.clock.id].properties["siteConfig"]
    if scm["scmIpSecurityRestrictionsDefaultAction"] != "Deny" or not scm["scmIpSecurityRestrictions"]:
        yield "whoever likes may publish"


def _stores(site: Site) -> list[Resource]:
    kinds = ("storageAccounts", "vaults", "flexibleServers", "sites")
    return [
        r for r in site.final.resources if not r.existing and r.type.split("/")[1:] in [[k] for k in kinds]
    ]


def _public(r: Resource) -> str:
    place = r.properties.get("network", r.properties)
    return str(place.get("publicNetworkAccess"))


def the_key_never_leaves_and_its_use_is_logged(site: Site) -> Iterator[str]:
    vaults, key = site.all("Microsoft.KeyVault/vaults"), site.one("Microsoft.KeyVault/vaults/keys")
    for vault in vaults:
        for name in ("enableRbacAuthorization", "enableSoftDelete", "enablePurgeProtection"):
            if vault.properties.get(name) is not True:
                yield f"{vault.name}: {name} must be on"
    if site.api_settings["CASEVAULT_KEY_URL"].startswith(site.api_settings["CASEVAULT_SIGNING_VAULT_URL"]):
        yield "what signs must have another vault than the key"
    if set(key.properties["keyOps"]) != {"wrapKey", "unwrapKey"} or key.properties["keySize"] < 3072:
        yield "the key wraps and unwraps, with 3072 bits or more"
    if not key.properties["kty"].startswith("RSA") or key.properties.get("rotationPolicy"):
        yield "the key is RSA, and nobody but `casevault keys rotate` rotates it"
    if key.properties["attributes"].get("exportable"):
        yield "the key can be exported"
    told = {
        r.scope: {log.get("category", log.get("categoryGroup")) for log in r.properties["logs"]}
        for r in site.deployed(auditWorkspaceId="/somebody/else").resources
        if r.type == "Microsoft.Insights/diagnosticSettings"
        and r.properties["workspaceId"] == "/somebody/else"
    }
    bundles, _host = site.accounts
    wanted = {
        **{vault.id: {"audit"} for vault in vaults},
        f"{bundles.id}/blobServices/default": {"StorageRead", "StorageWrite", "StorageDelete"},
    }
    if told != wanted:
        yield f"somebody else must learn of every use of keys and stores, and learns of {told}"


def the_secrets_are_those_of_the_program_and_made_by_nobody_here(site: Site) -> Iterator[str]:
    may = grants(site)
    for key in SIGNING_KEYS:
        wanted = {LINK_KEY: {"API"}, BINDING_KEY: {"API", "clock"}}.get(key, {"clock"})
        readers = {who for role, who, where in may if where == f"secret `casevault-{key}`"}
        if readers != wanted:
            yield f"casevault-{key} is read by {sorted(readers)}, and is for {sorted(wanted)}"
    for r in site.final.resources:
        if r.type.endswith("vaults/secrets") and not r.existing:
            yield f"a template must not hold the secret {r.name}"
    if any(r.type.endswith("vaults/secrets") for r in site.first.resources):
        yield "the first deployment names secrets that are not there yet"


def no_setting_is_a_secret(site: Site) -> Iterator[str]:
    for r in site.final.resources:
        for path, text in _texts(r.body):
            if re.search(r"AccountKey=|SharedAccessSignature|[?&]sig=|password\s*=", text, re.I):
                yield f"{r.symbol}{path} holds a secret"
            if re.search(r"connection_?string$", path, re.I) and "APPLICATIONINSIGHTS" not in path:
                yield f"{r.symbol}{path} is a connection string"
    for name, value in {**site.api_settings, **site.clock_settings}.items():
        if re.search(r"(SECRET|PASSWORD|TOKEN$)", name) and not value.startswith("@Microsoft.KeyVault("):
            yield f"{name} must come from the vault"
        if name == CONNECTION or name == "CASEVAULT_BLOB_CONNECTION_STRING":
            yield f"{name} would be a connection string"


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        name = value.get("name") if set(value) == {"name", "value"} else None
        for key, inner in value.items():
            yield from _texts(inner, f"{path}.{name if name and key == 'value' else key}")
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, path)
    elif isinstance(value, str):
        yield path, value


def the_database_takes_identities_only(site: Site) -> Iterator[str]:
    server = site.one("Microsoft.DBforPostgreSQL/flexibleServers")
    how = server.properties["authConfig"]
    if (how["activeDirectoryAuth"], how["passwordAuth"]) != ("Enabled", "Disabled"):
        yield "the database must take identities, and no password"
    if server.properties["version"] != "15":
        yield "the tests run on PostgreSQL 15"
    if not 7 <= server.properties["backup"]["backupRetentionDays"] <= 35:
        yield "backups reach back 7 to 35 days"
