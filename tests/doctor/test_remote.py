"""The doctor on Azure's parts, PostgreSQL and a bucket: each broken for real, none hides another."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import azure.identity
import pytest
from azure.storage.blob import BlobServiceClient, RetentionPolicy

from retention.records.migrate import downgrade
from retention.records.postgres_engine import postgres_engine
from tests.azurite.conftest import connection_string
from tests.doctor.conftest import Patient, bad
from tests.fakes.buckets import Buckets
from tests.keyvault.conftest import MakeVault
from tests.keyvault.vault import Credential, Vault
from tests.servers.postgres import PostgresServer, shared_server


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer(durable=True)
    yield server
    server.remove()


@pytest.fixture
def vault(make_vault: MakeVault, monkeypatch: pytest.MonkeyPatch) -> Vault:
    vault = make_vault("RSA")
    vault.rotate("casevault")
    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", lambda: Credential(vault))
    return vault


@pytest.fixture
def in_azure(
    patient: Patient, vault: Vault, azurite_port: int, service: BlobServiceClient, container: str
) -> Iterator[Patient]:
    patient.told |= {
        "CASEVAULT_BLOB_CONNECTION_STRING": connection_string(azurite_port),
        "CASEVAULT_BLOB_CONTAINER": f"{container}-bundles",
        "CASEVAULT_DATA_KEY_CONTAINER": f"{container}-keys",
        "CASEVAULT_LOG_CONTAINER": f"{container}-log",
        "CASEVAULT_KEY_URL": vault.key_url("casevault"),
    }
    patient.make()
    yield patient
    for name in ("bundles", "keys", "log"):
        service.delete_container(f"{container}-{name}")


def test_a_sound_database_and_then_one_that_stopped(patient: Patient, postgres: PostgresServer) -> None:
    patient.told["CASEVAULT_DATABASE_URL"] = postgres.url(postgres.new_database())
    patient.make()
    lines = patient.examine()
    assert bad(lines) == {}
    assert lines["database"]["what"].startswith("PostgreSQL 1")
    assert "durable, serializable, its clock within" in lines["database"]["what"]
    postgres.stop()
    found = bad(patient.examine())
    assert {*found} == {"database", "schema", "access", "reading", "witness", "clock", "time"}
    assert "the database does not respond" in found["database"]


def test_a_database_that_could_lose_what_it_answered(patient: Patient) -> None:
    database = shared_server().new_database()
    patient.told["CASEVAULT_DATABASE_URL"] = shared_server().url(database)
    patient.make()
    found = bad(patient.examine())
    assert {*found} == {"database"}
    assert "fsync is off" in found["database"] and "full_page_writes is off" in found["database"]
    quick = f"{patient.told['CASEVAULT_DATABASE_URL']}&options={quote('-c synchronous_commit=off')}"
    assert "synchronous_commit is off" in bad(patient.examine(CASEVAULT_DATABASE_URL=quick))["database"]
    engine = postgres_engine(shared_server().url(database))
    downgrade(engine, "0003")
    engine.dispose()
    assert "version 0003, not" in bad(patient.examine())["database"]
    shared_server().drop(database)


def test_sound_parts_in_azure(in_azure: Patient) -> None:
    lines = in_azure.examine()
    assert bad(lines) == {}
    assert "its clock within" in lines["bundles"]["what"]
    assert "RSA-OAEP-256" in lines["key"]["what"]


def test_an_account_with_soft_delete(in_azure: Patient, service: BlobServiceClient) -> None:
    service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=True, days=7))
    try:
        found = bad(in_azure.examine())
    finally:
        service.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=False))
    assert {*found} == {"bundles", "data keys"}
    assert "--enable-delete-retention false" in found["bundles"]


def test_a_container_that_is_gone(in_azure: Patient, service: BlobServiceClient, container: str) -> None:
    service.delete_container(f"{container}-keys")
    try:
        found = bad(in_azure.examine())
    finally:
        service.create_container(f"{container}-keys")
    assert {*found} == {"data keys"}


def test_a_key_that_is_disabled(in_azure: Patient, vault: Vault) -> None:
    vault.keys["casevault"][-1].attributes["enabled"] = False
    found = bad(in_azure.examine())
    assert {*found} == {"key"}
    assert "is disabled; enable it in the vault" in found["key"]


def test_a_bucket_that_cannot_be_a_witness(patient: Patient, buckets: Buckets) -> None:
    patient.told["CASEVAULT_WITNESS_ENDPOINT"] = buckets.endpoint
    patient.told["CASEVAULT_WITNESS_BUCKET"] = buckets.new()
    patient.make()
    assert bad(patient.examine()) == {}
    unlocked = bad(patient.examine(CASEVAULT_WITNESS_BUCKET=buckets.new(lock=False, mode=None)))
    assert {*unlocked} == {"witness"}
    assert "has no Object Lock: make a bucket with Object Lock enabled" in unlocked["witness"]
    assert "NoSuchBucket" in bad(patient.examine(CASEVAULT_WITNESS_BUCKET="not-there"))["witness"]
