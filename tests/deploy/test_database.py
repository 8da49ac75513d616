"""database.sql on a real server: an administrator makes the schema, each door has its rights, nobody else gets in."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ProgrammingError

from retention.records.migrate import NotOurSchema, current_version, downgrade, give_rights_anew, upgrade
from retention.records.postgres_engine import postgres_engine
from tests.deploy.site import ROOT
from tests.servers.postgres import PostgresServer

ADMINISTRATORS = "casevault administrators"
DOORS = ("casevault-api", "casevault-clock")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """With the roles that Azure would have made of the Entra group and the identities, and a stranger."""
    server = PostgresServer()
    try:
        server.admin(f'CREATE ROLE "{ADMINISTRATORS}" LOGIN CREATEROLE CREATEDB')
        server.admin(*(f'CREATE ROLE "{name}" LOGIN' for name in (*DOORS, "stranger")))
        done = run_script(server)
        assert done.returncode == 0, done.stderr
        yield server
    finally:
        server.remove()


def run_script(server: PostgresServer) -> subprocess.CompletedProcess[str]:
    named = {"api": DOORS[0], "clock": DOORS[1], "administrators": ADMINISTRATORS}
    command = [
        *(str(shutil.which("psql")), "--no-psqlrc", "-h", str(server.folder), "-p", str(server.port)),
        *("-U", ADMINISTRATORS, "-d", "postgres", "-f", str(ROOT / "docs/deploy/database.sql")),
        *(word for name, value in named.items() for word in ("-v", f"{name}={value}")),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def engine(server: PostgresServer, user: str) -> Engine:
    query = {"host": str(server.folder), "port": str(server.port)}
    return postgres_engine(
        URL.create("postgresql", user, database="casevault", query=query).render_as_string(False)
    )


def rows(server: PostgresServer, user: str, statement: str) -> list[tuple[str, ...]]:
    opened = engine(server, user)
    try:
        with opened.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]
    finally:
        opened.dispose()


@pytest.fixture(scope="module")
def migrated(server: PostgresServer) -> PostgresServer:
    made = engine(server, ADMINISTRATORS)
    upgrade(made)
    made.dispose()
    return server


def test_what_the_administrator_makes_belongs_to_the_services_role(migrated: PostgresServer) -> None:
    owners = rows(
        migrated, ADMINISTRATORS, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    )
    assert owners == [("casevault",)]


@pytest.mark.parametrize("door", DOORS)
def test_each_door_sees_the_schema_and_may_not_change_it(migrated: PostgresServer, door: str) -> None:
    opened = engine(migrated, door)
    assert current_version(opened) is not None
    upgrade(opened)  # nothing to do
    for statement in (
        "CREATE TABLE newer (id int)",
        "DROP TABLE bundles",
        "ALTER TABLE bundles ADD newer int",
    ):
        with opened.connect() as connection, pytest.raises(ProgrammingError):
            connection.execute(text(statement))
    opened.dispose()
    assert rows(migrated, door, "SELECT count(*) FROM bundles") == [(0,)]


@pytest.mark.parametrize("door", DOORS)
def test_a_door_on_an_older_schema_says_who_brings_it_up_to_date(server: PostgresServer, door: str) -> None:
    owner, opened = engine(server, ADMINISTRATORS), engine(server, door)
    upgrade(owner)
    downgrade(owner, "0003")
    try:
        with pytest.raises(NotOurSchema, match="administrator run `casevault init`"):
            upgrade(opened)
    finally:
        upgrade(owner)
        owner.dispose()
        opened.dispose()
    assert rows(server, door, "SELECT count(*) FROM receipts") == [(0,)]


def test_roles_that_were_made_after_the_schema_get_their_rights_by_init(server: PostgresServer) -> None:
    owner = engine(server, ADMINISTRATORS)
    upgrade(owner)
    with owner.begin() as connection:
        connection.execute(
            text("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM casevault_api, casevault_clock")
        )
    give_rights_anew(owner)
    owner.dispose()
    for door in DOORS:
        assert rows(server, door, "SELECT count(*) FROM audit_entries") == [(0,)]


@pytest.mark.parametrize("door", DOORS)
def test_a_door_may_do_nothing_beyond_its_database(migrated: PostgresServer, door: str) -> None:
    with psycopg.connect(
        host=str(migrated.folder), port=migrated.port, user=door, dbname="postgres", autocommit=True
    ) as connection:
        for statement in ("CREATE ROLE another", "CREATE DATABASE another", 'DROP ROLE "stranger"'):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_nobody_else_gets_in(migrated: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(host=str(migrated.folder), port=migrated.port, user="stranger", dbname="casevault")


def test_run_twice_it_stops_and_says_why(migrated: PostgresServer) -> None:
    done = run_script(migrated)
    assert done.returncode != 0
    assert "already exists" in done.stderr


def test_the_script_and_the_templates_call_the_roles_alike() -> None:
    sql = (ROOT / "docs/deploy/database.sql").read_text()
    identities = Path(ROOT / "docs/deploy/modules/identities.bicep").read_text()
    for door in ("api", "clock"):
        assert f':"{door}"' in sql
        assert f"name: '${{prefix}}-{door}'" in identities
