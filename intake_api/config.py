"""The service's settings. With retention/config.py, the only module here that reads the environment.

| variable | meaning | default |
|---|---|---|
| CASEVAULT_LISTEN | IP address (or localhost) and port | 127.0.0.1:8443 |
| CASEVAULT_ORIGIN | its public address, e.g. https://casevault.example.com | none: responses name paths |
| CASEVAULT_UPLOAD_ORIGINS | origins of pages that may send by tus (uploaders.md), comma separated | none |
| CASEVAULT_BLOB_LISTEN | IP address (or localhost) and port of the Blob endpoint, for upload links | none: no links |
| CASEVAULT_BLOB_ORIGIN | its public address for senders, e.g. https://blobs.example.com | https:// and the above |
| CASEVAULT_TLS_CERTIFICATE | PEM file: certificate, then its intermediates | made here by a local CA (loopback only) |
| CASEVAULT_TLS_KEY | PEM file: its private key, PKCS #8, mode 0600 | made here |
| CASEVAULT_ISSUER | the OpenID Connect issuer whose tokens are accepted | none: only in development |
| CASEVAULT_AUDIENCE | audiences of tokens meant for this service, comma separated | casevault |
| CASEVAULT_ISSUER_CA | PEM file of authorities to trust for the issuer | the well-known ones |
| CASEVAULT_ROLES_CLAIM | claim that holds the roles | roles |
| CASEVAULT_DIRECTORY_CLAIM | claim that holds the customer's directory | tid |
| CASEVAULT_PARTNER_CLAIM | claim that holds the partner | partner |
| CASEVAULT_ACCESS_TOKEN_CLAIMS | claims of access tokens alone (operators.md) | scp,scope,azpacr,appidacr,idtyp=app |
| CASEVAULT_PORTAL_CLIENT | the portal's client id at the issuer; needs CASEVAULT_ORIGIN | none: no portal |
| CASEVAULT_PORTAL_SECRET_FILE | file with that client's secret, mode 0600 | none: a public client, by PKCE alone |
| CASEVAULT_PORTAL_SCOPE | scope that a sign-in asks for (portal.md) | openid |
| CASEVAULT_PORTAL_RESOURCE | resource that a sign-in asks a token for (RFC 8707), where the issuer wants one | none |
| CASEVAULT_THREADS | requests of all kinds that a process serves at once (operations.md) | 128 |
| CASEVAULT_UPLOADS | of these, the most uploads | half of the threads but 4: 62 |
| CASEVAULT_READS | of these, the most downloads; on the Blob endpoint uploads instead | a quarter of them: 31 |
| CASEVAULT_CALLER_SHARE | most percent of uploads, of downloads and of small bodies for one caller | 50 |
| CASEVAULT_TENANT_SHARE | most percent of them for the callers of one customer | 75 |
| CASEVAULT_BODY_SECONDS | seconds within which a small body (JSON) must arrive | 15 |
| CASEVAULT_CONNECTIONS | connections that a process holds open at once | 4 for each thread: 512 |
| CASEVAULT_STALL_SECONDS | silence after which an upload's request is ended, its bytes kept | 60 |
| CASEVAULT_STOP_SECONDS | how long a stop waits for requests that do not end | 30 |
| CASEVAULT_CLOCK | embedded: a clock process beside the server; functions: a function app instead | embedded |
| CASEVAULT_DRAIN_SECONDS | how long the service, no longer ready, still serves before a stop begins | 0 |
| CASEVAULT_METRICS_LISTEN | private IP address (or localhost) and port of the metrics, plain HTTP | none: no metrics |
| CASEVAULT_BEAT_MILLISECONDS | pause between two rounds of the clock process | 500 |
| CASEVAULT_DEVELOPMENT_ISSUER | in a rehearsal of several processes: the issuer that all of them trust | its own |

CASEVAULT_DEVELOPMENT=1 (retention/config.py) turns on the development issuer, on loopback only. Without it
CASEVAULT_ISSUER must be set: the service does not run without an issuer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from intake_api.http.cross_origin import read_origins
from intake_api.http.hosts import ensure_loopback, is_loopback_address
from intake_api.http.seats import SeatPlan
from intake_api.identity.config import ACCESS_TOKEN_CLAIMS, IssuerSettings, SignInSettings
from retention.config import SettingError, Settings, whole_number
from retention.config import from_environment as custody_from_environment
from retention.config_notices import read_origin

AUDIENCE = "casevault"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - address listened on: address to connect to


class ClockIs(StrEnum):
    """The part that starts the work no caller asks for."""

    EMBEDDED = "embedded"
    FUNCTIONS = "functions"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Everything that `serve` needs. SettingError when the service cannot run with it."""

    custody: Settings
    host: str = "127.0.0.1"
    port: int = 8443
    certificate: Path | None = None
    key: Path | None = None
    issuer: IssuerSettings | None = None
    issuer_authorities: Path | None = None
    seats: SeatPlan = field(default_factory=SeatPlan)
    connections: int = 512
    body_seconds: float = 15
    stall_seconds: float = 60
    stop_seconds: int = 30
    clock: ClockIs = ClockIs.EMBEDDED
    beat_seconds: float = 0.5
    development_origin: str | None = None
    blob_listen: tuple[str, int] | None = None
    blob_address: str | None = None
    address: str | None = None
    upload_origins: frozenset[str] = frozenset()
    drain_seconds: int = 0
    metrics_listen: tuple[str, int] | None = None
    portal: SignInSettings | None = None
    """How people sign in to the portal; in development they choose who they are instead."""
    metrics_folder: Path | None = None
    """Folder of the sockets over which one service's processes exchange metrics: `serve` makes it."""

    def __post_init__(self) -> None:
        if (self.certificate is None) is not (self.key is None):
            raise SettingError(
                "CASEVAULT_TLS_CERTIFICATE and CASEVAULT_TLS_KEY go together: set both, or neither"
            )
        if self.certificate is None and not is_loopback_address(self.host):
            raise SettingError(
                f"listening on {self.host} needs a certificate that callers trust: set CASEVAULT_TLS_CERTIFICATE and "
                "CASEVAULT_TLS_KEY (the generated certificate is for loopback only)"
            )
        self._check_identity()
        self._check_signing()
        if self.blob_address is not None and self.blob_listen is None:
            raise SettingError(
                "CASEVAULT_BLOB_ORIGIN is set without CASEVAULT_BLOB_LISTEN: set both, or neither"
            )
        self.for_blobs()  # held to the same rules
        if self.metrics_listen is not None and not is_private_address(self.metrics_listen[0]):
            raise SettingError(
                f"CASEVAULT_METRICS_LISTEN must be a loopback or private address, not {self.metrics_listen[0]}: "
                "anyone who can reach it can read the metrics"
            )

    def _check_signing(self) -> None:
        if self.custody.public_keys is not None and self.clock is ClockIs.EMBEDDED:
            raise SettingError(
                "CASEVAULT_LOG_VERIFIER is for a service that signs nothing, but the embedded clock signs the log: set "
                "CASEVAULT_CLOCK=functions too, or unset it"
            )

    def _check_identity(self) -> None:
        if not self.custody.development:
            if self.development_origin is not None:
                raise SettingError(
                    "CASEVAULT_DEVELOPMENT_ISSUER is for a rehearsal: it needs CASEVAULT_DEVELOPMENT=1"
                )
            if self.issuer is None:
                raise SettingError(
                    "no issuer is configured: set CASEVAULT_ISSUER to your OpenID Connect issuer, or "
                    "CASEVAULT_DEVELOPMENT=1 for a rehearsal on this machine"
                )
            return
        if self.issuer is not None:
            raise SettingError("CASEVAULT_ISSUER and CASEVAULT_DEVELOPMENT=1 are both set: unset one of them")
        try:
            ensure_loopback(self.host)
            if self.development_origin is not None:
                ensure_loopback(urlsplit(self.development_origin).hostname or "")
        except ValueError as error:
            raise SettingError(f"CASEVAULT_DEVELOPMENT=1: {error}") from None

    @property
    def threads(self) -> int:
        """The number of request threads of one serving process."""
        return self.seats.threads

    @property
    def origin(self) -> str:
        """The scheme, host and port, as callers on this machine write them."""
        return f"https://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def local_address(self) -> str:
        """The origin to connect to on this machine: the loopback address where the service listens on all."""
        return _address(self.host, self.port)

    @property
    def blob_origin(self) -> str | None:
        """The Blob endpoint's origin, as its callers write it; None where there is no such endpoint."""
        served = self.for_blobs()
        return (self.blob_address or served.origin) if served else None

    def for_blobs(self) -> ServerSettings | None:
        """Return the settings to serve the Blob endpoint with; None where there is no such endpoint."""
        if self.blob_listen is None:
            return None
        host, port = self.blob_listen
        # The worker drains it before its own stop begins.
        own = replace(self, host=host, port=port, blob_listen=None, blob_address=None, drain_seconds=0)
        return replace(own, seats=self.seats.for_blobs())

    @property
    def tls_folder(self) -> Path:
        """The folder of the generated certificate and its authority."""
        return self.custody.state / "tls"

    @property
    def issuer_key_file(self) -> Path:
        """The file of the development issuer's key."""
        return self.custody.state / "development-issuer-key"


