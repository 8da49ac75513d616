"""What `tests/bench/fill.py` writes is what the service would have: it starts on it, believes it and proves it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, func, select

from audit.entry import Entry
from audit.log.tables import audit_entries
from audit.times import from_microseconds, to_microseconds
from audit.tlog.overdue import Holdings
from audit.tlog.unaccounted import Kind, unaccounted
from retention.adapters import Adapters
from retention.config import Settings, from_environment
from retention.domain.row_tag import ACTOR, BUNDLE, STAMP, TENANT, Binding
from retention.keys.signing import BINDING_KEY
from retention.records.tables import actors, bundles, stamps, tenants
from tests.bench.fill import fill_service
from tests.bench.history import Case, History, name
from tests.intake_api.serve.serving import START, Service, free_port, until
from tests.servers.machines import casevault
from tests.servers.postgres import shared_server

BUNDLES, ENTRIES = 1000, 5000
NOW = datetime(2026, 11, 20, tzinfo=UTC)


@dataclass
class Filled(Service):
    """A service that was filled; `environ` is that of its process."""

    environ: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("filled")
    port = free_port()
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CASEVAULT_")},
        "CASEVAULT_STATE": str(folder / "state"),
        "CASEVAULT_DEVELOPMENT": "1",
        "CASEVAULT_LISTEN": f"127.0.0.1:{port}",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    if request.param == "postgres":
        server = shared_server()
        database = server.new_database()
        environ["CASEVAULT_DATABASE_URL"] = server.url(database)
    history = History(BUNDLES, ENTRIES, to_microseconds(datetime.now(UTC)))
    fill_service(from_environment(environ), history, f"https://127.0.0.1:{port}/development")
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", START], env=environ, stderr=out)
    service = Filled(folder / "state", port, log, process, environ=environ)
    try:
        assert until(service.is_ready, 120), log.read_text()
        yield service
    finally:
        service.stop()
        if request.param == "postgres":
            server.drop(database)


def _run(filled: Filled, *words: str) -> subprocess.CompletedProcess[str]:
    return casevault(*words, "--state", str(filled.state), environ=filled.environ)


def test_the_log_of_a_filled_service_is_sound_and_nothing_in_it_is_overdue_or_unallowed(
    filled: Filled,
) -> None:
    verdict = json.loads(_run(filled, "audit", "verify", "--json").stdout)
    assert verdict["good"] is True and verdict["leaves"] >= ENTRIES
    late = _run(filled, "audit", "overdue", "--json")
    assert (late.returncode, json.loads(late.stdout)) == (0, [])
    found = json.loads(_run(filled, "audit", "unaccounted", "--json").stdout)
    assert {one["what"] for one in found} <= {"unused-grant"}


def test_the_service_believes_the_rows(filled: Filled) -> None:
    """A grant is given only on an access that is bound; a case is shown to its customer's operator."""
    form = [("subject", "person-1@example.com"), ("role", "CaseVault.SupportEngineer")]
    engineer = _token(filled, form)
    given = filled.call(
        "POST",
        f"/cases/{9:015d}/grants",
        {**engineer, "Content-Type": "application/json"},
        json.dumps({"reason": "looking into it"}).encode(),
    )
    assert given.status == 201, given
    form = [("subject", "person-1@example.com"), ("directory", "directory-0"), ("role", "CaseVault.Operator")]
    shown = filled.call("GET", f"/bundles/{name('bun', 45)}", _token(filled, form))
    assert shown.status == 200 and shown.json()["id"] == name("bun", 45), shown


def _token(service: Service, form: list[tuple[str, str]]) -> dict[str, object]:
    kind: dict[str, object] = {"Content-Type": "application/x-www-form-urlencoded"}
    made = service.call("POST", "/development/token", kind, urlencode(form).encode())
    return {"Authorization": f"Bearer {made.json()['access_token']}"}


def test_every_row_of_a_thing_that_is_bound_has_its_tag(tmp_path: Path) -> None:
    settings_ = from_environment({"CASEVAULT_STATE": str(tmp_path / "state"), "CASEVAULT_DEVELOPMENT": "1"})
    fill_service(settings_, History(BUNDLES, ENTRIES, to_microseconds(NOW)), "https://issuer.example")
    binding = Binding(Adapters(settings_).signing_keys().read(BINDING_KEY))
    engine = create_engine(f"sqlite:///{settings_.records_file}")
    with engine.connect() as connection:
        for kind, table in ((BUNDLE, bundles), (ACTOR, actors), (STAMP, stamps), (TENANT, tenants)):
            rows = connection.execute(select(table)).all()
            assert rows and all(binding.holds_row(kind, row) for row in rows)
        assert connection.execute(select(func.count()).select_from(audit_entries)).scalar() == ENTRIES


def test_a_service_that_was_used_is_not_filled(tmp_path: Path) -> None:
    where = Settings(state=tmp_path / "state")
    history = History(BUNDLES, ENTRIES, to_microseconds(NOW))
    fill_service(where, history, "https://issuer.example")
    with pytest.raises(ValueError, match="there is a service already"):
        fill_service(where, History(BUNDLES, ENTRIES, to_microseconds(NOW)), "https://issuer.example")


@settings(max_examples=8, deadline=None)
@given(bundles_=st.integers(1, 4), more=st.integers(0, 9000))
def test_a_history_has_as_many_entries_as_asked_for_in_the_order_of_time(bundles_: int, more: int) -> None:
    history = History(1000 * bundles_, 5000 * bundles_ + more, to_microseconds(NOW))
    told = [each for each in history.acts() if not isinstance(each, Case)]
    moments = [at for at, *_ in told]
    assert len(told) == 5000 * bundles_ + more and moments == sorted(moments)
    assert moments[-1] <= to_microseconds(NOW)
    assert len({number for _, number, *_ in told}) == len(told)


def _leaves(history: History) -> Iterator[dict[str, object]]:
    for told in history.acts():
        if not isinstance(told, Case):
            at, number, action, more = told
            yield json.loads(
                Entry(id=name("ent", number), at=from_microseconds(at), action=action, **more).leaf()
            )


def test_a_tenth_of_what_is_left_comes_due_within_nine_days() -> None:
    holdings = Holdings()
    for leaf in _leaves(History(10_000, 50_000, to_microseconds(NOW))):
        holdings.take(leaf)
    due = len(holdings.overdue(NOW + timedelta(days=9)))
    assert not holdings.overdue(NOW)
    assert 0.05 < due / len(holdings.bundles) < 0.15


def test_no_read_of_a_whole_history_lacks_its_grant() -> None:
    found = unaccounted(_leaves(History(1000, 20_000, to_microseconds(NOW))), NOW)
    assert {one.kind for one in found} <= {Kind.UNUSED}


@pytest.mark.parametrize(("asked", "entries"), [(1500, 10_000), (0, 10), (1000, 4999)])
def test_a_history_that_cannot_be_told_is_refused(asked: int, entries: int) -> None:
    with pytest.raises(ValueError, match="asked for"):
        History(asked, entries, 0)
