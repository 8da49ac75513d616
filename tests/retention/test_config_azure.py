"""Settings of the Azure parts: what is refused, and with what advice. The embedded start needs none of Azure."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from retention.adapters import AzureConnections
from retention.config import SettingError, from_environment

URL = "https://casevault.blob.core.windows.net"
EMULATOR = (
    "AccountName=devstoreaccount1;AccountKey=c2VjcmV0;BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"
)
ELSEWHERE = "AccountName=casevault;AccountKey=c2VjcmV0;BlobEndpoint=https://casevault.blob.core.windows.net;"


def test_without_settings_nothing_is_in_azure() -> None:
    azure = from_environment({}).azure
    assert not azure.blob
    assert azure.key_url is None


def test_an_account_and_a_key_are_taken_as_they_are_set() -> None:
    key_url = "https://casevault.vault.azure.net/keys/bundles"
    azure = from_environment({"CASEVAULT_BLOB_ACCOUNT_URL": URL, "CASEVAULT_KEY_URL": key_url}).azure
    assert azure.blob
    assert (azure.account_url, azure.key_url) == (URL, key_url)
    assert (azure.bundle_container, azure.data_key_container) == ("casevault-bundles", "casevault-data-keys")


@pytest.mark.parametrize("url", [f"{URL}:8443", f"{URL}:8443/", "https://10.0.0.7:10000", f"{URL}:65535"])
def test_an_account_behind_another_port_is_taken_and_asked_there(url: str) -> None:
    settings = from_environment({"CASEVAULT_BLOB_ACCOUNT_URL": url})
    assert settings.azure.account_url == url
    asked = urlsplit(AzureConnections(settings.azure).blobs.url)
    assert (asked.hostname, asked.port) == (urlsplit(url).hostname, urlsplit(url).port)


def test_the_emulator_is_taken_and_its_key_not_shown() -> None:
    settings = from_environment({"CASEVAULT_BLOB_CONNECTION_STRING": EMULATOR})
    assert settings.azure.connection_string == EMULATOR
    assert "c2VjcmV0" not in repr(settings)


@pytest.mark.parametrize(
    ("environ", "advice"),
    [
        ({"CASEVAULT_BLOB_ACCOUNT_URL": "http://casevault.blob.core.windows.net"}, "must look like https://"),
        ({"CASEVAULT_BLOB_ACCOUNT_URL": f"{URL}/?sv=2024&sig=abc"}, "must look like https://"),
        ({"CASEVAULT_BLOB_ACCOUNT_URL": f"{URL}:0"}, "with a port perhaps"),
        ({"CASEVAULT_BLOB_ACCOUNT_URL": f"{URL}:65536"}, "must look like https://"),
        ({"CASEVAULT_BLOB_ACCOUNT_URL": f"{URL}:"}, "must look like https://"),
        ({"CASEVAULT_KEY_URL": "https://v.vault.azure.net:99999/keys/k"}, "must look like"),
        ({"CASEVAULT_BLOB_CONNECTION_STRING": ELSEWHERE}, "give this process an identity"),
        ({"CASEVAULT_BLOB_CONNECTION_STRING": "UseDevelopmentStorage=true"}, "BlobEndpoint"),
        ({"CASEVAULT_BLOB_CONNECTION_STRING": EMULATOR, "CASEVAULT_BLOB_ACCOUNT_URL": URL}, "set only one"),
        ({"CASEVAULT_BLOB_CONTAINER": "Bundles"}, "lower-case letters"),
        ({"CASEVAULT_BLOB_CONTAINER": "one", "CASEVAULT_DATA_KEY_CONTAINER": "one"}, "copy of both"),
        ({"CASEVAULT_BLOB_ACCOUNT_URL": URL, "CASEVAULT_UPLOAD_DAYS": "8"}, "7 or less"),
        (
            {"CASEVAULT_BLOB_ACCOUNT_URL": URL, "CASEVAULT_MAX_BUNDLE_SIZE": str(1 << 40)},
            "one blob holds no more",
        ),
        ({"CASEVAULT_KEY_URL": "https://v.vault.azure.net/keys/k/0123456789abcdef"}, "without a version"),
        ({"CASEVAULT_KEY_URL": "http://v.vault.azure.net/keys/k"}, "must look like"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_would_do(environ: dict[str, str], advice: str) -> None:
    with pytest.raises(SettingError, match=advice) as refused:
        from_environment(environ)
    assert "c2VjcmV0" not in str(refused.value)


def test_longer_uploads_and_larger_bundles_stay_possible_in_a_folder() -> None:
    limits = from_environment(
        {"CASEVAULT_UPLOAD_DAYS": "30", "CASEVAULT_MAX_BUNDLE_SIZE": str(1 << 40)}
    ).limits
    assert limits.max_bundle_size == 1 << 40


def test_the_embedded_start_loads_none_of_azures_libraries() -> None:
    listing = (
        "import sys, retention.assembly; print([m for m in sys.modules if m.startswith(('azure', 'msal'))])"
    )
    loaded = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