def from_environment(environ: Mapping[str, str]) -> ServerSettings:
    """Read the settings from `environ`; SettingError names the wrong variable."""
    host, port = _listen("CASEVAULT_LISTEN", environ.get("CASEVAULT_LISTEN", "127.0.0.1:8443"))
    blobs, metrics = environ.get("CASEVAULT_BLOB_LISTEN"), environ.get("CASEVAULT_METRICS_LISTEN")
    return ServerSettings(
        custody=custody_from_environment(environ),
        host=host,
        port=port,
        certificate=_file(environ, "CASEVAULT_TLS_CERTIFICATE"),
        key=_file(environ, "CASEVAULT_TLS_KEY"),
        issuer=_issuer(environ),
        issuer_authorities=_file(environ, "CASEVAULT_ISSUER_CA"),
        seats=(seats := _seats(environ)),
        connections=whole_number(
            environ, "CASEVAULT_CONNECTIONS", 4 * seats.threads, least=2 * seats.threads, most=65_536
        ),
        body_seconds=whole_number(environ, "CASEVAULT_BODY_SECONDS", 15, least=1, most=300),
        stall_seconds=whole_number(environ, "CASEVAULT_STALL_SECONDS", 60, least=1, most=3600),
        stop_seconds=whole_number(environ, "CASEVAULT_STOP_SECONDS", 30, least=1, most=1800),
        clock=_clock(environ),
        development_origin=_origin(environ, "CASEVAULT_DEVELOPMENT_ISSUER", "https://127.0.0.1:8443"),
        beat_seconds=whole_number(environ, "CASEVAULT_BEAT_MILLISECONDS", 500, least=50, most=60_000) / 1000,
        blob_listen=_listen("CASEVAULT_BLOB_LISTEN", blobs) if blobs else None,
        blob_address=_origin(environ, "CASEVAULT_BLOB_ORIGIN", "https://blobs.example.com"),
        address=_origin(environ, "CASEVAULT_ORIGIN", "https://casevault.example.com"),
        upload_origins=_upload_origins(environ),
        portal=_portal(environ),
        drain_seconds=whole_number(environ, "CASEVAULT_DRAIN_SECONDS", 0, least=0, most=600),
        metrics_listen=_listen("CASEVAULT_METRICS_LISTEN", metrics) if metrics else None,
    )


