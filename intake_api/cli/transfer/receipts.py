"""Receipts for a caller: awaited, checked offline (retention/domain/receipt.py), kept in a file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from audit.tlog.checkpoint import Verifier
from intake_api.cli.cli_errors import CliError, ServiceProblem
from intake_api.cli.client import Client, segment
from intake_api.cli.output_file import Output
from retention.domain.receipt import ERASURE, INTAKE, Checked, ReceiptBroken, check

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
PATIENCE = 3600.0
"""Seconds for the read-back of the largest bundle by a busy service."""
_NOT_SEQUENCED = "not-sequenced"
Keys = tuple[Verifier, Verifier]


def checked(document: Mapping[str, Any], keys: Keys, expected: str | None = None) -> Checked:
    """Check a receipt and that it has the expected format."""
    log_key, receipt_key = keys
    try:
        found = check(document, receipt_key, log_key)
    except ReceiptBroken as error:
        raise CliError(f"the receipt is not genuine: {error}") from None
    kind = found.fields.get("format")
    if kind not in (INTAKE, ERASURE) or (expected is not None and kind != expected):
        raise CliError(f"the receipt has the format {kind!r}; {expected!r} was expected")
    return found


def words(found: Checked) -> str:
    """Say for a person what was checked of an intake receipt."""
    return (
        f"holds: signed, in the log as leaf {found.leaf_index} of {found.tree_size}, and for this very file"
    )


def hold_to(fields: Mapping[str, Any], bundle: str | None, size: int, sha256: str) -> None:
    """Check that the receipt's fields are about these very bytes; CliError if not."""
    said = {name: fields.get(name) for name in ("bundle", "size", "sha256")}
    if said != {"bundle": bundle, "size": size, "sha256": sha256}:
        raise CliError("the receipt is for other bytes than this file's; send the file again")


def receipt_path(subject: str) -> str:
    """Return the path of the receipt of a bundle (by id) or of an erasure (by confirmation number)."""
    kind = "bundles" if subject.startswith("bun_") else "erasures"
    return f"/{kind}/{segment(subject)}/receipt"


def wait_for_intake(client: Client, bundle: str, keys: Keys) -> tuple[Checked, dict[str, Any]]:
    """Wait until the service has read the bundle back; fetch and check the intake receipt."""

    def ready() -> bool:
        state = client.get(f"/bundles/{segment(bundle)}")["state"]
        if state not in ("receiving", "received", "complete"):
            raise CliError(
                f"bundle {bundle} is {state}: the stored bytes are not what was sent; send it again"
                if state == "damaged"
                else f"bundle {bundle} is {state}: there is no receipt"
            )
        return bool(state == "complete")

    wait_until(client, ready, f"the receipt of {bundle}")
    return _take(client, bundle, keys, INTAKE)


def wait_for_erasure(client: Client, confirmation: str, keys: Keys) -> tuple[Checked, dict[str, Any]]:
    """Wait until the erasure is proven; fetch and check its receipt."""
    path = f"/erasures/{segment(confirmation)}"
    wait_until(client, lambda: client.get(path)["state"] == "proven", f"the proof of erasure {confirmation}")
    return _take(client, confirmation, keys, ERASURE)


def _take(client: Client, subject: str, keys: Keys, kind: str) -> tuple[Checked, dict[str, Any]]:
    document: dict[str, Any] = {}

    def sequenced() -> bool:
        try:
            document.update(client.get(receipt_path(subject)))
        except ServiceProblem as problem:
            if problem.reason == _NOT_SEQUENCED:
                return False
            raise
        return True

    wait_until(client, sequenced, f"the receipt of {subject}")
    return checked(document, keys, kind), document


def wait_until(client: Client, done: Callable[[], bool], what: str) -> None:
    """Poll until `done`; CliError when that takes too long."""
    pause, end = FIRST_PAUSE, time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise CliError(f"{what} did not come within {PATIENCE / 60:.0f} minutes; try again later")
        client.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def write_receipt(document: Mapping[str, Any], place: Output) -> None:
    """Write a receipt to a file."""
    with place.writing() as target:
        target.write(f"{json.dumps(document, ensure_ascii=False, indent=2)}\n".encode())


def read_receipt(path: Path) -> dict[str, Any]:
    """Read a receipt from a file."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict):
        raise CliError(f"{path} is not a receipt written by `casevault receipts show`")
    return document
