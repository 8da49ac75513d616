"""The identity of a process in Azure, by the real client: which one is asked for, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from retention.adapters import AzureConnections
from retention.config_azure import AzureSettings
from tests.servers.identity import IdentityEndpoint

RESOURCE = "https://vault.example"
SCOPE = f"{RESOURCE}/.default"
OTHER = "https://storage.example"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityEndpoint]:
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    with closing(IdentityEndpoint({RESOURCE: lambda: "a token", OTHER: lambda: "another"})) as endpoint:
        for name, value in endpoint.environment.items():
            monkeypatch.setenv(name, value)
        yield endpoint


def test_a_token_is_asked_for_once_and_each_resource_has_its_own(endpoint: IdentityEndpoint) -> None:
    credential = AzureConnections(AzureSettings()).credential
    for _ in range(3):
        assert credential.get_token(SCOPE).token == "a token"
    assert credential.get_token(f"{OTHER}/.default").token == "another"
    assert [asked["resource"] for asked in endpoint.asked] == [RESOURCE, OTHER]


def test_a_token_about_to_end_is_asked_for_anew(endpoint: IdentityEndpoint) -> None:
    endpoint.lifetime = 60
    credential = AzureConnections(AzureSettings()).credential
    for _ in range(2):
        credential.get_token(SCOPE)
    assert len(endpoint.asked) == 2


def test_a_user_assigned_identity_is_named_by_its_client_id(
    endpoint: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_ID", "11111111-2222-3333-4444-555555555555")
    AzureConnections(AzureSettings()).credential.get_token(SCOPE)
    assert [asked["client_id"] for asked in endpoint.asked] == ["11111111-2222-3333-4444-555555555555"]


def test_its_parts_share_one_identity(endpoint: IdentityEndpoint) -> None:
    azure = AzureConnections(AzureSettings())
    assert azure.credential is azure.credential
