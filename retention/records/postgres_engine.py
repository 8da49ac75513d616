"""Opening a PostgreSQL database.

Rules:
- What may be opened at all: `retention.records.postgres_url`.
- COMMIT returns when the change is on the disk: synchronous_commit is switched on for each session (P3).
- Nobody waits for ever: statements, locks and idle transactions have limits, and dead peers are noticed by keepalives.
- No statement's values come into an error's text: they may be particulars.
- READ COMMITTED unless a connection says otherwise (`PostgresRecords` does); the sequencer depends on it.

Microsoft Entra tokens as the database's password: Azure Database for PostgreSQL takes them in its place.

Each new connection asks anew, because a token lives for an hour or so; azure-identity keeps it until shortly before its
end, so most connections cost no request. The token goes to the driver and nowhere else. An open connection outlives it.
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
    """What gives the password of the moment; the driver's own error when there is no token to be had."""

    def password() -> str:
        try:
            return credential.get_token(SCOPE).token
        except AzureError as error:
            why = type(error).__name__
        raise OperationalError(f"no token for the database: its identity cannot be had ({why})")

    return password


STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 10_000
IDLE_IN_TRANSACTION_MS = 30_000
POOL_WAIT_SECONDS = 10
TRY_AFTER_SECONDS = 30.0
"""A connection that lay idle for longer is tried before it is used: a firewall may have forgotten it."""
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
    """An engine on the database at `url`, with at most `connections` connections. It connects when first used.

    `password` gives the one of the moment, for each new connection.
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
        pool_use_lifo=True,  # those not needed grow idle, and the server's or a firewall's limit may close them
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
    """One process at a time, of all that are about to make the parts of the service on this database."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_lock(4153697014)"))
        try:
            yield
        finally:
            connection.invalidate()  # closed: the lock goes with it, and so do its limits


def _try_idle_connections(engine: Engine) -> None:
    """Find out before a request does that the server has restarted or gone."""

    @event.listens_for(engine, "checkin")
    def _checkin(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _checkout(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        # Whatever an idle session is sent is a farewell, or so rare that a new connection costs nothing.
        watch = select.poll()
        watch.register(connection.fileno(), select.POLLIN)
        if watch.poll(0):
            raise DisconnectionError  # the pool throws it away and takes another
        idle = time.monotonic() - record.info.get("idle_since", time.monotonic())
        if idle > TRY_AFTER_SECONDS:
            try:
                engine.dialect.do_ping(connection)
            except DriverError:
                raise DisconnectionError from None


def _hide_values(context: Any) -> None:
    """The server's DETAIL shows a row's values ("Failing row contains ..."): only the first line stays."""
    original, shown = context.original_exception, context.sqlalchemy_exception
    primary = getattr(getattr(original, "diag", None), "message_primary", None)
    if primary is not None and isinstance(shown, DBAPIError):
        original.args = (primary,)
        shown.args = (f"({type(original).__module__}.{type(original).__name__}) {primary}",)
