"""Custody's settings, read from the environment here and in the config modules beside.

| variable | meaning | default |
|---|---|---|
| CASEVAULT_STATE | folder of the embedded default | ./casevault-state |
| CASEVAULT_DATABASE_URL | postgresql://user@host/database?... for records and audit log | SQLite in the state folder |
| CASEVAULT_DATABASE_IDENTITY | entra: this process's Microsoft Entra token is the database's password | none |
| CASEVAULT_DATABASE_CONNECTIONS | the most connections that one process opens | 20 |
| CASEVAULT_LOG_ORIGIN | the audit log's name, in every checkpoint | casevault.local/log |
| CASEVAULT_LOG_VERIFIER | the log's public key: with it this process reads no signing key | none: it signs |
| CASEVAULT_RECEIPT_VERIFIER | the receipts' public key, to be set with the one above | none: it signs |
| CASEVAULT_MAX_BUNDLE_SIZE | bytes | 64 GiB |
| CASEVAULT_STAMP_QUOTA | bytes that a stamp's bundles and open uploads may have together | no quota |
| CASEVAULT_CASE_QUOTA | bytes that a case's bundles and open uploads may have together | no quota |
| CASEVAULT_STAMP_DIRECTORY | required: a stamp's token names its customer; optional: see docs/operators.md | required |
| CASEVAULT_UPLOAD_DAYS | days that an unfinished upload is kept after its last bytes | 7 |
| CASEVAULT_UPLOAD_LONGEST_DAYS | days that an unfinished upload is kept in all | 30 |
| CASEVAULT_PART_SECONDS | seconds after which an upload's received bytes are committed: a kill loses later ones | 60 |
| CASEVAULT_DISK_RESERVE | bytes that uploads leave free on the local disk, for erasing and for the log | 2 GiB |
| CASEVAULT_TIME_SETTLE_HOURS | hours after which a clock that jumped is trusted, where no other can be asked | 24 |
| CASEVAULT_SCRUB_DAYS | days in which everything stored is read back once | 30 |
| CASEVAULT_CASE_NUMBER_PATTERN | regular expression of a case number | 15 or 16 digits |
| CASEVAULT_TRIGGER_PREFIXES | FaultIdType prefixes of hidden failure events, comma separated | none |
| CASEVAULT_TRIGGERS_FILE | CSV of further triggers: fault_id_type,alert_title | none |
| CASEVAULT_WITNESS_FOLDER | folder that witnesses the log, best on another medium | witness, beside the records |
| CASEVAULT_WITNESS_BUCKET | S3 bucket with Object Lock; replaces the folder | none |
| CASEVAULT_WITNESS_ENDPOINT | https address of a store that speaks S3 and is not AWS | AWS |
| CASEVAULT_WITNESS_DAYS | days for which the bucket locks what it keeps | 365 |
| CASEVAULT_COSIGNERS | witnesses that others run: verifier key and https address, comma separated | none |
| CASEVAULT_COSIGNERS_CA | PEM bundle that their certificates are checked against | the system's |
| CASEVAULT_COSIGN_LOGS | logs of others that are cosigned here: their verifier keys, comma separated | none |
| CASEVAULT_COSIGN_NAME | the name of the key that cosigns them | .../witness, next to the log's |
| CASEVAULT_DEVELOPMENT | 1: rehearsal, with the development issuer and a clock that can be moved | 0 |

The settings of Blob Storage and Key Vault are in config_azure.py, those of notices in config_notices.py, those of
telemetry by OTLP in config_telemetry.py.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

from audit.cosigning.client import Cosignatory
from audit.cosigning.cosignature import parse_witness_key
from audit.tlog.checkpoint import NoteError, Verifier
from retention.config_azure import AzureSettings, azure_from_environment
from retention.config_notices import NoticeSettings, notices_from_environment
from retention.config_telemetry import TelemetrySettings, telemetry_from_environment
from retention.custody.context import Limits
from retention.domain.bundle import Triggers
from retention.domain.trusted_time import SETTLE
from retention.keys.signing import LOG_KEY
from retention.records.postgres_url import CONNECTIONS, UnsafeUrlError, check_url

DISK_RESERVE = 2 << 30
"""docs/operations.md has the arithmetic."""


class SettingError(ValueError):
    """A setting without a usable value; the text names it and says what is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorSettings:
    """The log's mirror (a bucket if one is named, else a folder), the witnesses asked to cosign it, the logs cosigned
    here, and under which name."""

    folder: Path | None = None
    bucket: str | None = None
    endpoint: str | None = None
    period: timedelta = timedelta(days=365)
    cosigners: tuple[Cosignatory, ...] = ()
    cosigner_authorities: Path | None = None
    cosigned_logs: tuple[Verifier, ...] = ()
    cosigner_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKeys:
    """The keys with which outsiders check the log and its receipts."""

    log: Verifier
    receipts: Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that assembly needs. With `public_keys` a process signs nothing, and reads no key that signs."""

    state: Path
    log_origin: str = "casevault.local/log"
    public_keys: PublicKeys | None = None
    development: bool = False
    limits: Limits = field(default_factory=Limits)
    disk_reserve: int = DISK_RESERVE
    time_settle: timedelta = SETTLE
    database_url: str | None = field(default=None, repr=False)  # it may hold a password
    database_by_token: bool = False
    database_connections: int = CONNECTIONS
    stamps_named: bool = True
    trigger_prefixes: tuple[str, ...] = ()
    triggers_file: Path | None = None
    azure: AzureSettings = field(default_factory=AzureSettings)
    scrub_period: timedelta = timedelta(days=30)
    witness: MirrorSettings = field(default_factory=MirrorSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    notices: NoticeSettings = field(default_factory=NoticeSettings)

    @property
    def has_local_parts(self) -> bool:
        """True if anything that must last is in the state folder."""
        remote = self.database_url, self.azure.blob, self.azure.key_url, self.azure.signing_vault_url
        return not all(remote)

    @property
    def records_file(self) -> Path:
        return self.state / "records.db"

    @property
    def objects_folder(self) -> Path:
        return self.state / "objects"

    @property
    def data_keys_folder(self) -> Path:
        return self.state / "data-keys"

    @property
    def key_file(self) -> Path:
        """The key-encryption key's file: back it up apart from the rest."""
        return self.state / "key-encryption-key.json"

    @property
    def log_key_file(self) -> Path:
        return self.state / LOG_KEY

    @property
    def cosigned_folder(self) -> Path:
        """The folder of the last cosigned checkpoint of each of others' logs: older ones are refused by it."""
        return self.state / "cosigned"

    @property
    def cosigner_name(self) -> str:
        return self.witness.cosigner_name or _key_name(self.log_origin, "witness")

    @property
    def log_folder(self) -> Path:
        """The folder of tiles and checkpoint, which the mirror copies."""
        return self.state / "log"

    @property
    def witness_folder(self) -> Path:
        return self.witness.folder or self.state / "witness"

    @property
    def clock_file(self) -> Path:
        return self.state / "development-clock"

    @property
    def receipt_key_name(self) -> str:
        """The receipt key's name in notes, next to the log's."""
        return _key_name(self.log_origin, "receipts")


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Read the settings from `environ`; SettingError names the wrong variable."""
    pattern = environ.get("CASEVAULT_CASE_NUMBER_PATTERN", Limits().case_number_pattern)
    try:
        re.compile(pattern)
    except re.error as error:
        raise SettingError(f"CASEVAULT_CASE_NUMBER_PATTERN is not a regular expression: {error}") from None
    limits = Limits(
        max_bundle_size=whole_number(environ, "CASEVAULT_MAX_BUNDLE_SIZE", Limits().max_bundle_size),
        upload_lifetime=timedelta(days=whole_number(environ, "CASEVAULT_UPLOAD_DAYS", 7)),
        upload_longest=timedelta(days=whole_number(environ, "CASEVAULT_UPLOAD_LONGEST_DAYS", 30)),
        part_seconds=whole_number(environ, "CASEVAULT_PART_SECONDS", 60, least=5, most=3600),
        case_number_pattern=pattern,
        stamp_quota=_quota(environ, "CASEVAULT_STAMP_QUOTA"),
        case_quota=_quota(environ, "CASEVAULT_CASE_QUOTA"),
    )
    triggers_file = environ.get("CASEVAULT_TRIGGERS_FILE")
    origin = _origin(environ.get("CASEVAULT_LOG_ORIGIN", "casevault.local/log"))
    return Settings(
        state=Path(environ.get("CASEVAULT_STATE", "casevault-state")).resolve(),
        log_origin=origin,
        public_keys=_public_keys(environ, origin),
        development=_flag(environ, "CASEVAULT_DEVELOPMENT"),
        limits=limits,
        disk_reserve=whole_number(environ, "CASEVAULT_DISK_RESERVE", DISK_RESERVE),
        time_settle=timedelta(hours=whole_number(environ, "CASEVAULT_TIME_SETTLE_HOURS", 24)),
        database_url=_database_url(environ),
        database_by_token=_database_by_token(environ),
        database_connections=whole_number(environ, "CASEVAULT_DATABASE_CONNECTIONS", CONNECTIONS),
        stamps_named=_stamps_named(environ),
        trigger_prefixes=tuple(
            p.strip() for p in environ.get("CASEVAULT_TRIGGER_PREFIXES", "").split(",") if p.strip()
        ),
        triggers_file=Path(triggers_file) if triggers_file else None,
        azure=_azure(environ, limits),
        scrub_period=timedelta(days=whole_number(environ, "CASEVAULT_SCRUB_DAYS", 30)),
        witness=_witness(environ),
        telemetry=_telemetry(environ),
        notices=_notices(environ),
    )


def _key_name(origin: str, name: str) -> str:
    return f"{origin.rsplit('/', 1)[0]}/{name}"


def _public_keys(environ: Mapping[str, str], origin: str) -> PublicKeys | None:
    log = _verifier(environ, "CASEVAULT_LOG_VERIFIER", origin)
    receipts = _verifier(environ, "CASEVAULT_RECEIPT_VERIFIER", _key_name(origin, "receipts"))
    if log is None and receipts is None:
        return None
    if log is None or receipts is None:
        raise SettingError(
            "only one of CASEVAULT_LOG_VERIFIER and CASEVAULT_RECEIPT_VERIFIER is set: set both or neither"
        )
    return PublicKeys(log=log, receipts=receipts)


def _verifier(environ: Mapping[str, str], name: str, of: str) -> Verifier | None:
    key = environ.get(name) or None
    try:
        verifier = None if key is None else Verifier.parse(key)
    except NoteError as error:
        raise SettingError(
            f"{name} is not a verifier key as `casevault audit keys` shows it: {error}"
        ) from None
    if verifier is not None and verifier.name != of:
        raise SettingError(
            f"{name} is the key of {verifier.name}; by CASEVAULT_LOG_ORIGIN it must be that of {of}"
        )
    return verifier


def _azure(environ: Mapping[str, str], limits: Limits) -> AzureSettings:
    try:
        return azure_from_environment(environ, limits.upload_lifetime, limits.max_bundle_size)
    except ValueError as error:
        raise SettingError(str(error)) from None


def _telemetry(environ: Mapping[str, str]) -> TelemetrySettings:
    try:
        return telemetry_from_environment(environ)
    except ValueError as error:
        raise SettingError(str(error)) from None


def _notices(environ: Mapping[str, str]) -> NoticeSettings:
    try:
        return notices_from_environment(environ)
    except ValueError as error:
        raise SettingError(str(error)) from None


def _witness(environ: Mapping[str, str]) -> MirrorSettings:
    folder = environ.get("CASEVAULT_WITNESS_FOLDER")
    asked = environ.get("CASEVAULT_COSIGNERS", "").split(",")
    authorities = environ.get("CASEVAULT_COSIGNERS_CA")
    return MirrorSettings(
        folder=Path(folder).resolve() if folder else None,
        bucket=environ.get("CASEVAULT_WITNESS_BUCKET") or None,
        endpoint=environ.get("CASEVAULT_WITNESS_ENDPOINT") or None,
        period=timedelta(days=whole_number(environ, "CASEVAULT_WITNESS_DAYS", 365)),
        cosigners=tuple(_cosigner(text) for text in asked if text.strip()),
        cosigner_authorities=Path(authorities).resolve() if authorities else None,
        cosigned_logs=_cosigned_logs(environ.get("CASEVAULT_COSIGN_LOGS", "")),
        cosigner_name=_cosigner_name(environ.get("CASEVAULT_COSIGN_NAME")),
    )


def _cosigned_logs(text: str) -> tuple[Verifier, ...]:
    try:
        logs = tuple(Verifier.parse(key.strip()) for key in text.split(",") if key.strip())
    except NoteError as error:
        raise SettingError(f"CASEVAULT_COSIGN_LOGS has a key that cannot be used: {error}") from None
    if len({log.name for log in logs}) < len(logs):
        raise SettingError("CASEVAULT_COSIGN_LOGS names a log twice: name each with one key")
    return logs


def _cosigner_name(name: str | None) -> str | None:
    try:
        return Verifier(name, bytes(32)).name if name else None
    except NoteError as error:
        raise SettingError(f"CASEVAULT_COSIGN_NAME cannot be used: {error}") from None


def _cosigner(text: str) -> Cosignatory:
    key, _, url = text.strip().partition(" ")
    try:
        verifier = parse_witness_key(key)
    except NoteError as error:
        raise SettingError(f"CASEVAULT_COSIGNERS has a key that cannot be used: {error}") from None
    if not url.strip().startswith("https://"):
        raise SettingError(f"CASEVAULT_COSIGNERS needs an https address after the key of {verifier.name}")
    return Cosignatory(url.strip(), verifier)


def _database_url(environ: Mapping[str, str]) -> str | None:
    url = environ.get("CASEVAULT_DATABASE_URL") or None
    try:
        return url and check_url(url).render_as_string(hide_password=False)
    except UnsafeUrlError as error:
        raise SettingError(f"CASEVAULT_DATABASE_URL cannot be used: {error}") from None


def _database_by_token(environ: Mapping[str, str]) -> bool:
    identity = environ.get("CASEVAULT_DATABASE_IDENTITY") or None
    if identity is None:
        return False
    if identity != "entra":
        raise SettingError(f"CASEVAULT_DATABASE_IDENTITY must be entra or unset, not {identity!r}")
    url = environ.get("CASEVAULT_DATABASE_URL") or None
    if url is None:
        raise SettingError(
            "CASEVAULT_DATABASE_IDENTITY needs CASEVAULT_DATABASE_URL: name its database there"
        )
    parsed = check_url(url)
    if parsed.password is not None or "password" in parsed.query:
        raise SettingError(
            "CASEVAULT_DATABASE_URL must not hold a password: CASEVAULT_DATABASE_IDENTITY provides it"
        )
    if not (parsed.username or "user" in parsed.query):
        raise SettingError(
            "CASEVAULT_DATABASE_URL must name the role that the identity is mapped to: postgresql://<role>@host/..."
        )
    return True


def _origin(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.-]+(/[A-Za-z0-9._-]+)+", text):
        raise SettingError(f"CASEVAULT_LOG_ORIGIN must look like logs.example.com/casevault, not {text!r}")
    return text


def whole_number(
    environ: Mapping[str, str], name: str, default: int, *, least: int = 1, most: int | None = None
) -> int:
    """Read a setting that is a whole number from `least` to `most`; SettingError if it is not."""
    text = environ.get(name, str(default))
    number = int(text) if text.isascii() and text.isdigit() else -1
    if number < least or (most is not None and number > most):
        bound = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise SettingError(f"{name} must be a whole number {bound}, not {text!r}")
    return number


def _stamps_named(environ: Mapping[str, str]) -> bool:
    text = environ.get("CASEVAULT_STAMP_DIRECTORY", "required")
    if text not in ("required", "optional"):
        raise SettingError(f"CASEVAULT_STAMP_DIRECTORY must be required or optional, not {text!r}")
    return text == "required"


def _quota(environ: Mapping[str, str], name: str) -> int | None:
    return whole_number(environ, name, 1) if name in environ else None


def _flag(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "0")
    if text not in ("0", "1"):
        raise SettingError(f"{name} must be 0 or 1, not {text!r}")
    return text == "1"


def read_triggers(settings: Settings) -> Triggers:
    """Read the alert table, the deployment's own rows, and the prefixes of hidden failure events."""
    titles = _read_table(files("retention").joinpath("fault-ids.csv").read_text("utf-8"), "fault-ids.csv")
    if settings.triggers_file is not None:
        try:
            text = settings.triggers_file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"CASEVAULT_TRIGGERS_FILE cannot be read: {error}") from None
        titles |= _read_table(text, "CASEVAULT_TRIGGERS_FILE")
    return Triggers(titles, settings.trigger_prefixes)


def _read_table(text: str, name: str) -> dict[str, str]:
    rows = list(csv.DictReader(text.splitlines()))
    if (
        not rows
        or set(rows[0]) != {"fault_id_type", "alert_title"}
        or any(None in row.values() for row in rows)
    ):
        raise SettingError(f"{name} must be CSV with the columns fault_id_type,alert_title")
    return {row["fault_id_type"].strip(): row["alert_title"].strip() for row in rows}
