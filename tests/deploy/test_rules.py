"""The deployment keeps every rule; and each rule notices when it is broken.

A spoiled copy differs from ours in one place. Whoever adds a rule adds what it must notice.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.deploy import app_rules, role_rules, setting_rules, store_rules
from tests.deploy.bicep import BicepError
from tests.deploy.site import ROOT, Site
from tests.service import Service

Rule = Callable[[Site], Iterator[str]]


def rules(file: Path, routes: set[str]) -> dict[str, Rule]:
    """Every rule by its name."""
    found = {
        name: rule
        for module in (app_rules, role_rules, setting_rules, store_rules)
        for name, rule in vars(module).items()
        if callable(rule) and getattr(rule, "__module__", "") == module.__name__ and not name.startswith("_")
    }
    found |= {
        "the_program_takes_the_settings": partial(setting_rules.the_program_takes_the_settings, file=file),
        "probes_ask_what_the_program_answers": partial(
            app_rules.probes_ask_what_the_program_answers, routes=routes
        ),
    }
    return {name: rule for name, rule in found.items() if name not in ("grants", "documented")}


@pytest.fixture(scope="module")
def every_rule(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rule]:
    folder = tmp_path_factory.mktemp("rules")
    (folder / "tls.pem").touch()
    service = Service(folder / "state")
    routes = {str(rule) for rule in service.app.url_map.iter_rules()}
    service.close()
    return rules(folder / "tls.pem", routes)


NAMES = sorted(rules(Path(), set()))


@pytest.mark.parametrize("name", NAMES)
def test_the_deployment_keeps_the_rule(name: str, site: Site, every_rule: dict[str, Rule]) -> None:
    assert list(every_rule[name](site)) == []


SPOILED = [
    # file, what stands there, what is put in its place, the rule that must notice
    ("main.bicep", "param issuer string", "param issuer string\nparam idle string", "every_file_is"),
    ("main.bicep", "name: '${prefix}h${suffix}'", "name: '${prefix}h${sufix}'", "every_file_is"),
    ("main.bicep", "    prefix: prefix\n", "    prefx: prefix\n", "every_file_is"),
    ("modules/vault.bicep", "sku: { family: 'A', name: sku }", "sku: { family: 'A' name: sku }", "every_file_is"),
    ("modules/api.bicep", "var blobPort = 8444", "var blobPort = 8444\nvar apiPort = 1", "every_file_is"),
    ("main.bicep", "CASEVAULT_LOG_ORIGIN:", "CASEVAULT_LOG_ORGIN:", "every_setting_is_one"),
    ("modules/clock.bicep", "CASEVAULT_SWEEP_SCHEDULE", "CASEVAULT_SWEEP_TIMER", "every_setting_is_one"),
    ("main.bicep", "CASEVAULT_KEY_URL: key.outputs.url", "CASEVAULT_KEY_URL: 'x'", "the_program_takes"),
    ("modules/api.bicep", "?sslmode=verify-full", "?sslmode=require", "the_program_takes"),
    ("main.bicep", "  CASEVAULT_DATABASE_IDENTITY: 'entra'\n", "", "the_program_takes"),
    ("main.bicep", "  CASEVAULT_SIGNING_VAULT_URL: secrets.outputs.url\n", "", "the_program_takes"),
    ("modules/api.bicep", "CASEVAULT_THREADS: '48'", "CASEVAULT_THREADS: 'many'", "the_program_takes"),
    ("modules/clock.bicep", "CASEVAULT_ERASE_QUEUE: eraseQueue", "CASEVAULT_ERASE_QUEUE: 'A_B'", "the_program_takes"),
    ("modules/clock.bicep", "CASEVAULT_STATE:", "CASEVAULT_UPLOAD_DAYS: '3'\n  CASEVAULT_STATE:", None),
    ("modules/clock.bicep", "  AZURE_CLIENT_ID: identity.properties.clientId\n", "", "both_doors_have"),
    ("main.bicep", "CASEVAULT_WITNESS_BUCKET: witnessBucket", "CASEVAULT_WITNESS_BUCKET: ''", "both_doors_have"),
    ("modules/bundle-storage.bicep", "'casevault-data-keys', ", "'casevault-keys', ", "the_containers_are"),
    ("modules/clock.bicep", "${identityName}@", "casevault-api@", "each_door_logs_in"),
    ("modules/api.bicep", "${identityName}@", "${identityName}:secret@", "each_door_logs_in"),
    ("modules/bundle-storage.bicep", "    deleteRetentionPolicy: { enabled: false }", "    deleteRetentionPolicy: { enabled: true, days: 7 }", "nothing_keeps"),
    ("modules/bundle-storage.bicep", "    isVersioningEnabled: false\n", "", "nothing_keeps"),
    ("modules/bundle-storage.bicep", "changeFeed: { enabled: false }", "changeFeed: { enabled: true }", "nothing_keeps"),
    ("main.bicep", "param storageSku string = 'Standard_ZRS'", "param storageSku string = 'Standard_RAGRS'", "nothing_keeps"),
    ("modules/bundle-storage.bicep", "allowSharedKeyAccess: false", "allowSharedKeyAccess: true", "no_store_is_open"),
    ("modules/host-storage.bicep", "    allowSharedKeyAccess: false\n", "", "no_store_is_open"),
    ("modules/container.bicep", "publicAccess: 'None'", "publicAccess: 'Blob'", "no_store_is_open"),
    ("modules/registry.bicep", "adminUserEnabled: false", "adminUserEnabled: true", "no_store_is_open"),
    ("modules/vault.bicep", "empty(addresses) ? 'Disabled' : 'Enabled'", "'Enabled'", "nothing_is_reached"),
    ("modules/database.bicep", "serviceId: server.id", "serviceId: name", "nothing_is_reached"),
    ("modules/vault.bicep", "bypass: 'None'", "bypass: 'AzureServices'", "nothing_is_reached"),
    ("modules/key.bicep", "'wrapKey', 'unwrapKey'", "'wrapKey', 'unwrapKey', 'decrypt'", "the_key_never_leaves"),
    ("modules/key.bicep", "keySize: 3072", "keySize: 2048", "the_key_never_leaves"),
    ("modules/vault.bicep", "enablePurgeProtection: true", "enablePurgeProtection: false", "the_key_never_leaves"),
    ("modules/vault.bicep", "categoryGroup: 'audit'", "categoryGroup: 'allLogs'", "the_key_never_leaves"),
    ("main.bicep", "SIGNING_VAULT_URL: secrets.outputs", "SIGNING_VAULT_URL: keyVault.outputs", "the_key_never_leaves"),
    ("modules/secret-readers.bicep", "'Microsoft.KeyVault/vaults/secrets@2024-11-01' existing", "'Microsoft.KeyVault/vaults/secrets@2024-11-01'", "the_secrets_are"),
    ("modules/clock.bicep", "      'casevault-receipt-signing-key'\n", "", None),
    ("modules/clock.bicep", "AzureWebJobsStorage__accountName: storage.name", "AzureWebJobsStorage: 'AccountKey=x'", "no_setting_is_a_secret"),
    ("modules/clock.bicep", "AWS_SECRET_ACCESS_KEY: '@", "AWS_SECRET_ACCESS_KEY: 'x@", "no_setting_is_a_secret"),
    ("modules/database.bicep", "passwordAuth: 'Disabled'", "passwordAuth: 'Enabled'", "the_database_takes"),
    ("modules/api.bicep", "targetPort: blobPort,", "targetPort: 8445,", "ports_and_folders"),
    ("modules/api.bicep", "transport: 'tcp'", "transport: 'http'", "ports_and_folders"),
    ("modules/api.bicep", "path: 'tls.pem'", "path: 'cert.pem'", "ports_and_folders"),
    ("modules/api.bicep", "{ volumeName: 'state', mountPath: stateFolder }", "{ volumeName: 'state', mountPath: '/data' }", "ports_and_folders"),
    ("modules/api.bicep", "{ path: '/readyz', ", "{ path: '/ready', ", "probes_ask"),
    ("modules/api.bicep", "port: apiPort, scheme: 'HTTPS' }", "port: apiPort, scheme: 'HTTP' }", "probes_ask"),
    ("modules/api.bicep", "terminationGracePeriodSeconds: 120", "terminationGracePeriodSeconds: 60", "a_stop_has"),
    ("modules/api.bicep", "CASEVAULT_DRAIN_SECONDS: '20'", "CASEVAULT_DRAIN_SECONDS: '5'", "a_stop_has"),
    ("modules/api.bicep", "CASEVAULT_THREADS: '48'", "CASEVAULT_THREADS: '128'", "memory_and"),
    ("main.bicep", "CASEVAULT_DATABASE_CONNECTIONS: '8'", "CASEVAULT_DATABASE_CONNECTIONS: '20'", "memory_and"),
    ("modules/clock.bicep", "'*/10 * * * * *'", "'*/70 * * * * *'", "schedules_and_queue"),
    ("modules/host-storage.bicep", "${queueName}-poison", "${queueName}-bad", "schedules_and_queue"),
    ("modules/clock.bicep", "version: '3.11'", "version: '3.12'", "the_host_is_told"),
    ("modules/clock.bicep", "Authorization=AAD", "", None),
    ("modules/clock.bicep", "for kind in ['ftp', 'scm']", "for kind in ['ftp']", "the_host_is_told"),
    ("modules/monitoring.bicep", "    DisableLocalAuth: true\n", "    DisableLocalAuth: false\n", "the_host_is_told"),
    ("main.bicep", "name: '${prefix}s${suffix}'", "name: '${prefix}-s-${suffix}'", "names_fit"),
    ("main.bicep", "name: '${prefix}s${suffix}'", "name: '${prefix}k${suffix}'", "names_fit"),
    ("main.bicepparam", "param blobHost = ", "param blogHost = ", "the_example_of"),
    ("main.bicepparam", "param image = ''", "param image = 'x'", "the_example_of"),
    ("roles.json", "ba92f5b4-2d11-453d-a403-e96b0029c9fe", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b", "roles_have"),
    ("modules/container.bicep", "    scope: container\n    properties: {\n      principalId: principal", "    scope: account\n    properties: {\n      principalId: principal", "roles_are_the_least"),
    ("modules/key.bicep", "roles['Key Vault Crypto Service Encryption User']", "roles['Key Vault Crypto Officer']", "roles_are_the_least"),
    ("modules/registry.bicep", "roles.AcrPull", "'b24988ac-6180-42a0-ab88-20f7382dd24c'", "roles_are_the_least"),
    ("modules/api.bicep", "      certificateSecret\n", "", "the_roles_are"),
    ("modules/host-storage.bicep", ", 'Storage Table Data Contributor'", "", "the_roles_are"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "stood", "put", "rule"), SPOILED)
def test_a_rule_notices_what_is_broken(
    file: str, stood: str, put: str, rule: str | None, tmp_path: Path, every_rule: dict[str, Rule]
) -> None:
    copy = tmp_path / "deploy"
    shutil.copytree(ROOT / "docs/deploy", copy)
    text = (copy / file).read_text()
    assert stood in text
    (copy / file).write_text(text.replace(stood, put))
    noticed = {name for name, check in every_rule.items() if _notices(check, Site(copy))}
    assert any(name.startswith(rule or "") for name in noticed), noticed


def _notices(rule: Rule, site: Site) -> bool:
    """Found wrong, or not to be worked out at all."""
    try:
        return bool(list(rule(site)))
    except (BicepError, KeyError, ValueError):
        return True


def test_each_rule_has_something_that_it_notices() -> None:
    noticed = [rule for *_, rule in SPOILED if rule]
    assert [name for name in NAMES if not any(name.startswith(rule) for rule in noticed)] == []
