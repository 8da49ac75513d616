"""Sending with an upload link and no token: through the Blob endpoint, in blocks, over several connections.

- The blob is named by a hash over the file's own SHA-256 and what is announced of it. So the same file through the same
  link is the same upload, from whatever machine, and another file of the same name is another.
- What can be proven: each block's CRC64 was checked by the service; the intake receipt, which a link with read hands
  out for one's own upload, names the SHA-256 of what is stored. Its signature is checked when the keys are at hand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intake_api.cli import staging
from intake_api.cli.blob import UNSEEN, Blob, Link, read_problem
from intake_api.cli.blocks import fitting
from intake_api.cli.errand import Errand, share
from intake_api.cli.errors import CliError, ServiceProblem
from intake_api.cli.printing import say
from intake_api.cli.progress import transfer
from intake_api.cli.receipts import Keys, checked, wait_until, words
from intake_api.cli.remembered import Begun, Way
from intake_api.cli.tus import insist
from retention.receipt import INTAKE

LANES = 4
UNSIGNED = "about this very file; its signature was not checked: pass --keys for that"
NO_RECEIPT = (
    "none: this link lacks the permission to read; the service checked each block's CRC64, and committed them"
)


@dataclass(frozen=True, slots=True)
class Received:
    """The receipt's own fields, and how far they were checked."""

    fields: Mapping[str, Any]
    document: dict[str, Any]
    held: str


def blob_name(it: Errand, sha256: str | None) -> str:
    """The same for the same bytes, announced alike; its last part is the file's name."""
    told = json.dumps([sha256 or it.what.identity, sorted(it.same.items())])
    return f"{hashlib.sha256(told.encode()).hexdigest()[:32]}/{it.what.name}"


def deliver(it: Errand, link: Link) -> tuple[Blob, str | None, str | None]:
    """Send it, or the rest of it: the blob, the bundle's id, and the file's SHA-256 if it was announced.

    The link is tried before the file is read for its digest; ServiceProblem says why it would not do.
    """
    size = it.what.size
    client = it.client.elsewhere(link.server, read_problem)
    Blob(link, it.what.name, it.client).standing(client)
    sha256 = it.sha256()
    blob = Blob(link, blob_name(it, sha256), it.client)
    standing = blob.standing(client)
    kept, gaps = fitting(standing.held, size)
    begun = it.place.begun()
    announced = begun.announced if begun and begun.way is Way.LINK else it.announced(sha256)
    if standing.whole and standing.size != size:
        raise CliError("the service has another file in this one's place; ask for another link")
    if standing.whole or kept:
        there = size if standing.whole else size - sum(length for _, length in gaps)
        say(f"going on with {standing.bundle}: the service has {share(there, size)} already")
    bundle = standing.bundle
    if not standing.whole:
        it.place.keep(Begun(Way.LINK, announced=announced))
        with transfer("sending", size) as progress:
            missing = staging.Missing(gaps, kept, size, progress)
            staging.send(blob, it.what.path, missing, announced, it.pace, it.connections or LANES)
        bundle = insist(client, lambda: blob.commit(client, sorted(missing.offsets), announced))
    it.place.forget()
    return blob, bundle, sha256


def receive(blob: Blob, keys: Keys | None) -> Received | None:
    """The intake receipt, as soon as the service has read the bundle back; None when this link shows none."""
    client = blob.connect()
    document: dict[str, Any] = {}

    def ready() -> bool:
        document.update(blob.receipt(client) or {})
        return bool(document)

    try:
        wait_until(client, ready, "the intake receipt")
    except ServiceProblem as problem:
        if problem.code != UNSEEN:
            raise
        return None
    if keys is None:
        fields = document.get("receipt")
        if not isinstance(fields, Mapping) or fields.get("format") != INTAKE:
            raise CliError("what the service handed out is not an intake receipt")
        return Received(fields, document, UNSIGNED)
    found = checked(document, keys, INTAKE)
    return Received(found.fields, document, words(found))
