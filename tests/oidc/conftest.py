"""Starts the certified OpenID provider of server.mjs in a child process, over https with an authority made for it."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import pytest
import requests

from intake_api.serve.certificates import local_certificate
from tests.servers.installing import npm_packages

HERE = Path(__file__).parent
AUDIENCE = "https://casevault.example/api"
CLIENTS: dict[str, dict[str, Any]] = {
    "engineer-1": {
        "secret": "secret-1",
        "claims": {"roles": ["CaseVault.SupportEngineer"], "name": "Ada Example"},
    },
    "operator-1": {"secret": "secret-2", "claims": {"roles": ["CaseVault.Operator"], "tid": "directory-1"}},
    "nobody-1": {"secret": "secret-3", "claims": {}},
    "portal-1": {
        "secret": "secret-4",
        "claims": {"roles": ["CaseVault.SupportEngineer"], "name": "Ada Example"},
        "redirect": "https://portal.example/back",
    },
}


@dataclass
class Provider:
    """The running provider, and what it has said about itself last."""

    process: subprocess.Popen[str]
    authorities: Path
    issuer: str = ""
    kids: tuple[str, ...] = ()
    fetches: int = 0

    def heard(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the OpenID provider ended"
        state = json.loads(line)
        self.issuer, self.kids, self.fetches = state["issuer"], tuple(state["kids"]), state["fetches"]

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        self.heard()

    def bearer(self, client: str) -> str:
        """An Authorization header, had by the client credentials grant."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(
                f"{self.issuer}/token",
                data={"grant_type": "client_credentials"},
                auth=(client, CLIENTS[client]["secret"]),
                verify=str(self.authorities),
                timeout=20,
            )
        answer.raise_for_status()
        return f"Bearer {answer.json()['access_token']}"

    def signed_in(self, client: str, **asked: str) -> dict[str, str]:
        """What the token endpoint gives after a person signed in at `client`, by the authorization code flow."""
        verifier = "v" * 43
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        back = CLIENTS[client]["redirect"]
        query = {"client_id": client, "response_type": "code", "scope": "openid", "redirect_uri": back}
        pkce = {"code_challenge": challenge, "code_challenge_method": "S256"}
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(self.authorities)
            url = f"{self.issuer}/auth?{urlencode({**query, **pkce, **asked})}"
            while not url.startswith(back):
                answer = session.get(url, allow_redirects=False, timeout=20)
                assert "Location" in answer.headers, answer.text
                url = urljoin(url, answer.headers["Location"])
            (code,) = parse_qs(urlsplit(url).query)["code"]
            form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back}
            answer = session.post(
                f"{self.issuer}/token",
                data={**form, "code_verifier": verifier},
                auth=(client, CLIENTS[client]["secret"]),
                timeout=20,
            )
        answer.raise_for_status()
        return dict(answer.json())


@pytest.fixture(scope="session")
def audience() -> str:
    return AUDIENCE


@pytest.fixture(scope="session")
def node_modules() -> None:
    npm_packages(HERE)


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Path, Path, Path]:
    """An authority, and a certificate of it for localhost: (authority, certificate, key) as PEM files."""
    made = local_certificate(tmp_path / "tls", datetime.now(UTC))
    assert made.authority is not None
    return made.authority, made.certificate, made.key


@pytest.fixture
def provider(node_modules: None, tmp_path: Path, certificates: tuple[Path, Path, Path]) -> Iterator[Provider]:
    authorities, certificate, key = certificates
    settings = json.dumps({"audience": AUDIENCE, "clients": CLIENTS})
    with (
        (tmp_path / "stderr").open("w") as stderr,
        subprocess.Popen(
            ["node", HERE / "server.mjs", certificate, key, settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        running = Provider(process, authorities)
        running.heard()
        yield running
        assert process.stdin is not None
        process.stdin.close()  # it ends with its stdin
