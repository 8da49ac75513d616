"""Records in SQLite, the log in Blob Storage: one machine that keeps what is large elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient

from audit.entry import Action
from intake_api.cli.main import run
from retention.assembly import Services, assemble, initialise
from retention.config import Settings
from retention.config_azure import AzureSettings
from retention.custody.context import entry
from retention.domain.actor import CLOCK
from tests.azurite.conftest import connection_string


@pytest.fixture
def settings(
    azurite_port: int,
    service: BlobServiceClient,
    container: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Settings]:
    names = {kind: f"{container}-{kind}" for kind in ("bundles", "keys", "log")}
    monkeypatch.setenv("CASEVAULT_BLOB_CONTAINER", names["bundles"])
    monkeypatch.setenv("CASEVAULT_DATA_KEY_CONTAINER", names["keys"])
    monkeypatch.setenv("CASEVAULT_LOG_CONTAINER", names["log"])
    azure = AzureSettings(
        connection_string=connection_string(azurite_port),
        bundle_container=names["bundles"],
        data_key_container=names["keys"],
        log_container=names["log"],
    )
    for name in names.values():
        service.create_container(name)
    yield Settings(state=tmp_path / "state", azure=azure)
    for name in names.values():
        service.delete_container(name)


def _grow(services: Services) -> int:
    noted = entry(CLOCK, Action.RECORDS_RECONCILED, datetime.now(UTC))
    services.custody.records.write(lambda tx: tx.audit(noted))
    checkpoint = services.sequencer.run_once()
    services.close()
    assert checkpoint is not None
    return checkpoint.size


def test_the_log_is_verified_on_the_machine_that_has_its_records_and_not_its_tiles(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    initialise(settings)
    assert _grow(assemble(settings)) == 1
    monkeypatch.setenv("CASEVAULT_BLOB_CONNECTION_STRING", str(settings.azure.connection_string))
    assert run(["audit", "verify", "--state", str(settings.state)]) == 0
    assert "the log is sound: 1 leaves" in capsys.readouterr().out


def test_a_log_that_began_in_a_folder_goes_on_in_a_container_that_it_was_copied_to(
    settings: Settings, service: BlobServiceClient
) -> None:
    before = replace(settings, azure=AzureSettings())
    initialise(before)
    _grow(assemble(before))
    container = service.get_container_client(settings.azure.log_container)
    for file in filter(Path.is_file, before.log_folder.rglob("*")):
        container.upload_blob(file.relative_to(before.log_folder).as_posix(), file.read_bytes())
    assert _grow(assemble(settings)) == 2