def _seats(environ: Mapping[str, str]) -> SeatPlan:
    threads = whole_number(environ, "CASEVAULT_THREADS", 128, least=12, most=4096)
    default = SeatPlan.by_default(threads)
    try:
        return SeatPlan(
            threads=threads,
            uploads=whole_number(environ, "CASEVAULT_UPLOADS", default.uploads, least=1, most=threads),
            reads=whole_number(environ, "CASEVAULT_READS", default.reads, least=1, most=threads),
            caller_share=whole_number(environ, "CASEVAULT_CALLER_SHARE", 50, least=1, most=100),
            tenant_share=whole_number(environ, "CASEVAULT_TENANT_SHARE", 75, least=1, most=100),
        )
    except ValueError as error:
        raise SettingError(
            f"CASEVAULT_THREADS, CASEVAULT_UPLOADS, CASEVAULT_READS and the shares do not fit together: {error}"
        ) from None


def is_private_address(host: str) -> bool:
    """Return whether only this machine or its own network can reach the address."""
    address = ip_address(host)
    return address.is_private and not address.is_unspecified


def _clock(environ: Mapping[str, str]) -> ClockIs:
    text = environ.get("CASEVAULT_CLOCK", ClockIs.EMBEDDED)
    if text not in set(ClockIs):
        raise SettingError(f"CASEVAULT_CLOCK must be {' or '.join(ClockIs)}, not {text!r}")
    return ClockIs(text)


