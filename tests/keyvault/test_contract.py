"""The contract suites on a key vault: the key wrapper's with an RSA key and with an AES key, and the signing keys'."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from retention.envelope.data_keys import KeyWrapper
from retention.keys.key_vault import KeyVaultWrapper
from retention.keys.signing import SigningKeys
from retention.keys.signing_secrets import SigningSecrets
from tests.contracts.key_wrapper_contract import KeyWrapperContract
from tests.contracts.signing_keys_contract import SigningKeysContract
from tests.keyvault.conftest import MakeVault
from tests.keyvault.vault import Credential, Vault


class TestKeyVaultWrapper(KeyWrapperContract):
    @pytest.fixture
    def rotate(self, vault: Vault) -> Callable[[], object]:
        """As an operator would, in the vault."""
        return lambda: vault.rotate("casevault")

    @pytest.fixture
    def stranger(self, vault: Vault, make_vault: MakeVault) -> KeyWrapper:
        other = make_vault(vault.kind)
        other.rotate("casevault")
        return KeyVaultWrapper(other.key_url("casevault"), Credential(other))


class TestSigningSecrets(SigningKeysContract):
    @pytest.fixture
    def signing(self, make_vault: MakeVault) -> SigningKeys:
        vault = make_vault("signing")
        return SigningSecrets(vault.url, Credential(vault))
