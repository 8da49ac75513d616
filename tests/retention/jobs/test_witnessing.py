"""The witness as it is set up: settings, assembly, and the step the clock takes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from audit.cosigning.client import Cosignatory, Cosigners
from audit.cosigning.cosignature import Cosigner
from audit.entry import Action
from audit.http_client import Reply
from audit.mirror.store_local import LocalMirrorStore
from audit.mirror.store_s3 import S3MirrorStore
from audit.tlog.checkpoint import Signer, claimed_size
from audit.tlog.tile_store import COSIGNED_PATH
from intake_api.serve.clock_process import run
from retention.assembly import Services, assemble, initialise
from retention.config import MirrorSettings, SettingError, Settings, from_environment
from retention.custody.context import entry
from retention.domain.actor import CLOCK
from retention.jobs.sequencing import cosign_once, witness_once
from tests.fakes.buckets import Buckets
from tests.fakes.buckets import buckets as buckets
from tests.intake_api.serve.serving import until
from tests.servers.schema import copied_schema

COSIGNER = Cosigner("witness.test/w1", bytes(32))


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    settings = Settings(state=tmp_path / "state")
    with copied_schema():
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
    assert settings.witness == MirrorSettings(period=timedelta(days=365))
    assert settings.witness_folder == Path("/srv/casevault/witness")


def test_everything_can_be_set() -> None:
    settings = from_environment(
        {
            "CASEVAULT_WITNESS_FOLDER": "/mnt/worm",
            "CASEVAULT_WITNESS_BUCKET": "bucket",
            "CASEVAULT_WITNESS_ENDPOINT": "https://s3.example",
            "CASEVAULT_WITNESS_DAYS": "30",
            "CASEVAULT_COSIGNERS": f"{COSIGNER.verifier.key} https://w1.example/a, ",
            "CASEVAULT_COSIGNERS_CA": "/etc/witnesses.pem",
        }
    )
    assert settings.witness == MirrorSettings(
        folder=Path("/mnt/worm"),
        bucket="bucket",
        endpoint="https://s3.example",
        period=timedelta(days=30),
        cosigners=(Cosignatory("https://w1.example/a", COSIGNER.verifier),),
        cosigner_authorities=Path("/etc/witnesses.pem"),
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
    assert isinstance(services.witness, LocalMirrorStore)
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


def ask(services: Services, post: Callable[[str, bytes], Reply]) -> Services:
    """The services, with one witness that is asked by `post`."""
    asked = Cosignatory("https://w1.example", COSIGNER.verifier)
    place = replace(services.settings.witness, cosigners=(asked,))
    cosigners = Cosigners([asked], services.custody.tiles, post)
    return replace(services, settings=replace(services.settings, witness=place), cosigners=cosigners)


def cosigned(services: Services, body: bytes) -> Reply:
    text = body.decode().partition("\n\n")[2].rpartition("\n\n")[0] + "\n"
    return Reply(200, "", COSIGNER.cosign(text, services.custody.clock.now()).encode())


def test_what_is_published_is_sent_to_be_cosigned_by_a_step_of_its_own(
    services: Services, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    def post(_: str, body: bytes) -> Reply:
        asked.append(body)
        return Reply(503, "", b"") if len(asked) > 1 else cosigned(services, body)

    monkeypatch.setattr("audit.cosigning.client.PAUSE", timedelta(0))
    services = ask(services, post)
    assert cosign_once(services)  # nothing yet, nothing wrong
    log_something(services)
    assert witness_once(services)
    assert asked == []
    assert cosign_once(services)
    note = services.custody.tiles.get(COSIGNED_PATH)
    assert note.startswith(services.custody.tiles.get("checkpoint"))
    assert cosign_once(services)  # nothing new: nobody is asked
    assert len(asked) == 1
    log_something(services)
    with caplog.at_level(logging.WARNING):
        assert not cosign_once(services)
    assert "no cosignature by witness.test/w1: it responds 503" in caplog.text
    assert services.custody.tiles.get(COSIGNED_PATH) == note


def test_a_witness_that_hangs_holds_neither_the_log_nor_its_copies_and_no_stop(services: Services) -> None:
    called, go_on, stop = threading.Event(), threading.Event(), threading.Event()

    def post(_: str, __: bytes) -> Reply:
        called.set()
        go_on.wait()
        return Reply(503, "", b"")

    services = ask(services, post)
    log_something(services)
    clock = threading.Thread(target=run, args=(services, 0.05, stop))
    clock.start()
    try:
        assert called.wait(20)
        for size in (2, 3):
            noted = entry(CLOCK, Action.RECORDS_RECONCILED, services.custody.clock.now())
            services.custody.records.write(lambda tx, noted=noted: tx.audit(noted))
            assert until(lambda size=size: services.witness.newest() == size)
        noted = entry(CLOCK, Action.RECORDS_RECONCILED, services.custody.clock.now())
        services.custody.records.write(lambda tx: tx.audit(noted))
        stop.set()
        clock.join(20)
        assert not clock.is_alive()
        assert claimed_size(services.custody.tiles.get("checkpoint").decode()) == 4
        assert not go_on.is_set()
    finally:
        stop.set()
        go_on.set()
        clock.join()


def test_a_bucket_takes_the_place_of_the_folder(tmp_path: Path, buckets: Buckets) -> None:
    place = MirrorSettings(bucket=buckets.new(), endpoint=buckets.endpoint)
    settings = Settings(state=tmp_path / "state", witness=place)
    initialise(settings)
    services = assemble(settings)
    try:
        services.mirror._pause = timedelta(0)
        assert services.witness.inspect() == []
        log_something(services)
        assert witness_once(services)
        assert isinstance(services.witness, S3MirrorStore)
        assert services.witness.newest() == 1
        assert not settings.witness_folder.exists()
    finally:
        services.close()
