"""The doctor on one machine: settings, files, certificate, issuer, log, the clock's work; each broken for real."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit.cosigning.cosignature import Cosigner
from audit.entry import Action
from functions.config import DEFAULTS
from intake_api.cli.doctor.running import Check, run_checks
from intake_api.cli.doctor.server_checks import FUNCTION_APP
from intake_api.cli.main import run
from intake_api.serve.certificates import local_certificate
from retention.assembly import assemble
from retention.clock import DevelopmentClock
from retention.config import from_environment
from retention.custody.context import entry
from retention.domain.actor import CLOCK
from retention.domain.faults import Unavailable
from retention.records.sqlite_engine import sqlite_engine
from tests.doctor.conftest import Patient, bad, timed
from tests.intake_api.cli.serving import Answer, Asked, Served

Start = Callable[[Callable[[Asked], Answer]], Served]


def test_a_sound_service_has_nothing_to_mend(patient: Patient) -> None:
    patient.make()
    lines = patient.examine()
    assert bad(lines) == {}
    assert {
        "settings",
        "state folder",
        "disk",
        "database",
        "bundles",
        "data keys",
        "key",
        "signing keys",
    } <= {*lines}
    assert {"log", "witness", "cosigners", "clock", "certificate", "issuer", "service"} <= {*lines}
    assert "SQLite" in lines["database"]["what"]
    assert not lines["service"]["good"]


def test_every_wrong_setting_is_named_and_what_stands_on_it_is_not_looked_at(patient: Patient) -> None:
    patient.make()
    found = bad(
        patient.examine(
            CASEVAULT_THREADS="many",
            CASEVAULT_UPLOAD_DAYS="0",
            CASEVAULT_WITNESS_DAYS="-1",
            CASEVAULT_LISTEN="everywhere",
            CASEVAULT_TREADS="3",
        )
    )
    for name in ("THREADS", "UPLOAD_DAYS", "WITNESS_DAYS", "LISTEN"):
        assert f"CASEVAULT_{name} must" in found["settings"]
    assert "CASEVAULT_TREADS is not a setting: did you mean CASEVAULT_THREADS?" in found["settings"]
    assert {*found} == {"settings", "witness", "time"}
    assert found["witness"] == "not checked: CASEVAULT_WITNESS_DAYS is wrong"


def test_what_follows_from_a_wrong_setting_is_not_told_as_well(patient: Patient) -> None:
    patient.make()
    patient.told.clear()
    found = bad(patient.examine(CASEVAULT_ISSUER="http://plain.example"))
    assert found == {
        "settings": "CASEVAULT_ISSUER must be an https address, not 'http://plain.example'",
    }
    assert "no issuer is configured" in bad(patient.examine())["settings"]


def test_the_settings_of_the_other_door_are_known() -> None:
    assert frozenset(DEFAULTS) == FUNCTION_APP


@pytest.mark.parametrize(
    ("check", "name", "said"),
    [
        ("key", "key-encryption-key.json", "chmod 600"),
        ("signing keys", "receipt-signing-key", "chmod 600"),
        ("state folder", "", "chmod 700"),
        ("witness", "witness", "chmod 700"),
    ],
)
def test_what_is_open_to_others_is_named_and_hides_nothing_else(
    patient: Patient, check: str, name: str, said: str
) -> None:
    patient.make()
    (patient.state / "witness").mkdir(mode=0o700, exist_ok=True)
    (patient.state / name).chmod(0o755)
    found = bad(patient.examine())
    assert {*found} == {check}
    assert said in found[check]


def test_a_key_that_is_gone_and_a_log_of_another_key(patient: Patient) -> None:
    patient.make()
    (patient.state / "key-encryption-key.json").unlink()
    shutil.copy(patient.state / "receipt-signing-key", patient.state / "log-signing-key")
    _log_something(patient, sequence=False)
    found = bad(patient.examine())
    assert {*found} == {"key"}  # nothing was signed yet, by whatever key
    assert "key-encryption-key.json" in found["key"]


def test_a_log_that_another_key_signed(patient: Patient) -> None:
    patient.make()
    _log_something(patient, sequence=True)
    shutil.copy(patient.state / "receipt-signing-key", patient.state / "log-signing-key")
    assert "does not verify with log-signing-key" in bad(patient.examine())["log"]


def _log_something(patient: Patient, *, sequence: bool) -> None:
    settings = from_environment({"CASEVAULT_STATE": str(patient.state), **patient.told})
    if not settings.key_file.exists():
        return
    services = assemble(settings)
    noted = entry(CLOCK, Action.RECORDS_RECONCILED, services.custody.clock.now())
    services.custody.records.write(lambda tx: tx.audit(noted))
    if sequence:
        services.sequencer.run_once()
    services.close()


def _pass(patient: Patient, time: timedelta) -> None:
    clock = DevelopmentClock(patient.state / "development-clock")
    clock.set(clock.now() + time)


def test_a_clock_that_does_not_run_is_found_by_what_waits(patient: Patient) -> None:
    patient.make()
    _log_something(patient, sequence=False)
    _pass(patient, timedelta(minutes=30))
    found = bad(patient.examine())
    assert {*found} == {"clock"}
    assert "an entry has waited for its place in the log for 30 min" in found["clock"]


def test_tiles_of_before_are_the_cause_that_is_named_and_the_command_heals_them(
    patient: Patient, capsys: pytest.CaptureFixture[str]
) -> None:
    patient.make()
    _log_something(patient, sequence=True)
    shutil.copytree(patient.state / "log", patient.state / "log-copy")
    _log_something(patient, sequence=True)
    shutil.rmtree(patient.state / "log")
    (patient.state / "log-copy").rename(patient.state / "log")
    _log_something(patient, sequence=False)
    _pass(patient, timedelta(minutes=30))
    found = bad(patient.examine())
    assert {*found} == {"log", "witness", "clock"}
    for line in ("log", "clock"):
        assert "its store lacks tiles of the signed entries 1 to 2" in found[line]
        assert "casevault reconcile" in found[line]
        assert "is the clock running" not in found[line]
    assert run(["reconcile", "--state", str(patient.state), "--development", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tiles_rebuilt"] == 1
    assert "log" not in bad(patient.examine())


def test_a_restored_database_is_the_cause_that_is_named(patient: Patient) -> None:
    patient.make()
    _log_something(patient, sequence=True)
    shutil.copy(patient.state / "records.db", patient.state / "copy.db")
    _log_something(patient, sequence=True)
    (patient.state / "copy.db").rename(patient.state / "records.db")
    found = bad(patient.examine())
    assert {"log", "reading"} <= {*found}
    for line in ("log", "reading"):
        assert "1 entries of a log of 2" in found[line]
        assert "casevault reconcile" in found[line]


def test_a_witness_that_is_away_shuts_reading_and_a_waiver_is_told(
    patient: Patient, capsys: pytest.CaptureFixture[str]
) -> None:
    patient.make()
    (patient.state / "witness").write_text("no folder: whoever looks into it gets an error")
    found = bad(patient.examine())
    assert {*found} == {"reading", "witness"}
    assert "reconcile --without-witness" in found["reading"]
    waive = ["reconcile", "--state", str(patient.state), "--development"]
    assert run(waive) == 1
    assert run([*waive, "--without-witness"]) == 2  # say why
    assert run([*waive, "--without-witness", "--reason", "the disk is away", "--hours", "2"]) == 0
    capsys.readouterr()
    lines = patient.examine()
    assert lines["reading"]["good"]
    assert "the witness was waived until" in lines["reading"]["what"]


def test_a_witness_that_lags_is_found(patient: Patient) -> None:
    patient.make()
    _log_something(patient, sequence=True)
    _pass(patient, timedelta(minutes=11))
    found = bad(patient.examine())
    assert {*found} == {"witness"}
    assert "lacks a checkpoint that is 11 min old" in found["witness"]


@pytest.mark.parametrize(
    ("age", "said"), [(timedelta(days=200), "expired on"), (timedelta(days=170), "renew it now")]
)
def test_a_certificate_that_ends(patient: Patient, tmp_path: Path, age: timedelta, said: str) -> None:
    patient.make()
    old = local_certificate(tmp_path / "tls", datetime.now(UTC) - age)
    told = {"CASEVAULT_TLS_CERTIFICATE": str(old.certificate), "CASEVAULT_TLS_KEY": str(old.key)}
    found = bad(patient.examine(**told))
    assert {*found} == {"certificate"}
    assert said in found["certificate"]


def test_a_certificate_that_does_not_fit(patient: Patient, tmp_path: Path) -> None:
    patient.make()
    one, other = (local_certificate(tmp_path / name, datetime.now(UTC)) for name in ("one", "other"))
    told = {"CASEVAULT_TLS_CERTIFICATE": str(one.certificate), "CASEVAULT_TLS_KEY": str(other.key)}
    assert "must be a pair" in bad(patient.examine(**told))["certificate"]
    told = {"CASEVAULT_TLS_CERTIFICATE": str(one.certificate), "CASEVAULT_TLS_KEY": str(one.key)}
    blobs = {"CASEVAULT_BLOB_LISTEN": "127.0.0.1:8444", "CASEVAULT_BLOB_ORIGIN": "https://blobs.example.com"}
    assert "is not for blobs.example.com" in bad(patient.examine(**told, **blobs))["certificate"]
    named = {"CASEVAULT_ORIGIN": "https://vault.example.com"}
    assert "is not for vault.example.com" in bad(patient.examine(**told, **named))["certificate"]
    one.key.chmod(0o644)
    assert "chmod 600" in bad(patient.examine(**told))["certificate"]
    one.certificate.write_text("no certificate")
    one.certificate.chmod(0o600)
    assert "does not hold a certificate" in bad(patient.examine(**told))["certificate"]


def test_an_issuer_that_is_another_or_publishes_no_key(patient: Patient, start: Start) -> None:
    patient.make()
    del patient.told["CASEVAULT_DEVELOPMENT"]
    named = {"issuer": ""}

    def script(asked: Asked) -> Answer:
        if asked.path == "/jwks":
            return Answer(body=b'{"keys": []}')
        return Answer(body=json.dumps({**named, "jwks_uri": f"{server.url}/jwks"}).encode())

    server = start(script)
    told = {"CASEVAULT_ISSUER": server.url, "CASEVAULT_ISSUER_CA": str(server.ca)}
    assert "names another issuer" in bad(patient.examine(**told))["issuer"]
    named["issuer"] = server.url
    assert "publishes no key" in bad(patient.examine(**told))["issuer"]
    assert "CASEVAULT_ISSUER_CA" in bad(patient.examine(CASEVAULT_ISSUER=server.url))["issuer"]


def test_cosigners_that_are_away_or_are_none(patient: Patient, start: Start) -> None:
    patient.make()
    status = 400
    server = start(lambda _: Answer(status))
    there, away = (Cosigner(f"{name}.test/w", bytes(32)).verifier.key for name in ("there", "away"))
    asked = f"{there} {server.url}/witness"
    told = {"CASEVAULT_COSIGNERS": asked, "CASEVAULT_COSIGNERS_CA": str(server.ca)}
    assert "cosigners" not in bad(patient.examine(**told))
    found = bad(patient.examine(**{**told, "CASEVAULT_COSIGNERS": f"{asked},{away} https://127.0.0.1:9/"}))
    assert found["cosigners"] == "away.test/w: ConnectionRefusedError"
    status = 404
    assert "responds 404" in bad(patient.examine(**told))["cosigners"]


def test_a_part_that_hangs_is_given_up_and_hides_nothing(patient: Patient) -> None:
    patient.make()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://casevault:x@127.0.0.1:{silent.getsockname()[1]}/casevault"
        lines, seconds = timed(lambda: patient.examine("--patience", "2", CASEVAULT_DATABASE_URL=url))
    found = bad(lines)
    assert found["database"] == "no response within 2 seconds: it hangs, or the line to it does"
    standing = {"database", "schema", "access", "reading", "witness", "clock", "time"}
    assert {*found} == standing  # all that stands on it
    assert seconds < 15


def test_an_error_that_nobody_thought_of_is_one_line_too() -> None:
    def odd() -> str:
        raise ZeroDivisionError("by\nnothing")

    results = run_checks([Check("odd", odd), Check("even", lambda: "two")], {}, 5)
    assert [(each.good, each.what) for each in results] == [
        (False, "ZeroDivisionError: by nothing"),
        (True, "two"),
    ]


def test_a_folder_of_something_else_is_not_taken_for_a_service(patient: Patient) -> None:
    patient.state.mkdir(mode=0o700)
    assert "is not the state folder of a service" in bad(patient.examine())["service's parts"]
    assert list(patient.state.iterdir()) == []


def test_where_no_service_is_set_up_only_the_way_to_one_is_looked_at(patient: Patient) -> None:
    assert {*patient.examine()} == {"this machine", "settings", "service", "line"}


def test_what_was_done_to_the_database_behind_the_services_back_is_named(patient: Patient) -> None:
    patient.make()
    engine = sqlite_engine(patient.state / "records.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE INDEX mine ON audit_entries (actor, action)")
    lines = patient.examine()
    assert bad(lines) == {}
    assert "foreign index mine" in lines["schema"]["what"]
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER quiet AFTER INSERT ON audit_entries BEGIN DELETE FROM audit_entries; END"
        )
        connection.exec_driver_sql("INSERT INTO tenants VALUES ('ten_forged', 'X', 'x', 1, NULL)")
    engine.dispose()
    found = bad(patient.examine())
    assert "foreign trigger quiet" in found["schema"]
    assert "tenant ten_forged is not what was bound" in found["access"]
    with pytest.raises(Unavailable, match="trigger quiet"):
        assemble(from_environment({"CASEVAULT_STATE": str(patient.state), **patient.told}))
