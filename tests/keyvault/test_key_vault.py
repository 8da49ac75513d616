"""What a vault may answer, and what the wrapper makes of it. Driven through the real client, over HTTPS."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from retention.envelope.data_keys import DataKey, WrappedKey
from retention.envelope.format import (
    KeyWrapperError,
    KeyWrapperUnavailable,
    UnknownKeyEncryptionKey,
    WrappedKeyBroken,
)
from retention.keys.key_vault import KeyVaultWrapper
from retention.keys.vault_service import LONGEST_PAUSE, TRIES, VaultPatience
from tests.fakes.ids import bundle
from tests.keyvault.conftest import MakeVault
from tests.keyvault.vault import Credential, Fault, Vault

B = bundle(1)
NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def wrapped(wrapper: KeyVaultWrapper) -> WrappedKey:
    return wrapper.wrap(DataKey.generate(), B)


def use(wrapper: KeyVaultWrapper) -> None:
    """Wrap and unwrap."""
    key = DataKey.generate()
    assert wrapper.unwrap(wrapper.wrap(key, B), B) == key


def operations(vault: Vault) -> list[str]:
    return [request.rpartition("/")[2] for request in vault.requests if request.startswith("POST")]


def test_the_algorithm_follows_from_the_kind_of_key(vault: Vault, wrapped: WrappedKey) -> None:
    assert wrapped.algorithm == {"RSA": "RSA-OAEP-256", "AES": "A256KW"}[vault.kind]
    assert wrapped.kek_id == f"{vault.key_url('casevault')}/{vault.keys['casevault'][0].number}"


def test_every_wrap_and_unwrap_is_the_vaults_act(
    vault: Vault, wrapper: KeyVaultWrapper, wrapped: WrappedKey
) -> None:
    wrapper.unwrap(wrapped, B)
    assert operations(vault) == ["wrapkey", "unwrapkey"]


def test_a_key_wrapped_by_one_process_unwraps_in_another(vault: Vault, wrapper: KeyVaultWrapper) -> None:
    key = DataKey.generate()
    other = KeyVaultWrapper(vault.key_url("casevault"), Credential(vault))
    assert other.unwrap(wrapper.wrap(key, B), B) == key


def test_a_token_is_asked_for_the_vaults_own_scope(vault: Vault) -> None:
    credential = Credential(vault)
    use(KeyVaultWrapper(vault.key_url("casevault"), credential))
    assert set(credential.scopes) == {f"https://vault.test:{vault.port}/.default"}


def test_a_challenge_for_another_domain_gets_no_token(vault: Vault) -> None:
    vault.resource = "https://elsewhere.example"
    credential = Credential(vault)
    with pytest.raises(KeyWrapperUnavailable, match="does not respond as a key vault"):
        use(KeyVaultWrapper(vault.key_url("casevault"), credential))
    assert credential.scopes == []


def test_a_disabled_key_refuses_reads_and_new_bundles_until_it_is_enabled(
    vault: Vault, wrapper: KeyVaultWrapper, wrapped: WrappedKey
) -> None:
    attributes = vault.keys["casevault"][0].attributes
    attributes["enabled"] = False
    for call in (
        lambda: wrapper.unwrap(wrapped, B),
        lambda: wrapper.wrap(DataKey.generate(), B),
        lambda: wrapper.current_kek_id,
    ):
        with pytest.raises(KeyWrapperUnavailable, match="is disabled; enable it"):
            call()
    attributes["enabled"] = True
    wrapper.unwrap(wrapped, B)
    use(wrapper)


def test_disabling_an_old_version_leaves_new_bundles_alone(
    vault: Vault, wrapper: KeyVaultWrapper, wrapped: WrappedKey
) -> None:
    vault.rotate("casevault")
    vault.keys["casevault"][0].attributes["enabled"] = False
    use(wrapper)
    with pytest.raises(KeyWrapperUnavailable, match="is disabled"):
        wrapper.unwrap(wrapped, B)


def test_a_throttling_vault_is_given_the_time_it_asks_for(
    vault: Vault, wrapper: KeyVaultWrapper, wrapped: WrappedKey, waits: list[float]
) -> None:
    vault.faults.extend(
        [Fault(429, headers={"Retry-After": "3"}), Fault(429, headers={"Retry-After": "3600"})]
    )
    wrapper.unwrap(wrapped, B)
    assert 3 <= waits[0] <= 4.5 and waits[1:] == [LONGEST_PAUSE]


@pytest.mark.parametrize("fault", [Fault(429), Fault(503), Fault(500), Fault()], ids=repr)
def test_passing_faults_of_an_operation_are_waited_out(
    vault: Vault, wrapper: KeyVaultWrapper, wrapped: WrappedKey, fault: Fault
) -> None:
    vault.faults.extend([fault] * (TRIES - 1))
    wrapper.unwrap(wrapped, B)
    assert operations(vault).count("unwrapkey") == TRIES


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault(429), "is throttling"),
        (Fault(503), "cannot be used now"),
        (Fault(), "cannot be reached"),
        (Fault(403), "is forbidden to this service"),
        (Fault(403, "ForbiddenByFirewall"), "firewall"),
        (Fault(403, "KeyExpired"), "has expired"),
        (Fault(404), "is not in the vault"),
        (Fault(400), "cannot be used now"),
    ],
    ids=repr,
)
def test_a_lasting_fault_is_told_by_its_cause(
    vault: Vault, wrapper: KeyVaultWrapper, fault: Fault, cause: str
) -> None:
    vault.faults.extend([fault] * TRIES)
    with pytest.raises(KeyWrapperUnavailable, match=cause) as told:
        wrapper.wrap(DataKey.generate(), B)
    assert "said by the vault" not in str(told.value)


def test_a_vault_that_is_not_there_is_unavailable(make_vault: MakeVault, waits: list[float]) -> None:
    vault = make_vault("RSA")
    vault.port = 1
    wrapper = KeyVaultWrapper(vault.key_url("casevault"), Credential(vault), VaultPatience(waits.append))
    with pytest.raises(KeyWrapperUnavailable, match="cannot be reached"):
        use(wrapper)


def test_a_process_without_an_identity_is_told_so(vault: Vault) -> None:
    class NoopObserver:
        def get_token(self, *scopes: str, **_: object) -> AccessToken:
            raise ClientAuthenticationError("no identity here")

    wrapper = KeyVaultWrapper(vault.key_url("casevault"), NoopObserver())
    with pytest.raises(KeyWrapperUnavailable, match="does not accept this service's identity"):
        wrapper.wrap(DataKey.generate(), B)


def test_a_version_that_is_gone_is_unknown(
    vault: Vault, wrapper: KeyVaultWrapper, wrapped: WrappedKey
) -> None:
    vault.rotate("casevault")
    vault.keys["casevault"].pop(0)
    with pytest.raises(UnknownKeyEncryptionKey, match="Recover it"):
        wrapper.unwrap(wrapped, B)


def test_a_stored_object_cannot_send_us_to_another_key(
    vault: Vault, make_vault: MakeVault, wrapper: KeyVaultWrapper, wrapped: WrappedKey
) -> None:
    other = make_vault(vault.kind)
    number = other.rotate("casevault").number
    vault.rotate("another")
    asked = len(vault.requests)
    for kek_id in (
        f"{other.key_url('casevault')}/{number}",
        f"{vault.key_url('another')}/{vault.keys['another'][0].number}",
        f"{vault.key_url('casevault')}/../another/{number}",
        vault.key_url("casevault"),
        f"{wrapped.kek_id}/",
        f"{wrapped.kek_id}?x",
        "",
    ):
        with pytest.raises(UnknownKeyEncryptionKey):
            wrapper.unwrap(replace(wrapped, kek_id=kek_id), B)
    assert len(vault.requests) == asked
    assert other.requests == []


@pytest.mark.parametrize("payload", [b"k" * 32, b"s" * 16 + b"k" * 32 + bytes(32), b"k" * 88])
def test_what_somebody_else_wrapped_by_the_same_key_is_refused(
    vault: Vault, wrapper: KeyVaultWrapper, wrapped: WrappedKey, payload: bytes
) -> None:
    sealed = vault.keys["casevault"][0].crypt("wrapkey", wrapped.algorithm, payload)
    with pytest.raises(WrappedKeyBroken):
        wrapper.unwrap(replace(wrapped, sealed=sealed), B)


def test_rotating_makes_a_new_version_current(
    vault: Vault, wrapper: KeyVaultWrapper, wrapped: WrappedKey
) -> None:
    fresh = wrapper.rotate(NOW)
    assert fresh == wrapper.current_kek_id != wrapped.kek_id
    assert wrapper.wrap(DataKey.generate(), B).kek_id == fresh
    wrapper.unwrap(wrapped, B)


def test_a_key_of_another_kind_is_refused_with_the_reason(vault: Vault, wrapper: KeyVaultWrapper) -> None:
    version = vault.keys["casevault"][0]
    version.jwk = lambda kid: {"kid": kid, "kty": "EC", "crv": "P-256"}  # type: ignore[method-assign]
    with pytest.raises(KeyWrapperUnavailable, match="of kind EC; an RSA or AES key"):
        wrapper.wrap(DataKey.generate(), B)


@pytest.mark.parametrize(
    "url",
    [
        "http://a.vault.test/keys/k",
        "https://a.vault.test/keys/k/" + "0" * 32,
        "https://a.vault.test",
        "keys/k",
        "",
    ],
)
def test_only_a_keys_url_without_version_is_accepted(url: str) -> None:
    with pytest.raises(ValueError, match="without a version"):
        KeyVaultWrapper(url, Credential(Vault("RSA")))


def test_nothing_of_a_data_key_reaches_a_log_or_an_error(
    vault: Vault, wrapper: KeyVaultWrapper, caplog: pytest.LogCaptureFixture
) -> None:
    key = DataKey.generate()
    with caplog.at_level(logging.DEBUG):
        wrapped = wrapper.wrap(key, B)
        wrapper.unwrap(wrapped, B)
        vault.faults.extend([Fault(400)] * TRIES)
        with pytest.raises(KeyWrapperError) as told:
            wrapper.wrap(key, B)
    shown = caplog.text + repr(told.value)
    for secret in (key.reveal().hex(), repr(key.reveal())[2:-1], vault.token):
        assert secret not in shown


def test_capitals_in_the_configured_url_make_no_other_key(
    vault: Vault, wrapper: KeyVaultWrapper, wrapped: WrappedKey
) -> None:
    shouted = KeyVaultWrapper(
        vault.key_url("casevault").replace(vault.name, vault.name.upper()), Credential(vault)
    )
    assert shouted.current_kek_id == wrapper.current_kek_id
    assert shouted.unwrap(wrapped, B) == wrapper.unwrap(wrapped, B)
