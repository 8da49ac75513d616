"""Settings: what the templates set is what the program reads, takes and needs.

A rule names what is wrong with a `Site`; see test_rules.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from croniter import croniter

from functions import config as clock_module
from intake_api import config as api_module
from intake_api.config import ClockIs
from retention.config import SettingError
from retention.config_azure import AzureSettings
from tests.deploy.site import ROOT, Site

SETTINGS_MODULES = sorted(
    path
    for package in ("retention", "intake_api", "functions")
    for path in (ROOT / package).glob("config*.py")
)
NOT_OURS = {
    # Of azure-identity's DefaultAzureCredential: whose token, and from where alone.
    *("AZURE_CLIENT_ID", "AZURE_TOKEN_CREDENTIALS"),
    # boto3's, for the witness.
    *("AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "OTEL_EXPORTER_OTLP_ENDPOINT",
}
HOSTS = {
    *(f"{clock_module.CONNECTION}__{name}" for name in ("accountName", "credential", "clientId")),
    *("APPLICATIONINSIGHTS_CONNECTION_STRING", "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"),
}


def every_setting_is_one_that_the_program_reads(site: Site) -> Iterator[str]:
    text = "".join(path.read_text() for path in SETTINGS_MODULES)
    read = set(re.findall(r"\"(CASEVAULT_[A-Z_]+)\"", text)) | NOT_OURS
    for name in sorted(set(site.api_settings) - read):
        yield f"the API reads no {name}"
    for name in sorted(set(site.clock_settings) - read - HOSTS):
        yield f"the clock reads no {name}"


def the_program_takes_the_settings(site: Site, file: Path) -> Iterator[str]:
    """`file` stands for the certificate, which only the platform brings."""
    try:
        api = api_module.from_environment(_with_file(site.api_settings, file))
        clock = clock_module.from_environment(site.clock_settings)
    except SettingError as error:
        yield str(error)
        return
    for door, custody in (("the API", api.custody), ("the clock", clock.custody)):
        if custody.has_local_parts:
            yield f"{door} keeps something in a folder that nobody keeps"
        if custody.development:
            yield f"{door} is a rehearsal"
        if not custody.database_by_token:
            yield f"{door} has no identity for the database"
        if custody.witness.bucket is None:
            yield f"{door} has no witness"
    if clock.custody.public_keys is not None:
        yield "the clock has no key that signs"
    if api.custody.public_keys is None or api.clock is not ClockIs.FUNCTIONS:
        yield "the API has a clock, or would sign"
    if api.issuer is None or api.blob_listen is None or api.certificate is None:
        yield "the API has no issuer, no Blob endpoint or no certificate"
    own = {name: getattr(clock.custody, name) for name in ("state", "database_url", "public_keys", "notices")}
    if replace(api.custody, **own) != clock.custody:
        yield "the two doors to custody are set differently"


def _with_file(settings: Mapping[str, str], file: Path) -> dict[str, str]:
    return {**settings, "CASEVAULT_TLS_CERTIFICATE": str(file), "CASEVAULT_TLS_KEY": str(file)}


def both_doors_have_what_production_needs(site: Site) -> Iterator[str]:
    needed = {
        "CASEVAULT_BLOB_ACCOUNT_URL",
        "CASEVAULT_KEY_URL",
        "CASEVAULT_SIGNING_VAULT_URL",
        "CASEVAULT_DATABASE_URL",
        "CASEVAULT_DATABASE_IDENTITY",
        "CASEVAULT_LOG_ORIGIN",
        "CASEVAULT_WITNESS_BUCKET",
        "AWS_DEFAULT_REGION",
        "CASEVAULT_STATE",
        "AZURE_CLIENT_ID",
    }
    witness = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    for door, settings, names in (
        ("API", site.api_settings, needed | {"CASEVAULT_LOG_VERIFIER", "CASEVAULT_RECEIPT_VERIFIER"}),
        ("clock", site.clock_settings, needed | witness),
    ):
        for name in sorted(name for name in names if not settings.get(name)):
            yield f"the {door} has no {name}"
    secrets = {item["name"]: item["secretRef"] for item in site.container["env"] if "secretRef" in item}
    if secrets.keys() != witness or not all("witness-reader" in secret for secret in secrets.values()):
        yield f"the API's secrets in its environment are {sorted(secrets.values())}"


def the_containers_are_those_of_the_program(site: Site) -> Iterator[str]:
    bundles, _host = site.accounts
    place = f"{bundles.id}/blobServices/default/containers/"
    made = {r.name for r in site.all(f"{bundles.type}/blobServices/containers") if r.id.startswith(place)}
    if made != set(AzureSettings().containers):
        yield f"the account has {sorted(made)}, the program wants {AzureSettings().containers}"


def each_door_logs_in_to_the_database_as_itself(site: Site) -> Iterator[str]:
    server = site.one("Microsoft.DBforPostgreSQL/flexibleServers")
    identities = {r.symbol: r for r in site.all("Microsoft.ManagedIdentity/userAssignedIdentities")}
    for symbol, settings in (("api", site.api_settings), ("clock", site.clock_settings)):
        url = urlsplit(settings["CASEVAULT_DATABASE_URL"])
        if url.username != identities[symbol].name or url.password is not None:
            yield f"the {symbol} logs in as {url.username}"
        if url.hostname != f"{server.name}.postgres.database.azure.com" or url.path != "/casevault":
            yield f"the {symbol} looks for its database at {url.hostname}{url.path}"


def schedules_and_queue_are_those_of_the_program(site: Site) -> Iterator[str]:
    settings = site.clock_settings
    for name, default in clock_module.DEFAULTS.items():
        if settings.get(name) != default:
            yield f"{name} is {settings.get(name)!r}, not {default!r}"
        elif name.endswith("_SCHEDULE") and not croniter.is_valid(settings[name], second_at_beginning=True):
            yield f"{name} is no schedule"
    queues = {settings["CASEVAULT_ERASE_QUEUE"], settings["CASEVAULT_READ_BACK_QUEUE"]}
    made = {r.name for r in site.all("Microsoft.Storage/storageAccounts/queueServices/queues")}
    if made != queues | {queue + clock_module.POISON for queue in queues}:
        yield f"the queues are {sorted(made)}"
