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


SPOILED = {
    # the rule that must notice: file, what stands there, what is put in its place
    "every_file_is": [
        ("main", "param issuer string", "param issuer string\nparam idle string"),
        ("main", "name: '${prefix}h${suffix}'", "name: '${prefix}h${sufix}'"),
        ("main", "    prefix: prefix\n", "    prefx: prefix\n"),
        ("main", "modules/key.bicep", "modules/keys.bicep"),
        ("vault", "family: 'A', name", "family: 'A' name"),
        ("api", "var blobPort = 8444", "var blobPort = 8444\nvar apiPort = 1"),
    ],
    "every_setting_is_one": [
        ("main", "CASEVAULT_LOG_ORIGIN:", "CASEVAULT_LOG_ORGIN:"),
        ("clock", "CASEVAULT_SWEEP_SCHEDULE", "CASEVAULT_SWEEP_TIMER"),
    ],
    "the_program_takes": [
        ("main", "empty(managedHsmKeyUrl) ? key.outputs.url", "empty(managedHsmKeyUrl) ? 'x'"),
        ("main", "  CASEVAULT_DATABASE_IDENTITY: 'entra'\n", ""),
        ("main", "  CASEVAULT_SIGNING_VAULT_URL: secrets.outputs.url\n", ""),
        ("api", "?sslmode=verify-full", "?sslmode=require"),
        ("api", "CASEVAULT_THREADS: '80'", "CASEVAULT_THREADS: 'many'"),
        ("api", "  CASEVAULT_ISSUER: issuer\n", ""),
        ("api", "  CASEVAULT_CLOCK: 'functions'\n", ""),
        ("api", "  CASEVAULT_LOG_VERIFIER: logVerifier\n  CASEVAULT_RECEIPT_VERIFIER: receiptVerifier\n", ""),
        ("clock", "  CASEVAULT_STATE:", "  CASEVAULT_LOG_VERIFIER: 'key'\n  CASEVAULT_STATE:"),
        ("clock", "CASEVAULT_ERASE_QUEUE: eraseQueue", "CASEVAULT_ERASE_QUEUE: 'A_B'"),
        ("clock", "CASEVAULT_STATE:", "CASEVAULT_UPLOAD_DAYS: '3'\n  CASEVAULT_STATE:"),
    ],
    "both_doors_have": [
        ("main", "CASEVAULT_WITNESS_BUCKET: witnessBucket", "CASEVAULT_WITNESS_BUCKET: ''"),
        ("api", "'casevault-witness-reader-access-key-id'", "'casevault-witness-access-key-id'"),
        ("clock", "  AWS_SECRET_ACCESS_KEY:", "  AWS_SECRET_ACCESS_KEYS:"),
        ("api", "  CASEVAULT_LOG_VERIFIER: logVerifier\n", ""),
        ("clock", "  AZURE_CLIENT_ID: identity.properties.clientId\n", ""),
    ],
    "the_containers_are": [("bundle-storage", "'casevault-data-keys', ", "'casevault-keys', ")],
    "each_door_logs_in": [
        ("clock", "${identityName}@", "casevault-api@"),
        ("api", "${identityName}@", "${identityName}:secret@"),
        ("api", "/casevault?", "/postgres?"),
    ],
    "nothing_keeps": [
        (
            "bundle-storage",
            "  deleteRetentionPolicy: { enabled: false }",
            "  deleteRetentionPolicy: { enabled: true }",
        ),
        ("bundle-storage", "    isVersioningEnabled: false\n", ""),
        ("bundle-storage", "changeFeed: { enabled: false }", "changeFeed: { enabled: true }"),
        ("bundle-storage", "sku: { name: sku }", "sku: { name: 'Standard_RAGRS' }"),
    ],
    "no_store_is_open": [
        ("bundle-storage", "allowSharedKeyAccess: false", "allowSharedKeyAccess: true"),
        ("host-storage", "    allowSharedKeyAccess: false\n", ""),
        ("container", "publicAccess: 'None'", "publicAccess: 'Blob'"),
        ("registry", "adminUserEnabled: false", "adminUserEnabled: true"),
    ],
    "nothing_is_reached": [
        ("vault", "empty(addresses) ? 'Disabled' : 'Enabled'", "'Enabled'"),
        ("vault", "bypass: 'None'", "bypass: 'AzureServices'"),
        ("bundle-storage", "defaultAction: 'Deny'", "defaultAction: 'Allow'"),
        ("database", "serviceId: server.id", "serviceId: name"),
        (
            "clock",
            "scmIpSecurityRestrictionsDefaultAction: 'Deny'",
            "scmIpSecurityRestrictionsDefaultAction: 'Allow'",
        ),
    ],
    "the_key_never_leaves": [
        ("key", "'wrapKey', 'unwrapKey'", "'wrapKey', 'unwrapKey', 'decrypt'"),
        ("key", "keySize: 3072", "keySize: 2048"),
        ("vault", "enablePurgeProtection: true", "enablePurgeProtection: false"),
        ("vault", "categoryGroup: 'audit'", "categoryGroup: 'allLogs'"),
        ("main", "SIGNING_VAULT_URL: secrets.outputs", "SIGNING_VAULT_URL: keyVault.outputs"),
    ],
    "the_secrets_are": [
        ("secret-readers", "secrets@2024-11-01' existing", "secrets@2024-11-01'"),
        ("clock", "      'casevault-receipt-signing-key'\n", ""),
    ],
    "no_setting_is_a_secret": [
        ("clock", "WebJobsStorage__accountName: storage.name", "WebJobsStorage: 'AccountKey=x'"),
        ("clock", "AWS_SECRET_ACCESS_KEY: '@", "AWS_SECRET_ACCESS_KEY: 'x@"),
    ],
    "the_database_takes": [
        ("database", "passwordAuth: 'Disabled'", "passwordAuth: 'Enabled'"),
        ("database", "version: '15'", "version: '18'"),
    ],
    "ports_and_folders": [
        ("api", "targetPort: blobPort,", "targetPort: 8445,"),
        ("api", "transport: 'tcp'", "transport: 'http'"),
        ("api", "path: 'tls.pem'", "path: 'cert.pem'"),
        ("api", "mountPath: stateFolder", "mountPath: '/data'"),
        ("api", "https://${blobHost}:${blobPort}", "https://${blobHost}"),
    ],
    "probes_ask": [
        ("api", "{ path: '/readyz', ", "{ path: '/ready', "),
        ("api", "port: apiPort, scheme: 'HTTPS' }", "port: apiPort, scheme: 'HTTP' }"),
    ],
    "a_stop_has": [
        ("api", "terminationGracePeriodSeconds: 120", "terminationGracePeriodSeconds: 60"),
        ("api", "CASEVAULT_DRAIN_SECONDS: '20'", "CASEVAULT_DRAIN_SECONDS: '5'"),
    ],
    "memory_and": [
        ("api", "memory: '4Gi'", "memory: '3Gi'"),
        ("api", "CASEVAULT_UPLOADS: '38'", "CASEVAULT_UPLOADS: '70'"),
        ("api", "  CASEVAULT_READS: '19'\n", ""),
        ("api", "CASEVAULT_CONNECTIONS: '320'", "CASEVAULT_CONNECTIONS: '100'"),
        ("api", "concurrentConnections: '32'", "concurrentConnections: '48'"),
        ("main", "CASEVAULT_DATABASE_CONNECTIONS: '8'", "CASEVAULT_DATABASE_CONNECTIONS: '20'"),
    ],
    "schedules_and_queue": [
        ("clock", "'*/10 * * * * *'", "'*/70 * * * * *'"),
        ("host-storage", "${queueName}-poison", "${queueName}-bad"),
    ],
    "the_host_is_told": [
        ("clock", "version: '3.11'", "version: '3.12'"),
        ("clock", ";Authorization=AAD", ""),
        ("clock", "for kind in ['ftp', 'scm']", "for kind in ['ftp']"),
        ("monitoring", "    DisableLocalAuth: true\n", "    DisableLocalAuth: false\n"),
    ],
    "names_fit": [
        ("main", "name: '${prefix}s${suffix}'", "name: '${prefix}-s-${suffix}'"),
        ("main", "name: '${prefix}s${suffix}'", "name: '${prefix}k${suffix}'"),
    ],
    "the_example_of": [
        ("main.bicepparam", "param blobHost = ", "param blogHost = "),
        ("main.bicepparam", "param image = ''", "param image = 'x'"),
    ],
    "roles_have": [
        ("roles.json", "ba92f5b4-2d11-453d-a403-e96b0029c9fe", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b")
    ],
    "roles_are_the_least": [
        ("container", "scope: container", "scope: account"),
        ("key", "scope: key", "scope: vault"),
        ("key", "roles['Key Vault Crypto Service Encryption User']", "roles['Key Vault Crypto Officer']"),
        ("registry", "roles.AcrPull", "'b24988ac-6180-42a0-ab88-20f7382dd24c'"),
    ],
    "the_roles_are": [
        ("api", "      certificateSecret\n", ""),
        ("host-storage", ", 'Storage Table Data Contributor'", ""),
    ],
}
CASES = [(rule, *case) for rule, cases in SPOILED.items() for case in cases]


def _path(name: str) -> str:
    if "." in name:
        return name
    return "main.bicep" if name == "main" else f"modules/{name}.bicep"


@pytest.mark.parametrize(("rule", "name", "stood", "put"), CASES)
def test_a_rule_notices_what_is_broken(
    rule: str, name: str, stood: str, put: str, tmp_path: Path, every_rule: dict[str, Rule]
) -> None:
    copy = tmp_path / "deploy"
    shutil.copytree(ROOT / "docs/deploy", copy)
    file = copy / _path(name)
    text = file.read_text()
    assert stood in text
    file.write_text(text.replace(stood, put))
    (check,) = [check for full, check in every_rule.items() if full.startswith(rule)]
    assert _notices(check, Site(copy))


def _notices(rule: Rule, site: Site) -> bool:
    """Found wrong, or not to be worked out at all."""
    try:
        return bool(list(rule(site)))
    except (BicepError, KeyError, ValueError):
        return True


def test_each_rule_has_something_that_it_notices() -> None:
    assert [name for name in NAMES if not any(name.startswith(rule) for rule in SPOILED)] == []
