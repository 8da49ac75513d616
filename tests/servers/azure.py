"""All that a casevault in Azure stands on, on this machine: an account, two vaults, an identity, a database, an issuer.

`local_azure` gives the environment for processes of their own: `casevault serve`, `casevault init`, function workers.
Nothing is replaced in them; the state folder that each names may be empty, and is its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from azure.storage.blob import BlobServiceClient

from retention.objects.azure.blob_service import connect_by_string
from tests.azurite.conftest import connection_string
from tests.keyvault.vault import Vault, make_certificate, serve
from tests.servers.identity import IdentityEndpoint, NamesOfThisMachine
from tests.servers.postgres import PostgresServer

KEY = "casevault"
DATABASE_RESOURCE = "https://ossrdbms-aad.database.windows.net"


@dataclass
class LocalAzure:
    """`environment` is what a process of the service needs beside its own addresses and state folder."""

    keys: Vault
    signing: Vault
    identity: IdentityEndpoint
    account: BlobServiceClient
    environment: dict[str, str] = field(repr=False)

    @property
    def containers(self) -> tuple[str, ...]:
        names = ("CASEVAULT_BLOB_CONTAINER", "CASEVAULT_DATA_KEY_CONTAINER", "CASEVAULT_LOG_CONTAINER")
        return tuple(self.environment[name] for name in names)


@contextmanager
def local_azure(folder: Path, azurite_port: int, server: PostgresServer) -> Iterator[LocalAzure]:
    """Empty: nothing of a service was made yet. The database's password is the identity's token for it."""
    certificate = folder / "vaults.pem"
    make_certificate(certificate)
    keys, signing = Vault("RSA"), Vault("SIGNING")
    keys.rotate(KEY)
    with ExitStack() as stack:
        for vault in (keys, signing):
            running = serve(vault, certificate)
            stack.callback(running.server_close)
            stack.callback(running.shutdown)
        tokens = {vault.resource_url: lambda vault=vault: vault.token for vault in (keys, signing)}
        tokens[DATABASE_RESOURCE] = lambda: server.password
        identity = stack.enter_context(closing(IdentityEndpoint(tokens)))
        names = stack.enter_context(closing(NamesOfThisMachine()))
        database = server.new_database()
        stack.callback(server.drop, database)
        run = os.urandom(4).hex()
        azure = LocalAzure(
            keys,
            signing,
            identity,
            stack.enter_context(connect_by_string(connection_string(azurite_port))),
            {
                **identity.environment,
                **names.environment,
                "REQUESTS_CA_BUNDLE": str(certificate),
                "CASEVAULT_BLOB_CONNECTION_STRING": connection_string(azurite_port),
                "CASEVAULT_BLOB_CONTAINER": f"{run}-bundles",
                "CASEVAULT_DATA_KEY_CONTAINER": f"{run}-data-keys",
                "CASEVAULT_LOG_CONTAINER": f"{run}-log",
                "CASEVAULT_KEY_URL": keys.key_url(KEY),
                "CASEVAULT_SIGNING_VAULT_URL": signing.url,
                "CASEVAULT_DATABASE_URL": f"postgresql://postgres@127.0.0.1:{server.port}/{database}",
                "CASEVAULT_DATABASE_IDENTITY": "entra",
            },
        )
        yield azure
        for name in azure.containers:
            azure.account.delete_container(name)
