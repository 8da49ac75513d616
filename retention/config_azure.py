"""The settings that place parts of custody in Azure. Nothing here needs Azure's libraries.

| variable | meaning | default |
|---|---|---|
| CASEVAULT_BLOB_ACCOUNT_URL | the account's URL, with its port if not 443: bundles, keys, log there | local folders |
| CASEVAULT_BLOB_CONTAINER | container of the bundles | casevault-bundles |
| CASEVAULT_DATA_KEY_CONTAINER | container of the wrapped data keys | casevault-data-keys |
| CASEVAULT_LOG_CONTAINER | container of the log's tiles and checkpoints | casevault-log |
| CASEVAULT_BLOB_CONNECTION_STRING | in place of the account's URL, for the emulator on this machine only | none |
| CASEVAULT_KEY_URL | https://<vault>/keys/<name>: the key-encryption key in Key Vault or Managed HSM | local key file |
| CASEVAULT_SIGNING_VAULT_URL | https://<vault>: signing keys as secrets of this Key Vault | local files |

The identity is the process's own (azure-identity's DefaultAzureCredential): there is no setting for a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

STAGED_LIFETIME = timedelta(days=7)
"""The service discards staged blocks a week after the last one was staged."""
MAX_BLOB = 33_000 * (8 << 20)
"""The bytes that one blob of 50,000 blocks holds in blocks of the size that the store stages, apart from one block for
each part that an upload may have (custody/uploads/part_ends.py)."""

_CONTAINER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")
_PORT = r"(?::[0-9]{1,5})?"
_ACCOUNT_URL = re.compile(rf"https://[a-z0-9.-]+{_PORT}/?")
_VAULT_URL = re.compile(rf"https://[a-zA-Z0-9.-]+{_PORT}/?")
_KEY_URL = re.compile(rf"https://[a-zA-Z0-9.-]+{_PORT}/keys/[a-zA-Z0-9-]{{1,127}}")
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureSettings:
    """The settings of the table above."""

    account_url: str | None = None
    connection_string: str | None = field(default=None, repr=False)  # it holds a key
    bundle_container: str = "casevault-bundles"
    data_key_container: str = "casevault-data-keys"
    log_container: str = "casevault-log"
    key_url: str | None = None
    signing_vault_url: str | None = None

    @property
    def blob(self) -> bool:
        """True if bundles, data keys and tiles are in Blob Storage."""
        return self.account_url is not None or self.connection_string is not None

    @property
    def containers(self) -> tuple[str, str, str]:
        """The names of all containers used."""
        return self.bundle_container, self.data_key_container, self.log_container


def azure_from_environment(
    environ: Mapping[str, str], upload_lifetime: timedelta, max_bundle_size: int
) -> AzureSettings:
    """Read the settings from `environ`; ValueError names the wrong variable and what is accepted."""
    settings = AzureSettings(
        account_url=_matching(
            environ,
            "CASEVAULT_BLOB_ACCOUNT_URL",
            _ACCOUNT_URL,
            "https://<account>.blob.core.windows.net, with a port perhaps",
        ),
        connection_string=_emulator(environ),
        bundle_container=_container(environ, "CASEVAULT_BLOB_CONTAINER", AzureSettings().bundle_container),
        data_key_container=_container(
            environ, "CASEVAULT_DATA_KEY_CONTAINER", AzureSettings().data_key_container
        ),
        log_container=_container(environ, "CASEVAULT_LOG_CONTAINER", AzureSettings().log_container),
        key_url=_matching(
            environ, "CASEVAULT_KEY_URL", _KEY_URL, "https://<vault>/keys/<name>, without a version"
        ),
        signing_vault_url=_matching(
            environ, "CASEVAULT_SIGNING_VAULT_URL", _VAULT_URL, "https://<vault>.vault.azure.net"
        ),
    )
    if settings.account_url and settings.connection_string:
        raise ValueError(
            "CASEVAULT_BLOB_ACCOUNT_URL and CASEVAULT_BLOB_CONNECTION_STRING are both set: set only one"
        )
    if settings.bundle_container == settings.data_key_container:
        raise ValueError(
            "CASEVAULT_DATA_KEY_CONTAINER must not be the container of the bundles: a copy of one would "
            "be a copy of both"
        )
    if settings.log_container in (settings.bundle_container, settings.data_key_container):
        raise ValueError(
            "CASEVAULT_LOG_CONTAINER must be a container of its own: nothing in the log is ever erased"
        )
    if settings.blob and upload_lifetime > STAGED_LIFETIME:
        raise ValueError(
            f"CASEVAULT_UPLOAD_DAYS is {upload_lifetime.days}, and must be 7 or less: Blob Storage discards staged "
            "blocks after a week"
        )
    if settings.blob and max_bundle_size > MAX_BLOB:
        raise ValueError(
            f"CASEVAULT_MAX_BUNDLE_SIZE is {max_bundle_size}, and must be {MAX_BLOB} or less: one blob holds no more"
        )
    return settings


def _matching(environ: Mapping[str, str], name: str, form: re.Pattern[str], example: str) -> str | None:
    text = environ.get(name) or None
    if text is not None and not (form.fullmatch(text) and _has_a_port_or_none(text)):
        raise ValueError(f"{name} must look like {example}")
    return text


def _has_a_port_or_none(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:  # above 65535
        return False


def _container(environ: Mapping[str, str], name: str, default: str) -> str:
    text = environ.get(name) or default
    if not _CONTAINER.fullmatch(text):
        raise ValueError(f"{name} must be 3 to 63 lower-case letters, digits and single hyphens")
    return text


def _emulator(environ: Mapping[str, str]) -> str | None:
    """Read a connection string, for the emulator only: it holds an account key, which opens everything."""
    text = environ.get("CASEVAULT_BLOB_CONNECTION_STRING") or None
    if text is None:
        return None
    fields = dict(part.partition("=")[::2] for part in text.split(";"))
    if urlsplit(fields.get("BlobEndpoint", "")).hostname not in _LOOPBACK:
        raise ValueError(
            "CASEVAULT_BLOB_CONNECTION_STRING is for an emulator on this machine (BlobEndpoint on "
            "127.0.0.1); for an account set CASEVAULT_BLOB_ACCOUNT_URL and give this process an identity"
        )
    return text
