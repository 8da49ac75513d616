"""What the parts in Azure share, made when the first of them needs it: one identity, one client of the account.

Its libraries are imported then, so that the embedded start stays quick.
"""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING

from retention.azure_settings import AzureSettings

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import BlobServiceClient


class AzureConnections:
    """Not for two processes: a client that was made before a fork is not used after it."""

    def __init__(self, settings: AzureSettings) -> None:
        self._settings = settings
        # The libraries tell of every request, with its address and headers: that has no place in our logs, and
        # writing it costs more processor time than the request.
        logging.getLogger("azure").setLevel(logging.WARNING)

    @cached_property
    def credential(self) -> TokenCredential:
        """The identity of this process: workload identity, managed identity, or an administrator's own login.

        One for all: it remembers which of them it found, and each token until it runs out.
        """
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential()

    @cached_property
    def blobs(self) -> BlobServiceClient:
        from retention.objects.azure_service import connect, connect_by_string

        if self._settings.connection_string is not None:
            return connect_by_string(self._settings.connection_string)
        return connect(str(self._settings.account_url), self.credential)
