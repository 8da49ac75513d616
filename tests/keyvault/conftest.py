"""Key vaults served over HTTPS under names of their own, which only this process can look up."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from retention.keys.key_vault import KeyVaultWrapper
from retention.keys.vault_service import VaultPatience
from tests.keyvault.vault import DOMAIN, Credential, Vault, make_certificate, serve

MakeVault = Callable[[str], Vault]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vault") / "server.pem"
    make_certificate(path)
    return path


@pytest.fixture
def make_vault(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeVault]:
    look_up = socket.getaddrinfo

    def local(host: Any, *args: Any, **kwargs: Any) -> Any:
        return look_up("127.0.0.1" if str(host).endswith(f".{DOMAIN}") else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", local)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("NO_PROXY", f".{DOMAIN}")
    with ExitStack() as stack:

        def make(kind: str) -> Vault:
            vault = Vault(kind)
            server = serve(vault, certificate)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return vault

        yield make


@pytest.fixture(params=["RSA", "AES"])
def vault(make_vault: MakeVault, request: pytest.FixtureRequest) -> Vault:
    vault = make_vault(request.param)
    vault.rotate("casevault")
    return vault


@pytest.fixture
def waits() -> list[float]:
    """The pauses that were made, in seconds."""
    return []


@pytest.fixture
def wrapper(vault: Vault, waits: list[float]) -> KeyVaultWrapper:
    return KeyVaultWrapper(vault.key_url("casevault"), Credential(vault), VaultPatience(waits.append))