def listening_from_environment(environ: Mapping[str, str]) -> str | None:
    """Return the listening origin set in `environ`, as callers on this machine write it; None if it is not set."""
    return _address(*_listen("CASEVAULT_LISTEN", text)) if (text := environ.get("CASEVAULT_LISTEN")) else None


def as_called(host: str) -> str:
    """Return the host to connect to on this machine for a host that is listened on."""
    return _EVERYWHERE.get(host, host)


def _address(host: str, port: int) -> str:
    host = as_called(host)
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"


def _origin(environ: Mapping[str, str], name: str, example: str) -> str | None:
    try:
        return read_origin(environ, name, example)
    except ValueError as error:
        raise SettingError(str(error)) from None


def _portal(environ: Mapping[str, str]) -> SignInSettings | None:
    if not (client := environ.get("CASEVAULT_PORTAL_CLIENT")):
        return None
    origin = _origin(environ, "CASEVAULT_ORIGIN", "https://casevault.example.com")
    if origin is None or not environ.get("CASEVAULT_ISSUER"):
        raise SettingError(
            "CASEVAULT_PORTAL_CLIENT is set, but the issuer has to know where to send people back to: set "
            "CASEVAULT_ORIGIN and CASEVAULT_ISSUER too, or unset it"
        )
    secret = _file(environ, "CASEVAULT_PORTAL_SECRET_FILE")
    if secret is not None and secret.stat().st_mode & 0o077:
        raise SettingError(
            f"CASEVAULT_PORTAL_SECRET_FILE {secret} can be read by others: run `chmod 600` on it"
        )
    return SignInSettings(
        client_id=client,
        client_secret=secret.read_text().strip() if secret else None,
        redirect=f"{origin}/portal/callback",
        signed_out=f"{origin}/portal/sign-in",
        scope=environ.get("CASEVAULT_PORTAL_SCOPE", "openid"),
        resource=environ.get("CASEVAULT_PORTAL_RESOURCE") or None,
        authorities=_file(environ, "CASEVAULT_ISSUER_CA"),
    )


def _upload_origins(environ: Mapping[str, str]) -> frozenset[str]:
    try:
        return read_origins(environ.get("CASEVAULT_UPLOAD_ORIGINS", ""))
    except ValueError as error:
        raise SettingError(f"CASEVAULT_UPLOAD_ORIGINS: {error}") from None


def _listen(name: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    wrong = f"{name} must be an address and a port, like 127.0.0.1:8443, not {text!r}"
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise SettingError(wrong)
    try:
        return str(ip_address(host)), int(port)
    except ValueError:
        raise SettingError(wrong) from None


def _file(environ: Mapping[str, str], name: str) -> Path | None:
    if not (text := environ.get(name)):
        return None
    path = Path(text).resolve()
    if not path.is_file():
        raise SettingError(f"{name} names a file that does not exist: {path}")
    return path


def _issuer(environ: Mapping[str, str]) -> IssuerSettings | None:
    if not (issuer := environ.get("CASEVAULT_ISSUER")):
        return None
    if not issuer.startswith("https://"):
        raise SettingError(f"CASEVAULT_ISSUER must be an https address, not {issuer!r}")
    audiences = environ.get("CASEVAULT_AUDIENCE", AUDIENCE).split(",")
    marks = environ.get("CASEVAULT_ACCESS_TOKEN_CLAIMS", ",".join(ACCESS_TOKEN_CLAIMS))
    try:
        return IssuerSettings(
            issuer=issuer,
            audiences=tuple(audience.strip() for audience in audiences),
            roles_claim=environ.get("CASEVAULT_ROLES_CLAIM", "roles"),
            directory_claim=environ.get("CASEVAULT_DIRECTORY_CLAIM", "tid"),
            partner_claim=environ.get("CASEVAULT_PARTNER_CLAIM", "partner"),
            access_token_claims=tuple(mark.strip() for mark in marks.split(",")) if marks.strip() else (),
        )
    except ValueError as error:
        raise SettingError(f"CASEVAULT_AUDIENCE, CASEVAULT_ACCESS_TOKEN_CLAIMS: {error}") from None
