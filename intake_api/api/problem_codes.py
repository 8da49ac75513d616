"""The problem codes, a row each: status, title, and what to do about it (/problems/<code>)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """A row of the table."""

    status: int
    title: str
    advice: str


PROBLEMS: Mapping[str, Problem] = {
    "malformed": Problem(
        400, "Malformed request", "The request cannot be read: correct it as `detail` says."
    ),
    "incomplete-body": Problem(
        400,
        "The body ended early",
        "Fewer bytes came than Content-Length declared. They are kept: ask for the offset and continue there.",
    ),
    "unauthenticated": Problem(
        401,
        "Not authenticated",
        "Send a valid bearer token of the configured issuer; `reason` says what failed.",
    ),
    "refused": Problem(
        403,
        "Refused",
        "You are known, but not allowed to do this; `reason` says why. The refusal is in the audit log.",
    ),
    "not-found": Problem(
        404,
        "Not found",
        "It does not exist, or you are not allowed to see it: the response is the same. Check the id.",
    ),
    "no-such-file": Problem(
        404, "No such file in the bundle", "List the bundle's files and use a path as listed."
    ),
    "method-not-allowed": Problem(
        405, "Method not allowed", "This address does not support this method; see the Allow header."
    ),
    "request-timeout": Problem(
        408,
        "The body stalled",
        "No bytes came for too long. Those that came are kept: ask for the offset and continue there.",
    ),
    "conflict": Problem(
        409,
        "Not in this state",
        "The present state does not allow this; `reason` says which state it is.",
    ),
    "offset-mismatch": Problem(
        409, "Another offset", "The upload is at another offset, given as `offset`: continue there."
    ),
    "upload-taken-over": Problem(
        409,
        "Taken over",
        "Another request is writing to this upload now. Ask for the offset before continuing.",
    ),
    "erased": Problem(
        410,
        "Erased",
        "The data is erased, or being erased; the tombstone says when and why. Nothing can bring it back.",
    ),
    "length-required": Problem(
        411,
        "Length required",
        "Send Content-Length. Only uploads (/uploads) accept chunked bodies, as their own length proves the end.",
    ),
    "tus-version": Problem(412, "Another tus version", "Send `Tus-Resumable: 1.0.0`."),
    "too-large": Problem(413, "Too large", "More bytes than were declared, or than are accepted at all."),
    "quota-exceeded": Problem(
        413,
        "No room in the quota",
        "`reason` says whose quota is full, `left` how many bytes remain. Have bundles erased, or the quota raised.",
    ),
    "uri-too-long": Problem(
        414, "The address is too long", "The query is longer than `limit` bytes: shorten its values."
    ),
    "unsupported-media-type": Problem(
        415, "Unsupported media type", "Send the Content-Type that `detail` names."
    ),
    "unsatisfiable-range": Problem(
        416, "Unsatisfiable range", "Ask for ranges inside the bundle, not too many and not overlapping."
    ),
    "invalid": Problem(422, "Invalid", "`errors` names each field that is wrong and says what it needs."),
    "not-an-archive": Problem(
        422,
        "Not an archive",
        "The bundle holds no files that could be listed one by one; read its content instead.",
    ),
    "file-not-readable": Problem(
        422,
        "The file cannot be read alone",
        "`reason` says why. The bundle's content can still be read as a whole.",
    ),
    "archive-damaged": Problem(
        422,
        "Damaged archive",
        "The archive inside the bundle is damaged; its bytes can still be read as a whole.",
    ),
    "archive-split": Problem(
        422,
        "One volume of a split archive",
        "Its files can be listed only after its volumes are joined; read the bundle's content instead.",
    ),
    "archive-too-large": Problem(
        422,
        "Archive too large",
        "The archive exceeds the limits for opening one here; read the bundle's content instead.",
    ),
    "checksum-mismatch": Problem(
        460,
        "Checksum Mismatch",
        "The bytes that came do not match their checksum; none of this request is kept. Send them again.",
    ),
    "too-many-refusals": Problem(
        429,
        "Refused too often",
        "You keep asking for what you are not allowed to have: `reason` says why. Wait as long as Retry-After says.",
    ),
    "internal": Problem(
        500, "Internal error", "The fault is the service's. Give the request id to the administrator."
    ),
    "seal-broken": Problem(
        500,
        "The seal is broken",
        "What is stored is not what was sealed, so none of it is shown. Give the request id to the administrator.",
    ),
    "unavailable": Problem(
        503,
        "Unavailable",
        "A part of the service does not respond. Nothing was done; try again after Retry-After.",
    ),
    "archive-busy": Problem(
        503,
        "Too many archives open",
        "There is no memory left to open another archive. Nothing was read; try again after Retry-After.",
    ),
    "busy": Problem(
        503,
        "Busy",
        "This process is serving as many requests of this kind as it can at once for you, for your customer or in all: "
        "`reason` says which. Nothing was done; try again after Retry-After, with fewer at once.",
    ),
    "store-full": Problem(
        507,
        "The store is full",
        "There is no room. What was received before is kept; the administrator must act.",
    ),
}
