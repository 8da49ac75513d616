"""Microsoft Entra tokens as the database's password: Azure Database for PostgreSQL takes them in its place.

Each new connection asks anew, because a token lives for an hour or so; azure-identity keeps it until shortly before its
end, so most connections cost no request. The token goes to the driver and nowhere else. An open connection outlives it.
"""

from __future__ import annotations

from collections.abc import Callable

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError
from psycopg import OperationalError

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
