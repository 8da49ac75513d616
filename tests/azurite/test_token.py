"""By a token over https, as in production: no shared key. Azurite checks the token's claims, not its signature."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from retention.envelope.data_keys import WrappedKey
from retention.objects.azure.account_check import inspect_account, make_container
from retention.objects.azure.blob_service import connect
from retention.objects.azure.key_store import AzureBlobKeyStore
from retention.objects.azure.part_store import AzureBlobObjectStore
from retention.objects.store_errors import StoreUnavailable
from tests.azurite.conftest import ACCOUNT, azurite
from tests.contracts.object_store_contract import pattern, read, write
from tests.fakes.ids import bundle, part
from tests.keyvault.vault import make_certificate

B = bundle(1)


class Identity:
    """A token as Entra ID issues them, of these claims' shape; `scopes` notes what it was asked for."""

    def __init__(self, audience: str = "https://storage.azure.com") -> None:
        self.audience = audience
        self.scopes: set[str] = set()

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        self.scopes |= set(scopes)
        now, end = datetime.now(UTC), datetime.now(UTC) + timedelta(hours=1)
        issuer = "https://sts.windows.net/00000000-0000-4000-8000-000000000000/"
        claims = {
            "aud": self.audience,
            "iss": issuer,
            "iat": now,
            "nbf": now - timedelta(minutes=5),
            "exp": end,
        }
        return AccessToken(jwt.encode(claims, "k" * 32, "HS256"), int(end.timestamp()))


class Nobody:
    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        raise ClientAuthenticationError("no identity here")


@pytest.fixture(scope="module")
def https(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("azurite-https")
    certificate = folder / "server.pem"
    make_certificate(certificate)
    options = ["--oauth", "basic", "--cert", certificate, "--key", certificate]
    with azurite(node_modules, folder, *options) as port:
        yield f"https://127.0.0.1:{port}/{ACCOUNT}", certificate


@pytest.fixture
def account_url(https: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(https[1]))
    return https[0]


def test_bundles_and_keys_are_kept_by_a_token_alone(account_url: str) -> None:
    identity = Identity()
    service = connect(account_url, identity)
    for name in ("bundles", "data-keys"):
        make_container(service, name)
        make_container(service, name)
        assert inspect_account(service, name) == []
    store, keys = AzureBlobObjectStore(service, "bundles"), AzureBlobKeyStore(service, "data-keys")
    wrapped = WrappedKey("kek-1", "test", b"first" * 12)
    keys.put(B, wrapped)
    write(store, B, part(1), pattern(9 << 20))
    store.complete(B, [part(1)])
    assert read(store, B, part(1)) == pattern(9 << 20)
    assert keys.get(B) == wrapped
    assert identity.scopes == {"https://storage.azure.com/.default"}


def test_a_token_for_something_else_is_refused(account_url: str) -> None:
    store = AzureBlobObjectStore(connect(account_url, Identity("https://vault.azure.net")), "bundles")
    with pytest.raises(StoreUnavailable, match="identity"):
        store.check()


def test_a_process_without_an_identity_is_told_so(account_url: str) -> None:
    with pytest.raises(StoreUnavailable, match="does not accept this service's identity"):
        AzureBlobObjectStore(connect(account_url, Nobody()), "bundles").check()
