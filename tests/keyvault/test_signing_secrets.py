"""Signing keys as secrets of a vault, read by the real client: what is refused, and what is never shown."""

from __future__ import annotations

import logging
import traceback

import pytest

from audit.tlog.checkpoint import Signer
from retention.keys.signing import LOG_KEY, SigningKeyRefused
from retention.keys.signing_secrets import SigningSecrets
from retention.keys.vault_service import VaultPatience
from tests.keyvault.conftest import MakeVault
from tests.keyvault.vault import Credential, Fault, Secret, Vault

SEED = bytes(range(32))
NAME = f"casevault-{LOG_KEY}"


@pytest.fixture
def vault(make_vault: MakeVault) -> Vault:
    vault = make_vault("secrets")
    vault.secrets[NAME] = Secret([SEED.hex()])
    return vault


@pytest.fixture
def signing(vault: Vault, waits: list[float]) -> SigningSecrets:
    return SigningSecrets(f"{vault.url}/", Credential(vault), VaultPatience(waits.append))


def refusal(signing: SigningSecrets) -> str:
    """What is said when the key cannot be had; nothing of it, causes included, holds the seed."""
    with pytest.raises(SigningKeyRefused) as caught:
        signing.read(LOG_KEY)
    whole = "".join(traceback.format_exception(caught.value))
    assert SEED.hex() not in whole
    assert repr(SEED) not in whole
    return str(caught.value)


def test_a_key_file_that_was_put_into_the_vault_signs_as_before(
    vault: Vault, signing: SigningSecrets
) -> None:
    vault.secrets[NAME] = Secret([f"{SEED.hex()}\n"])
    assert signing.read(LOG_KEY) == SEED
    signer = Signer("tests.example/log", signing.read(LOG_KEY))
    assert signer.verifier == Signer("tests.example/log", SEED).verifier


def test_the_current_version_counts(vault: Vault, signing: SigningSecrets) -> None:
    vault.secrets[NAME].values.append(SEED[::-1].hex())
    assert signing.read(LOG_KEY) == SEED[::-1]


def test_a_disabled_secret_is_told_so_and_no_other_is_made(vault: Vault, signing: SigningSecrets) -> None:
    vault.secrets[NAME].enabled = False
    assert "is disabled; enable it" in refusal(signing)
    with pytest.raises(SigningKeyRefused, match="is disabled"):
        signing.make_missing(LOG_KEY)
    assert len(vault.secrets[NAME].values) == 1


def test_a_deleted_secret_is_to_be_recovered_and_no_other_is_made(
    vault: Vault, signing: SigningSecrets
) -> None:
    vault.secrets[NAME].deleted = True
    assert "recover the secret if it was deleted" in refusal(signing)
    with pytest.raises(SigningKeyRefused, match="a new key is never made in the place of a lost one"):
        signing.make_missing(LOG_KEY)
    assert len(vault.secrets[NAME].values) == 1


@pytest.mark.parametrize("value", ["", "no hex", SEED.hex()[:-2], SEED.hex() + "00"])
def test_what_is_no_seed_is_refused_and_not_quoted(vault: Vault, signing: SigningSecrets, value: str) -> None:
    vault.secrets[NAME].values.append(value)
    said = refusal(signing)
    assert "does not hold a signing key" in said
    assert not value or value not in said


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(403, "ForbiddenByRbac"), "Key Vault Secrets User"),
        (Fault(403, "ForbiddenByFirewall"), "firewall"),
        (Fault(401), "does not accept this service's identity"),
        (Fault(418), r"is unavailable now \(418\)"),
    ],
)
def test_a_refusal_is_told_as_what_a_person_can_mend(
    vault: Vault, signing: SigningSecrets, fault: Fault, said: str
) -> None:
    vault.faults.extend([fault] * 2)
    with pytest.raises(SigningKeyRefused, match=said):
        signing.read(LOG_KEY)


def test_throttling_and_cut_lines_are_waited_out(
    vault: Vault, signing: SigningSecrets, waits: list[float]
) -> None:
    vault.faults.extend([Fault(429, headers={"Retry-After": "4"}), Fault(), Fault(503)])
    assert signing.read(LOG_KEY) == SEED
    assert 4 <= waits[0] <= 6


def test_what_is_missing_is_made_once_and_kept_as_it_was_made(vault: Vault, signing: SigningSecrets) -> None:
    del vault.secrets[NAME]
    vault.faults.append(Fault(503))
    for _ in range(2):
        signing.make_missing(LOG_KEY)
    (kept,) = vault.secrets[NAME].values
    assert signing.read(LOG_KEY).hex() == kept


def test_a_vault_that_is_no_vault_is_told_so(vault: Vault, signing: SigningSecrets) -> None:
    vault.resource = "https://elsewhere.test"
    assert "does not respond as a key vault does" in refusal(signing)


def test_nothing_that_is_logged_holds_the_seed_or_a_token(
    vault: Vault, signing: SigningSecrets, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        signing.read(LOG_KEY)
        vault.faults.append(Fault(404))
        refusal(signing)
    assert caplog.text
    assert SEED.hex() not in caplog.text
    assert vault.token not in caplog.text
