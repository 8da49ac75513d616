"""The audit log: entries for those allowed to see them, checkpoints and proofs for anybody."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from flask import Response

from audit.log.append import LoggedEntry
from audit.times import rfc3339
from intake_api.api.authentication import caller, custody, the_door
from intake_api.api.looks import looked_at
from intake_api.api.routes.blueprint import Blueprint
from intake_api.schemas.audit import (
    ConsistencyAnswer,
    ConsistencyQuery,
    EntryPage,
    EntryQuery,
    ExportQuery,
    InclusionAnswer,
    InclusionQuery,
    ReaderPage,
    ReadersQuery,
    Redacted,
    Redaction,
    ReportQuery,
    UnusedGrantPage,
    VerifierKeys,
)
from retention.custody import redaction
from retention.custody.reading import audit_reports, log_queries
from retention.custody.reading.log_queries import Named

routes = Blueprint("audit", __name__, description="The audit log and its proofs")
_EXPORT_TYPES = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8", "ocsf": "application/jsonl"}
_PIECE = 64 * 1024
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}
_BINARY = {"type": "string", "format": "binary"}


@routes.on("GET", "/audit/entries")
@routes.takes(EntryQuery, "query")
@routes.gives(200, described=EntryPage)
def entries(query: dict[str, Any]) -> Any:
    """List entries, newest first: the leaf's fields, its place in the tree, its particulars, and its ids' names."""
    cursor, limit = query.pop("cursor"), query.pop("limit")
    page = log_queries.find_entries(custody(), caller(), log_queries.Asked(**query), cursor, limit)
    return {"items": [_shown(entry, named) for entry, named in page.entries], "next": page.next}


def _shown(entry: LoggedEntry, named: Named) -> dict[str, Any]:
    return {
        **entry.fields,
        "named": asdict(named),
        "leaf_index": entry.leaf_index,
        "particulars": entry.particulars,
        "redacted_at": None if entry.redacted_at is None else rfc3339(entry.redacted_at),
    }


@routes.on("GET", "/audit/readers")
@routes.takes(ReadersQuery, "query")
@routes.gives(200, ReaderPage)
def readers(query: dict[str, Any]) -> Any:
    """List who read a case, by person and grant, the latest read first."""
    cursor, limit = query.pop("cursor"), query.pop("limit")
    return audit_reports.list_readers(custody(), caller(), log_queries.Asked(**query), cursor, limit)


@routes.on("GET", "/audit/unused-grants")
@routes.takes(ReportQuery, "query")
@routes.gives(200, UnusedGrantPage)
def unused_grants(query: dict[str, Any]) -> Any:
    """List ended grants under which nothing was read, the last given first."""
    cursor, limit = query.pop("cursor"), query.pop("limit")
    return audit_reports.list_unused_grants(custody(), caller(), log_queries.Asked(**query), cursor, limit)


@routes.on("GET", "/audit/export")
@routes.takes(ExportQuery, "query")
@routes.gives(200, {"type": "string"}, content_type="application/jsonl")
def export(query: dict[str, Any]) -> Response:
    """Export all matching entries, oldest first, as JSON Lines, CSV or OCSF events."""
    return exported(query)


def exported(query: dict[str, Any]) -> Response:
    """Respond to a request for an export, whichever door it came through."""
    form = query.pop("format")
    lines = log_queries.export_entries(custody(), caller(), log_queries.Asked(**query), form)
    return Response(_gathered(lines), content_type=_EXPORT_TYPES[form])


def _gathered(lines: Iterator[str]) -> Iterator[bytes]:
    """Gather the lines into pieces worth sending."""
    gathered, size = [], 0
    for line in lines:
        gathered.append(line)
        size += len(line)
        if size >= _PIECE:
            yield "".join(gathered).encode()
            gathered, size = [], 0
    if gathered:
        yield "".join(gathered).encode()


@routes.on("POST", "/audit/entries/<entry>/redact")
@routes.takes(Redaction)
@routes.gives(200, Redacted)
def redact_entry(body: dict[str, Any], entry: str) -> Any:
    """Remove an entry's particulars, which can name somebody; its leaf stays, and the tree still verifies."""
    return redaction.redact_entry(custody(), caller(), entry, body["reason"])


@routes.on("POST", "/audit/actors/<actor>/redact")
@routes.takes(Redaction)
@routes.gives(200, Redacted)
def redact_actor(body: dict[str, Any], actor: str) -> Any:
    """Forget who an actor was: the name and identity on record, and the particulars of all their entries."""
    done = redaction.redact_person(custody(), caller(), actor, body["reason"])
    the_door().services.directory.forget(actor)
    return done


@routes.on("GET", "/audit/checkpoint")
@routes.gives(200, {"type": "string"}, content_type="text/plain")
def checkpoint() -> Response:
    """Return the newest signed checkpoint (C2SP)."""
    return Response(log_queries.read_checkpoint(custody()), content_type="text/plain; charset=utf-8")


@routes.on("GET", "/audit/checkpoint.cosigned")
@routes.gives(200, {"type": "string"}, content_type="text/plain")
def cosigned_checkpoint() -> Response:
    """Return the newest cosigned checkpoint (C2SP); on a busy log it is older than the newest."""
    return Response(log_queries.read_cosigned(custody()), content_type="text/plain; charset=utf-8")


@routes.on("GET", "/audit/keys")
@routes.gives(200, VerifierKeys)
def keys() -> Any:
    """Return the keys for checking checkpoints and receipts. Get them in another way too, and compare."""
    door = the_door()
    keys = {
        "log": door.services.log_key.key,
        "receipts": door.services.receipt_key.key,
    }
    return keys if door.cosigning is None else {**keys, "witness": door.cosigning.verifier.key}


@routes.on("GET", "/audit/tile/<int:level>/<path:place>")
@routes.gives(200, _BINARY, content_type="application/octet-stream")
def hash_tile(level: int, place: str) -> Response:
    """Return a tile of hashes (C2SP tlog-tiles)."""
    tile = log_queries.read_hash_tile(custody(), f"{level}/{place}")
    return Response(tile, content_type="application/octet-stream", headers=_FOR_EVER)


@routes.on("GET", "/audit/tile/entries/<path:place>")
@routes.gives(200, _BINARY, content_type="application/octet-stream")
def entries_tile(place: str) -> Response:
    """Return a tile of leaves (C2SP tlog-tiles), for auditors."""
    tile = log_queries.read_entries_tile(custody(), caller(), place)
    return Response(tile, content_type="application/octet-stream")


@routes.on("GET", "/audit/proofs/inclusion")
@routes.takes(InclusionQuery, "query")
@routes.gives(200, InclusionAnswer)
def inclusion(query: dict[str, Any]) -> Any:
    """Prove that an entry is in the tree."""
    proof = log_queries.prove_entry(custody(), caller(), query["entry"])
    looked_at(subject=query["entry"])
    return proof


@routes.on("GET", "/audit/proofs/consistency")
@routes.takes(ConsistencyQuery, "query")
@routes.gives(200, ConsistencyAnswer)
def consistency(query: dict[str, Any]) -> Any:
    """Prove that the log of one size extends the log of an earlier size."""
    hashes = log_queries.prove_growth(custody(), query["old"], query["new"])
    return {**query, "hashes": [base64.b64encode(hash_).decode() for hash_ in hashes]}
