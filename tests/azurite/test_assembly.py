"""The same program with other adapters: assembled from settings, on Azurite and a key vault."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import azure.identity
import pytest
from azure.storage.blob import BlobServiceClient, RetentionPolicy

from audit.tlog.tile_store import TilesUnavailableError
from audit.tlog.tile_store_azure import AzureTileStore
from retention.assembly import assemble, initialise
from retention.config import Settings
from retention.config_azure import AzureSettings
from retention.envelope.data_keys import DataKey
from retention.envelope.format import KeyWrapperUnavailable, UnknownKeyEncryptionKey
from retention.keys.key_vault import KeyVaultWrapper
from retention.keys.signing import SIGNING_KEYS, SigningKeyRefused
from retention.objects.azure.key_store import AzureBlobKeyStore
from retention.objects.azure.part_store import AzureBlobObjectStore
from retention.objects.store_errors import StoreUnavailable
from tests.azurite.conftest import connection_string
from tests.fakes.ids import bundle
from tests.keyvault.conftest import MakeVault, certificate, make_vault
from tests.keyvault.vault import Credential, Vault
from tests.servers.postgres import shared_server

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
        log_container=f"{container}-log",
        key_url=vault.key_url("casevault"),
        signing_vault_url=vault.url,
    )
    yield Settings(state=tmp_path / "state", azure=azure)
    for name in ("bundles", "keys", "log"):
        service.delete_container(f"{container}-{name}")


def test_settings_select_the_adapters_and_make_no_key_file(settings: Settings, vault: Vault) -> None:
    initialise(settings)
    services = assemble(settings)
    try:
        assert isinstance(services.custody.objects, AzureBlobObjectStore)
        assert isinstance(services.custody.keys, AzureBlobKeyStore)
        assert isinstance(services.custody.wrapper, KeyVaultWrapper)
        assert isinstance(services.custody.tiles, AzureTileStore)
        assert sorted(vault.secrets) == [f"casevault-{name}" for name in sorted(SIGNING_KEYS)]
        assert [path.name for path in settings.state.iterdir() if "records.db" not in path.name] == []
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


def test_a_log_container_that_is_lost_is_no_empty_log(settings: Settings, service: BlobServiceClient) -> None:
    initialise(settings)
    name = settings.azure.log_container
    service.delete_container(name)
    initialise(settings)
    with pytest.raises(TilesUnavailableError, match="make the container"):
        assemble(settings)
    service.create_container(name)


@pytest.mark.parametrize("name", SIGNING_KEYS)
def test_a_signing_secret_that_is_lost_is_not_made_anew(settings: Settings, vault: Vault, name: str) -> None:
    initialise(settings)
    vault.secrets[f"casevault-{name}"].deleted = True
    assert not initialise(settings)
    with pytest.raises(SigningKeyRefused, match="recover"):
        assemble(settings)
    assert len(vault.secrets[f"casevault-{name}"].values) == 1


def test_one_identity_serves_all_parts(
    settings: Settings, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Credential] = []

    def make() -> Credential:
        made.append(Credential(vault))
        return made[-1]

    initialise(settings)
    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", make)
    assemble(settings).close()
    assert len(made) == 1


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_of_many_that_initialise_at_once_one_makes_the_keys(
    settings: Settings, vault: Vault, database: str
) -> None:
    if database == "postgresql":
        server = shared_server()
        settings = replace(settings, database_url=server.url(server.new_database()))
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(initialise, [settings] * 4)) == [False, False, False, True]
    assert [len(secret.values) for secret in vault.secrets.values()] == [1, 1, 1, 1]
    assemble(settings).close()


def test_the_libraries_tell_of_no_request(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    initialise(settings)
    services = assemble(settings)
    services.custody.keys.put(bundle(1), services.custody.wrapper.wrap(DataKey.generate(), bundle(1)))
    assert list(services.custody.keys.list_bundles()) == [bundle(1)]
    services.close()
    assert [record.name for record in caplog.records if record.name.startswith("azure")] == []
