"""The same program with other adapters: assembled from settings, on Azurite and a key vault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import azure.identity
import pytest
from azure.storage.blob import BlobServiceClient, RetentionPolicy

from retention.assembly import assemble, initialise
from retention.azure_settings import AzureSettings
from retention.envelope.errors import KeyWrapperUnavailable, UnknownKeyEncryptionKey
from retention.envelope.key_vault import KeyVaultWrapper
from retention.envelope.keys import DataKey
from retention.objects.azure_blob import AzureBlobObjectStore
from retention.objects.azure_keys import AzureBlobKeyStore
from retention.objects.errors import StoreUnavailable
from retention.settings import Settings
from tests.azurite.conftest import connection_string
from tests.fakes.ids import bundle
from tests.keyvault.conftest import MakeVault, certificate, make_vault
from tests.keyvault.vault import Credential, Vault

__all__ = ["certificate", "make_vault"]


@pytest.fixture
def vault(make_vault: MakeVault, monkeypatch: pytest.MonkeyPatch) -> Vault:
    vault = make_vault("RSA")
    vault.rotate("casevault")
    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", lambda: Credential(vault))
    return vault


@pytest.fixture
def settings(
    vault: Vault, azurite_port: int, service: BlobServiceClient, container: str, tmp_path: Path
) -> Iterator[Settings]:
    azure = AzureSettings(
        connection_string=connection_string(azurite_port),
        bundle_container=f"{container}-bundles",
        data_key_container=f"{container}-keys",
        key_url=vault.key_url("casevault"),
    )
    yield Settings(state=tmp_path / "state", azure=azure)
    for name in ("bundles", "keys"):
        service.delete_container(f"{container}-{name}")


def test_settings_select_the_adapters_and_make_no_key_file(settings: Settings) -> None:
    initialise(settings)
    services = assemble(settings)
    try:
        assert isinstance(services.custody.objects, AzureBlobObjectStore)
        assert isinstance(services.custody.keys, AzureBlobKeyStore)
        assert isinstance(services.custody.wrapper, KeyVaultWrapper)
        assert not settings.key_file.exists()
        assert not settings.objects_folder.exists()
        services.custody.objects.check()
        services.custody.keys.check()
    finally:
        services.close()


def test_another_installations_key_is_found_out_at_the_start(settings: Settings, vault: Vault) -> None:
    initialise(settings)
    services = assemble(settings)
    wrapped = services.custody.wrapper.wrap(DataKey.generate(), bundle(1))
    services.custody.keys.put(bundle(1), wrapped)
    services.close()
    assemble(settings).close()
    vault.rotate("other")
    with pytest.raises(UnknownKeyEncryptionKey):
        assemble(replace(settings, azure=replace(settings.azure, key_url=vault.key_url("other"))))


def test_a_disabled_key_does_not_keep_the_service_from_starting(settings: Settings, vault: Vault) -> None:
    initialise(settings)
    services = assemble(settings)
    services.custody.keys.put(bundle(1), services.custody.wrapper.wrap(DataKey.generate(), bundle(1)))
    services.close()
    vault.keys["casevault"][0].attributes["enabled"] = False
    services = assemble(settings)
    with pytest.raises(KeyWrapperUnavailable):
        services.custody.wrapper.wrap(DataKey.generate(), bundle(2))
    services.close()


def test_an_account_that_keeps_what_is_erased_is_refused_at_the_start(
    settings: Settings, service: BlobServiceClient
) -> None:
    initialise(settings)
    service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=True, days=7))
    try:
        with pytest.raises(StoreUnavailable, match="--enable-delete-retention false"):
            assemble(settings)
    finally:
        service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=False))


def test_a_missing_container_is_not_made_anew(settings: Settings, service: BlobServiceClient) -> None:
    initialise(settings)
    name = settings.azure.bundle_container
    service.delete_container(name)
    initialise(settings)
    with pytest.raises(StoreUnavailable, match="make the container"):
        assemble(settings)
    service.create_container(name)
