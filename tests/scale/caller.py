"""A caller who knows several processes of one service, and goes to another when one does not answer."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import requests

from tests.scale.installation import Installation

PATIENCE_SECONDS = 120
DIRECTORY = "contoso"
OUTAGES = (requests.exceptions.ConnectionError, requests.exceptions.Timeout)
BROKEN = (*OUTAGES, requests.exceptions.ChunkedEncodingError)


class GaveUp(Exception):
    """No process answered in a long time."""


class Stopped(Exception):
    """The load is over; whatever was under way is let go."""


@dataclass(slots=True)
class Caller:
    """One thread's: a person or a machine, in a role. It changes the process at every request."""

    installation: Installation
    subject: str
    role: str
    seed: int
    stop: threading.Event
    partner: str | None = None
    patience: float = PATIENCE_SECONDS
    _random: random.Random = field(init=False)
    _session: requests.Session = field(init=False)
    _token: str = ""

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.seed} {self.subject}")
        self._session = requests.Session()
        self._session.trust_env = False  # this machine's own authorities and proxies are none of ours
        self._session.verify = str(self.installation.ca)

    @property
    def random(self) -> random.Random:
        return self._random

    def now(self) -> datetime:
        return self.installation.clock.now()

    def once(self, method: str, path: str, *, blob: bool = False, **call: Any) -> requests.Response:
        """One request to any process; whatever breaks is raised."""
        api = self._random.choice(self.installation.apis)
        headers = dict(call.pop("headers", {}))
        if not blob:
            headers["Authorization"] = f"Bearer {self._bearer(api.origin)}"
        answer = self._session.request(
            method, (api.blob_origin if blob else api.origin) + path, headers=headers, timeout=60, **call
        )
        if answer.status_code == 401 and not blob:
            self._token = ""  # the clock was moved
        return answer

    def call(
        self, method: str, path: str, *, good: Callable[[int], bool] | None = None, **call: Any
    ) -> requests.Response:
        """The same until somebody answers with something final: it may so be done twice. GaveUp, Stopped."""
        give_up = time.monotonic() + self.patience
        last = ""
        while time.monotonic() < give_up:
            if self.stop.is_set():
                raise Stopped
            try:
                answer = self.once(method, path, **call)
            except BROKEN as error:
                last = type(error).__name__
            else:
                last = f"{answer.status_code} {answer.text[:300]}"
                if (good or _final)(answer.status_code):
                    return answer
            time.sleep(0.1)
        raise GaveUp(f"{method} {path}: {last}")

    def post(self, path: str, body: Mapping[str, Any]) -> requests.Response:
        return self.call("POST", path, json=body)

    def get(self, path: str) -> Any:
        return self.call("GET", path, good=lambda status: status == 200).json()

    def _bearer(self, origin: str) -> str:
        if not self._token:
            form: list[tuple[str, str]] = [("subject", self.subject), ("role", f"CaseVault.{self.role}")]
            form += [("directory", DIRECTORY)] if self.role in ("Operator", "Stamp") else []
            form += [("partner", self.partner)] if self.partner else []
            answer = self._session.post(f"{origin}/development/token", data=form, timeout=60)
            answer.raise_for_status()
            self._token = str(answer.json()["access_token"])
        return self._token


def _final(status: int) -> bool:
    return status not in (401, 429) and status < 500
