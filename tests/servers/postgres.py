"""A private PostgreSQL for tests: real, in a folder of its own, gone when the tests end.

- It listens on a Unix socket (trust: its folder is closed to others) and on a loopback port (password).
- `durable=False` switches fsync off and lives in memory: for tests of order, not of durability.
- Where PostgreSQL is not installed the tests that need it fail: they are not skipped.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

import psycopg
from sqlalchemy.engine import URL

from retention.records.migrate import upgrade
from retention.records.postgres_engine import postgres_engine
from retention.records.rights import API, CLOCK

_MEMORY = Path("/dev/shm")
_FAST = {"fsync": "off", "full_page_writes": "off"}
_ALWAYS = {
    "max_connections": "120",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "log_min_messages": "fatal",
}
_NUMBERS = itertools.count(1)

refused_to: str | None = None
"""The test that runs, where it may have no server: set by `tests/conftest.py`."""


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
    return Path(on_path).parent


def _as_postgres() -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]


class PostgresServer:
    """One server process; `stop`, `kill` and `start` it at will."""

    def __init__(self, *, durable: bool = False, options: dict[str, str] | None = None) -> None:
        in_memory = not durable and _MEMORY.is_dir()
        self.folder = Path(tempfile.mkdtemp(prefix="casevault-pg-", dir=_MEMORY if in_memory else None))
        self.password = secrets.token_hex(8)
        self.port = _free_port()
        self.options = {**_ALWAYS, **({} if durable else _FAST), **(options or {})}
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self._initialise()
        self.start()

    def _initialise(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        password_file.chmod(0o644)  # inside a folder that is closed to others
        quick = ["--no-sync"]
        command = ["initdb", "-D", str(self.folder / "data"), "-U", "postgres", "-E", "UTF8", "--no-locale"]
        auth = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password_file}"]
        self._run([*command, *auth, *quick])

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            [*_as_postgres(), str(_binaries() / command[0]), *command[1:]],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr}")

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            **self.options,
        }
        flags = [flag for name, value in options.items() for flag in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_as_postgres(), str(_binaries() / "postgres"), "-D", str(self.folder / "data"), *flags],
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        self._await()

    def _await(self) -> None:
        until = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.dsn("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                if time.monotonic() > until or (self._process and self._process.poll() is not None):
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Fast shutdown; SIGQUIT is as good as a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stop it and delete its folder."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def dsn(self, database: str) -> str:
        """How psycopg reaches a database by the socket."""
        return f"host={self.folder} port={self.port} user=postgres dbname={database}"

    def url(self, database: str, user: str = "postgres") -> str:
        """The same for casevault."""
        query = {"host": str(self.folder), "port": str(self.port)}
        return URL.create("postgresql", user, database=database, query=query).render_as_string(False)

    def tcp_url(self, database: str, port: int | None = None, **query: str) -> str:
        """By loopback, with the password."""
        url = URL.create(
            "postgresql", "postgres", self.password, "127.0.0.1", port or self.port, database, query
        )
        return url.render_as_string(hide_password=False)

    def admin(self, *statements: str) -> None:
        """Run statements as the superuser, each on its own."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def new_database(self, template: str = "template0") -> str:
        """A fresh database, a copy of `template`."""
        name = f"t{next(_NUMBERS)}_{os.getpid()}"
        self.admin(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, database: str) -> None:
        """Drop a database, whoever is still connected."""
        self.admin(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def shared_server() -> PostgresServer:
    """One quick server for all tests of this run."""
    if refused_to is not None:
        raise RuntimeError(
            f"{refused_to} is marked fast and asks for PostgreSQL: tests/conftest.py says which are real"
        )
    return _shared_server()


@cache
def _shared_server() -> PostgresServer:
    server = PostgresServer()
    atexit.register(server.remove)
    for role, door in ((API, "api"), (CLOCK, "clock")):
        server.admin(f"CREATE ROLE {role} NOLOGIN", f"CREATE ROLE {door} LOGIN IN ROLE {role}")
    return server


@cache
def _migrated() -> str:
    server = shared_server()
    name = server.new_database()
    engine = postgres_engine(server.url(name))
    upgrade(engine)
    engine.dispose()
    return name


def new_schema() -> str:
    """A fresh database of the newest version on the shared server."""
    return shared_server().new_database(_migrated())


@cache
def schema_script() -> str:
    """What makes an empty database of the shared server one of the newest version, as SQL."""
    command = [
        str(_binaries() / "pg_dump"),
        "--no-owner",
        "--inserts",
        "-d",
        shared_server().dsn(_migrated()),
    ]
    dumped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return "\n".join(line for line in dumped.splitlines() if not line.startswith("\\"))  # psql's own commands
