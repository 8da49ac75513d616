"""Who holds which key: a process that is told the public ones reads no seed, and signs nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from audit.tlog.checkpoint import Signer
from intake_api import config as server_settings
from retention.assembly import assemble, initialise, public_keys
from retention.config import SettingError, Settings, from_environment
from retention.custody import receipts
from retention.jobs.sequencing import sequence_once
from retention.keys.signing import LINK_KEY, LOG_KEY, RECEIPT_KEY, SigningKeyRefused


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(state=tmp_path / "state")
    initialise(made)
    return made


def test_with_public_keys_no_key_that_signs_is_read(settings: Settings) -> None:
    keys = public_keys(settings)
    for name in (LOG_KEY, RECEIPT_KEY):
        (settings.state / name).unlink()
    services = assemble(dataclasses.replace(settings, public_keys=keys))
    try:
        assert (services.log_key, services.receipt_key) == (keys.log, keys.receipts)
        assert services.signing is None
        for sign in (
            lambda: services.sequencer,
            lambda: services.log_signer,
            lambda: services.receipt_signer,
            lambda: sequence_once(services),
        ):
            with pytest.raises(SigningKeyRefused, match="holds no key that signs"):
                sign()
    finally:
        services.close()


def test_without_links_their_key_is_not_read_and_nothing_is_derived(settings: Settings) -> None:
    (settings.state / LINK_KEY).unlink()
    services = assemble(settings, links=False)
    try:
        assert not (settings.state / LINK_KEY).exists()
        with pytest.raises(SigningKeyRefused, match="no key of upload links"):
            services.link_keys.key_of("lnk_1")
        assert receipts.sign_waiting(services.custody.records, services.receipt_signer) == 0
    finally:
        services.close()


LOG, RECEIPTS = (Signer(f"casevault.local/{name}", bytes(32)).verifier.key for name in ("log", "receipts"))


def test_public_keys_are_those_of_this_log() -> None:
    told = {"CASEVAULT_LOG_VERIFIER": LOG, "CASEVAULT_RECEIPT_VERIFIER": RECEIPTS}
    keys = from_environment(told).public_keys
    assert keys is not None
    assert (keys.log.key, keys.receipts.key) == (LOG, RECEIPTS)
    assert from_environment({}).public_keys is None


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"CASEVAULT_LOG_VERIFIER": LOG}, "set both or neither"),
        ({"CASEVAULT_RECEIPT_VERIFIER": RECEIPTS}, "set both or neither"),
        ({"CASEVAULT_LOG_VERIFIER": "key", "CASEVAULT_RECEIPT_VERIFIER": RECEIPTS}, "is not a verifier key"),
        (
            {"CASEVAULT_LOG_VERIFIER": RECEIPTS, "CASEVAULT_RECEIPT_VERIFIER": RECEIPTS},
            "CASEVAULT_LOG_ORIGIN",
        ),
    ],
)
def test_public_keys_that_cannot_be_are_refused_by_name(told: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        from_environment(told)


def test_a_service_that_signs_nothing_has_no_clock() -> None:
    told = {
        "CASEVAULT_DEVELOPMENT": "1",
        "CASEVAULT_LOG_VERIFIER": LOG,
        "CASEVAULT_RECEIPT_VERIFIER": RECEIPTS,
    }
    with pytest.raises(SettingError, match="CASEVAULT_CLOCK=functions"):
        server_settings.from_environment(told)
    assert server_settings.from_environment({**told, "CASEVAULT_CLOCK": "functions"}).custody.public_keys
