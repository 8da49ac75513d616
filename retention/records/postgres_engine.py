"""Opening a PostgreSQL database.

Rules:
- `retention.records.postgres_url` says which databases may be opened.
- COMMIT returns when the change is on the disk: synchronous_commit is switched on for each session (P3).
- Nobody waits for ever: statements, locks and idle transactions have limits, and keepalives notice dead peers.
- No error's text has a statement's values: they may be particulars.
- READ COMMITTED unless a connection sets another level (`PostgresRecords` does); the sequencer depends on it.
- Azure Database for PostgreSQL accepts a Microsoft Entra token as the password. Each new connection asks for one,
  because a token lives for about an hour; azure-identity keeps it until shortly before its end, so most connections
  cost no request. The token goes to the driver and nowhere else. An open connection outlives it.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError
from psycopg import Error as DriverError
from psycopg import OperationalError
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from retention.records.postgres_url import CONNECTIONS, check_url

SCOPE = "https://ossrdbms-aad.database.windows.net/.default"


def entra_password(credential: TokenCredential) -> Callable[[], str]:
    """Make a function that returns the current password, or raises the driver's own error if no token is available."""

    def password() -> str:
        try:
            return credential.get_token(SCOPE).token
        except AzureError as error:
            why = type(error).__name__
        raise OperationalError(f"no token for the database: its identity is unavailable ({why})")

    return password


STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 10_000
IDLE_IN_TRANSACTION_MS = 30_000
POOL_WAIT_SECONDS = 10
TRY_AFTER_SECONDS = 30.0
"""Seconds; a connection idle for longer is tested before use: a firewall may have dropped it."""
_SESSION = {
    "statement_timeout": STATEMENT_TIMEOUT_MS,
    "lock_timeout": LOCK_TIMEOUT_MS,
    "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MS,
    "client_connection_check_interval": 5_000,
    "synchronous_commit": "on",
}
_CLIENT = {
    "application_name": "casevault",
    "connect_timeout": "5",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}


def postgres_engine(
    url: str, *, connections: int = CONNECTIONS, password: Callable[[], str] | None = None
) -> Engine:
    """Make an engine for the database at `url`, with at most `connections` connections. It connects when first used.

    `password` returns the current one, for each new connection.
    """
    parsed = check_url(url)
    session = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
    own = {"options": f"{session} {parsed.query.get('options', '')}".strip()}
    engine = create_engine(
        parsed.update_query_dict({**{k: v for k, v in _CLIENT.items() if k not in parsed.query}, **own}),
        isolation_level="READ COMMITTED",
        pool_size=connections,
        max_overflow=0,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_use_lifo=True,  # unneeded ones become idle, and the server's or a firewall's limit may close them
        pool_recycle=1800,
        hide_parameters=True,
    )
    _try_idle_connections(engine)
    if password is not None:
        _ask_for_password(engine, password)
    event.listen(engine, "handle_error", _hide_values)
    return engine


def _ask_for_password(engine: Engine, password: Callable[[], str]) -> None:
    @event.listens_for(engine, "do_connect")
    def _do_connect(
        _dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]
    ) -> None:
        parameters["password"] = password()


@contextmanager
def initialising(engine: Engine) -> Iterator[None]:
    """Admit one process at a time of those about to make the parts of the service on this database."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_lock(4153697014)"))
        try:
            yield
        finally:
            connection.invalidate()  # closed: the lock goes with it, and so do its limits


def _try_idle_connections(engine: Engine) -> None:
    """Test idle connections at checkout, so that no request is the first to find the server restarted or gone."""

    @event.listens_for(engine, "checkin")
    def _checkin(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _checkout(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        # Data sent to an idle session is a farewell, or so rare that a new connection does not matter.
        watch = select.poll()
        watch.register(connection.fileno(), select.POLLIN)
        if watch.poll(0):
            raise DisconnectionError  # the pool discards it and takes another
        idle = time.monotonic() - record.info.get("idle_since", time.monotonic())
        if idle > TRY_AFTER_SECONDS:
            try:
                engine.dialect.do_ping(connection)
            except DriverError:
                raise DisconnectionError from None


def _hide_values(context: Any) -> None:
    """Keep only an error's first line: the server's DETAIL shows a row's values ("Failing row contains ...")."""
    original, shown = context.original_exception, context.sqlalchemy_exception
    primary = getattr(getattr(original, "diag", None), "message_primary", None)
    if primary is not None and isinstance(shown, DBAPIError):
        original.args = (primary,)
        shown.args = (f"({type(original).__module__}.{type(original).__name__}) {primary}",)
