"""A clock that stands still, an issuer with real keys, and a way to sign anything with them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from intake_api.identity import IssuerSettings, StaticKeys, TokenVerifier
from intake_api.identity.jwks import DocumentUnavailable, VerificationKey, parse_key_set

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ISSUER = "https://login.example/customer"
AUDIENCE = "api://casevault"


class StandingClock:
    def __init__(self, now: datetime) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class CountingKeys:
    """A key source that counts how often it is asked: once for every signature that is checked."""

    def __init__(self, keys: dict[str, VerificationKey]) -> None:
        self._keys = StaticKeys(keys.values())
        self.asked = 0

    def key(self, kid: str) -> VerificationKey | None:
        self.asked += 1
        return self._keys.key(kid)


class Issuer:
    """A document source that stands for an issuer and counts how often its keys are fetched."""

    def __init__(self, *keys: dict[str, object]) -> None:
        self.keys = list(keys)
        self.discovery: dict[str, object] = {"issuer": ISSUER, "jwks_uri": "https://keys.example/jwks"}
        self.down = False
        self.fetches = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def get(self, url: str) -> Mapping[str, object]:
        if url == f"{ISSUER}/.well-known/openid-configuration":
            self.fetches += 1
            if self.down:
                raise DocumentUnavailable("down")
            return self.discovery
        assert url == "https://keys.example/jwks"
        published = list(self.keys)
        self.meanwhile()
        return {"keys": published}


class Signer:
    """Signs claims and headers as told, good or bad, with an RSA key `rsa-1` and an EC key `ec-1`."""

    def __init__(self) -> None:
        self.private: dict[str, Any] = {
            "rsa-1": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ec-1": ec.generate_private_key(ec.SECP256R1()),
        }

    def jwk(self, kid: str, /, **members: object) -> dict[str, object]:
        key = self.private[kid].public_key()
        algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPublicKey) else ECAlgorithm
        return {**algorithm.to_jwk(key, as_dict=True), "kid": kid, "use": "sig", **members}

    def key_set(self) -> dict[str, object]:
        return {"keys": [self.jwk(kid) for kid in self.private]}

    def claims(self, **changes: object) -> dict[str, object]:
        """Good claims; a change to None leaves the claim out."""
        issued = int(NOW.timestamp())
        claims: dict[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "subject-1",
            "iat": issued,
            "exp": issued + 3600,
            "roles": ["CaseVault.SupportEngineer"],
        }
        return {name: value for name, value in {**claims, **changes}.items() if value is not None}

    def token(
        self,
        claims: dict[str, object] | None = None,
        *,
        algorithm: str = "RS256",
        kid: str | None = None,
        key: Any = None,
        header: dict[str, object] | None = None,
    ) -> str:
        kid = kid or ("ec-1" if algorithm == "ES256" else "rsa-1")
        headers = {"kid": kid, "typ": "at+jwt", **(header or {})}
        payload = json.dumps(self.claims() if claims is None else claims).encode()
        return jwt.PyJWS().encode(payload, key or self.private[kid], algorithm, headers=headers)

    def bearer(self, *arguments: Any, **named: Any) -> str:
        return "Bearer " + self.token(*arguments, **named)


def part(value: object) -> str:
    """One part of a token, made by hand."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock(NOW)


@pytest.fixture(scope="session")
def settings() -> IssuerSettings:
    return IssuerSettings(issuer=ISSUER, audiences=(AUDIENCE, "a second name of ours"))


@pytest.fixture
def verifier(signer: Signer, clock: StandingClock, settings: IssuerSettings) -> TokenVerifier:
    return TokenVerifier(settings, StaticKeys(parse_key_set(signer.key_set()).values()), clock)


@pytest.fixture(scope="session")
def encoded() -> Callable[[object], str]:
    return part


@pytest.fixture
def counted(signer: Any) -> CountingKeys:
    return CountingKeys(parse_key_set(signer.key_set()))


@pytest.fixture
def issuer(signer: Any) -> Issuer:
    return Issuer(signer.jwk("rsa-1"))
