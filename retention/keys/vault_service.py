"""The connection to a key vault: its client, its patience, and the reading of its refusals.

Throttling (429, with Retry-After) and passing faults are waited out, for a minute in all; part of each pause is random,
so that processes which were turned away together do not come back together. Every request made here can be repeated:
wrapping again, and setting a secret to the same value again, do no harm.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.policies import RetryPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest, HttpResponse

TRIES = 6
LONGEST_PAUSE = 20.0
TOTAL_SECONDS = 60
JITTER = 0.5


class VaultPatience(RetryPolicy[HttpRequest, HttpResponse]):
    """The client's own retry, for POST and PUT too, with bounded pauses. `wait` sleeps."""

    def __init__(self, wait: Callable[[float], None] = time.sleep) -> None:
        tries = TRIES - 1
        super().__init__(
            retry_total=tries,
            retry_connect=tries,
            retry_read=tries,
            retry_status=tries,
            timeout=TOTAL_SECONDS,
        )
        self._wait = wait

    def configure_retries(self, options: dict[str, Any]) -> dict[str, Any]:
        return super().configure_retries({"retry_on_methods": frozenset({"GET", "POST", "PUT"}), **options})

    def sleep(
        self, settings: dict[str, Any], transport: object, response: PipelineResponse[Any, Any] | None = None
    ) -> None:
        asked = self.get_retry_after(response) if response is not None else None
        least = (
            self.get_backoff_time(settings) / 2 if asked is None else asked
        )  # never before the vault allows it
        self._wait(min(LONGEST_PAUSE, least * random.uniform(1, 1 + JITTER)))  # noqa: S311 - not a secret


def vault_options(patience: VaultPatience | None = None) -> dict[str, Any]:
    """Return the options that a vault's client is made with."""
    transport = RequestsTransport(connection_timeout=10, read_timeout=20)
    return {"transport": transport, "retry_policy": patience or VaultPatience()}


def inner_code(error: HttpResponseError) -> str:
    """Return `innererror.code` of the vault's response, which distinguishes disabled from forbidden."""
    inner = getattr(error.error, "innererror", None)
    return str(inner.get("code", "")) if isinstance(inner, Mapping) else ""
