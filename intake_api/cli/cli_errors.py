"""The command line's errors: one line for a person, and an exit code.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | it did not work; the line says why and what to do |
| 2 | the command was not understood |
| 3 | the service refused: not signed in, not allowed, or nothing of that name for this caller |
| 130 | stopped by the user |
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

FAILED, MISUSED, REFUSED, INTERRUPTED = 1, 2, 3, 130
_REFUSALS = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS}
)


_MENDABLE = {
    "sqlalchemy.exc": ("OperationalError",),
    "audit.log.tail_recovery": ("NotOurTailError",),
    "audit.mirror.copying": ("ForkedError",),
    "audit.log.sequencer": ("RolledBackError", "TreeDamagedError"),
    "audit.tlog.tile_store": ("TilesUnavailableError",),
    "audit.mirror.store": ("MirrorError",),
    "intake_api.identity.development": ("IssuerKeyRefused",),
    "retention.envelope.format": ("EnvelopeError",),
    "retention.domain.faults": ("CustodyError",),
    "retention.objects.store_errors": ("StoreError",),
    "retention.records.migrate": ("NotOurSchema",),
    "retention.config": ("SettingError",),
    "retention.keys.signing": ("SigningKeyRefused",),
}
"""Errors of the service's own parts whose text a person can act on, by module. Named, not imported: a command loads
only the parts it needs, and a part that was not imported raised nothing."""


def mendable() -> tuple[type[Exception], ...]:
    """Return the errors of `_MENDABLE` that this process can have raised, and OSError."""
    loaded = [(sys.modules[module], names) for module, names in _MENDABLE.items() if module in sys.modules]
    return (OSError, *(getattr(module, name) for module, names in loaded for name in names))


class CliError(Exception):
    """A command's failure, in one line for a person."""

    exit_code = FAILED


class Unreachable(CliError):
    """A failure to reach the service; whether it acted on the request is unknown."""

    refused = False
    """True when nothing listened at the address."""


class ServiceProblem(CliError):
    """A problem that the service reported (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(_sentence(status, problem))
        self.status = status
        self.problem = problem
        self.code = str(problem.get("type", "")).rpartition("/")[2]
        self.reason = problem.get("reason")
        if status in _REFUSALS:
            self.exit_code = REFUSED


def _sentence(status: int, problem: Mapping[str, Any]) -> str:
    said = str(problem.get("detail") or problem.get("title") or HTTPStatus(status).phrase)
    fields = problem.get("errors")
    if isinstance(fields, Mapping):
        missing = [f"{field} {what}" for field, what in fields.items() if str(what) not in said]
        said = "; ".join([said, *missing])
    if problem.get("reason"):
        said = f"{said} ({problem['reason']})"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and problem.get("request_id"):
        said = f"{said} [request {problem['request_id']}]"
    return said


def plain(text: str) -> str:
    """Make `text` safe for a terminal: a stranger's file name can neither move the cursor nor hide anything."""
    return "".join(_visible(character) for character in text)


def one_line(text: str) -> str:
    """Put `text` on one line, safe for a terminal."""
    return plain(" ".join(text.split()))


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] == "C" or category in ("Zl", "Zp"):  # also right-to-left overrides; line separators
        return character.encode("unicode_escape").decode("ascii")
    return character


def said(error: Exception) -> str:
    """Put one of `mendable()`, or a CliError, into words."""
    if (database := sys.modules.get("sqlalchemy.exc")) and isinstance(error, database.OperationalError):
        return f"the database does not respond: {error.orig}"  # its own text would quote the statement
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__
