"""The witness as it is set up: settings, assembly, and the step the clock takes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from audit.checkpoint import Signer
from audit.cosignature import Cosigner
from audit.cosigners import Cosignatory, Cosigners, Reply
from audit.entry import Action
from audit.tiles import COSIGNED_PATH, TileMissingError
from audit.witness_local import LocalWitness
from audit.witness_s3 import S3Witness
from retention.actor import CLOCK
from retention.assembly import Services, assemble, initialise
from retention.custody.context import entry
from retention.settings import SettingError, Settings, WitnessSettings, from_environment
from retention.witnessing import witness_once
from tests.fakes.buckets import Buckets
from tests.fakes.buckets import buckets as buckets

COSIGNER = Cosigner("witness.test/w1", bytes(32))


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    settings = Settings(state=tmp_path / "state")
    initialise(settings)
    services = assemble(settings)
    services.mirror._pause = timedelta(0)
    yield services
    services.close()


def log_something(services: Services) -> None:
    noted = entry(CLOCK, Action.RECORDS_RECONCILED, services.custody.clock.now())
    services.custody.records.write(lambda tx: tx.audit(noted))
    services.sequencer.run_once()


def test_the_defaults_are_a_folder_beside_the_records_and_a_year() -> None:
    settings = from_environment({"CASEVAULT_STATE": "/srv/casevault"})
    assert settings.witness == WitnessSettings(period=timedelta(days=365))
    assert settings.witness_folder == Path("/srv/casevault/witness")


def test_everything_can_be_set() -> None:
    settings = from_environment(
        {
            "CASEVAULT_WITNESS_FOLDER": "/mnt/worm",
            "CASEVAULT_WITNESS_BUCKET": "bucket",
            "CASEVAULT_WITNESS_ENDPOINT": "https://s3.example",
            "CASEVAULT_WITNESS_DAYS": "30",
            "CASEVAULT_COSIGNERS": f"{COSIGNER.verifier.key} https://w1.example/a, ",
        }
    )
    assert settings.witness == WitnessSettings(
        folder=Path("/mnt/worm"),
        bucket="bucket",
        endpoint="https://s3.example",
        period=timedelta(days=30),
        cosigners=(Cosignatory("https://w1.example/a", COSIGNER.verifier),),
    )
    assert settings.witness_folder == Path("/mnt/worm")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CASEVAULT_WITNESS_DAYS", "0"),
        ("CASEVAULT_COSIGNERS", "nonsense https://w1.example"),
        ("CASEVAULT_COSIGNERS", f"{Signer('a.test', bytes(32)).verifier.key} https://w1.example"),
        ("CASEVAULT_COSIGNERS", COSIGNER.verifier.key),
        ("CASEVAULT_COSIGNERS", f"{COSIGNER.verifier.key} http://w1.example"),
        ("CASEVAULT_COSIGN_LOGS", "nonsense"),
        ("CASEVAULT_COSIGN_LOGS", COSIGNER.verifier.key),
        ("CASEVAULT_COSIGN_LOGS", ",".join([Signer("a.test", bytes(32)).verifier.key] * 2)),
        ("CASEVAULT_COSIGN_NAME", "a name"),
    ],
)
def test_a_setting_that_cannot_be_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name):
        from_environment({name: value})


def test_the_step_after_the_sequencer_keeps_the_newest_checkpoint(services: Services) -> None:
    assert witness_once(services)  # nothing yet, nothing wrong
    for size in (1, 2):
        log_something(services)
        assert witness_once(services)
        assert services.witness.newest() == size
    assert isinstance(services.witness, LocalWitness)
    assert services.mirror.lag() == timedelta(0)


def test_a_witness_that_is_away_stops_nothing_and_is_caught_up_with(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    folder = services.settings.witness_folder
    log_something(services)
    folder.write_bytes(b"")  # in the place of the folder
    assert not witness_once(services)
    log_something(services)
    assert services.custody.tiles.get("checkpoint")
    assert "does not have the newest checkpoint" in caplog.text
    folder.unlink()
    assert witness_once(services)
    assert services.witness.newest() == 2


def test_what_is_kept_is_sent_to_be_cosigned(services: Services, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[bytes] = []

    def post(_: str, body: bytes) -> Reply:
        asked.append(body)
        if len(asked) > 1:
            return Reply(503, "", b"")
        text = body.decode().partition("\n\n")[2].rpartition("\n\n")[0] + "\n"
        return Reply(200, "", COSIGNER.cosign(text, services.custody.clock.now()).encode())

    cosigners = Cosigners(
        [Cosignatory("https://w1.example", COSIGNER.verifier)], services.custody.tiles, post
    )
    object.__setattr__(services, "cosigners", cosigners)
    with pytest.raises(TileMissingError):
        services.custody.tiles.get(COSIGNED_PATH)
    log_something(services)
    assert witness_once(services)
    cosigned = services.custody.tiles.get(COSIGNED_PATH)
    assert cosigned.startswith(services.custody.tiles.get("checkpoint"))
    assert witness_once(services)  # nothing new: nobody is asked
    assert len(asked) == 1
    log_something(services)
    with caplog.at_level(logging.WARNING):
        assert witness_once(services)
    assert "no cosignature by witness.test/w1: it answers 503" in caplog.text
    assert services.custody.tiles.get(COSIGNED_PATH) == cosigned


def test_a_bucket_takes_the_place_of_the_folder(tmp_path: Path, buckets: Buckets) -> None:
    place = WitnessSettings(bucket=buckets.new(), endpoint=buckets.endpoint)
    settings = Settings(state=tmp_path / "state", witness=place)
    initialise(settings)
    services = assemble(settings)
    try:
        services.mirror._pause = timedelta(0)
        assert services.witness.inspect() == []
        log_something(services)
        assert witness_once(services)
        assert isinstance(services.witness, S3Witness)
        assert services.witness.newest() == 1
        assert not settings.witness_folder.exists()
    finally:
        services.close()
