"""Makes a small signed log with receipts and a cosignature. Run from the root: python -m tests.vectors.log.make

Provenance: written by this project's own code. Everything follows from fixed keys, ids, times and salts, so each run
makes the same files (tests/test_formats.py holds the code to that). What is in the folder:
    tile/..., checkpoint, checkpoint.cosigned    as the service publishes them under /audit/
    entries.json                                 of each entry its leaf, and the salt and particulars beside it
    intake-receipt.json, erasure-receipt.json    as the service hands them out
    keys.json                                    verifier keys, as /audit/keys shows them
    seeds.json                                   the private keys of all of them, hex
    expected.json                                what a reader must find
The first bundle is the one of tests/vectors/bundles/framing-2.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from audit.cosigning.cosignature import Cosigner
from audit.entry import Action, Entry, Outcome, canonical
from audit.log.append import append
from audit.log.sequencer import Sequencer
from audit.times import rfc3339
from audit.tlog.checkpoint import Signer, sign_note
from audit.tlog.merkle import leaf_hash
from audit.tlog.overdue import overdue
from audit.tlog.proofs import prove_inclusion
from audit.tlog.tile_store import LocalTileStore
from retention.domain.receipt import ERASURE, INTAKE, body_hash
from tests.audit.conftest import SteppingClock, make_engine
from tests.fakes.ids import an_id
from tests.vectors.bundles.make import BUNDLE, LENGTHS, plaintext, secret
from tests.vectors.bundles.make import HERE as BUNDLES

HERE = Path(__file__).parent
START = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
ENTRIES = 300
SEEDS = {name: secret(f"{name} signing key") for name in ("log", "receipts", "witness")}
LOG = Signer("casevault.example/log", SEEDS["log"])
RECEIPTS = Signer("casevault.example/receipts", SEEDS["receipts"])
WITNESS = Cosigner("witness.example/w1", SEEDS["witness"])
TENANT, CASE, STAMP, GRANT, ERASED = (
    an_id(kind, number) for kind, number in (("ten", 1), ("cas", 1), ("stp", 1), ("grn", 1), ("bun", 2))
)
OF_CASE = {"tenant": TENANT, "case": CASE}


def intake_receipt() -> dict[str, Any]:
    whole = b"".join(plaintext(number) for number in range(len(LENGTHS)))
    manifest = (BUNDLES / "framing-2" / "manifest.json").read_bytes()
    return {
        "format": INTAKE,
        "nonce": "00112233445566778899aabbccddeeff",
        "bundle": BUNDLE,
        "stamp": STAMP,
        "case": "120260301000001",
        "size": len(whole),
        "sha256": hashlib.sha256(whole).hexdigest(),
        "manifest": hashlib.sha256(manifest).hexdigest(),
        "seal": "AES256_GCM_HKDF_1MB",
        "received_at": rfc3339(START + timedelta(minutes=10)),
        "verified_at": rfc3339(START + timedelta(minutes=11)),
    }


def erasure_receipt() -> dict[str, Any]:
    gone = {"bundle": ERASED, "size": 3, "sha256": hashlib.sha256(b"abc").hexdigest(), "manifest": ""}
    return {
        "format": ERASURE,
        "erasure": an_id("ers", 1),
        "confirmation": "4821-7739-0156-3304",
        "scope": "bundle",
        "cause": "customer-request",
        "case": "120260301000001",
        "requested_at": rfc3339(START + timedelta(minutes=20)),
        "proven_at": rfc3339(START + timedelta(minutes=22)),
        "method": "data key destroyed; objects deleted; absence verified",
        "bundles": [{**gone, "erased_at": rfc3339(START + timedelta(minutes=22))}],
    }


def text(fields: dict[str, Any]) -> str:
    return canonical(fields).decode()


def story() -> Iterator[dict[str, Any]]:
    """What happened: fields of entries, in order."""
    intake, erasure = intake_receipt(), erasure_receipt()
    at = {"opened_at": rfc3339(START)}
    bundle, erased = {**OF_CASE, "bundle": BUNDLE}, {**OF_CASE, "bundle": ERASED}
    number = {"case_number": "120260301000001"}
    by_clock = {"actor": "act_clock", "actor_kind": "clock"}
    yield {"action": Action.TENANT_REGISTERED, "tenant": TENANT, "particulars": {"tenant": "Contoso"}}
    yield {"action": Action.CASE_OPENED, **OF_CASE, "details": at, "particulars": number}
    yield {"action": Action.CASE_ASSIGNED, **OF_CASE, "subject": an_id("act", 3)}
    for one, size in ((bundle, intake["size"]), (erased, 3)):
        announced = {"type": "on-demand", "size": size}
        named = {"file_name": "Logs für Ærø 😀.zip"}
        yield {
            "action": Action.UPLOAD_CREATED,
            **one,
            "subject": STAMP,
            "details": announced,
            "particulars": named,
        }
    received = {"received_at": intake["received_at"], "size": intake["size"], "parts": len(LENGTHS)}
    yield {
        "action": Action.BUNDLE_RECEIVED,
        **bundle,
        "details": {**received, "manifest": intake["manifest"]},
    }
    verified = {key: intake[key] for key in ("sha256", "manifest")}
    receipt = {"receipt": body_hash(text(intake))}
    yield {"action": Action.BUNDLE_VERIFIED, **bundle, **by_clock, "details": {**verified, **receipt}}
    until = {"expires_at": rfc3339(START + timedelta(hours=8))}
    why = {"reason": "Node 4 does not start", **number}
    yield {"action": Action.GRANT_GIVEN, **OF_CASE, "subject": GRANT, "details": until, "particulars": why}
    asked = {"cause": "customer-request", "scope": "bundle", "bundles": 1}
    under = {"subject": an_id("ers", 1)}
    yield {"action": Action.ERASURE_REQUESTED, **OF_CASE, **under, "details": asked}
    gone = {"cause": "customer-request", "size": 3, "method": erasure["method"]}
    yield {"action": Action.BUNDLE_ERASED, **erased, **by_clock, **under, "details": gone}
    proven = {"bundles": 1, "receipt": body_hash(text(erasure))}
    yield {"action": Action.ERASURE_PROVEN, **OF_CASE, **by_clock, **under, "details": proven}
    closed = {"closed_at": rfc3339(START + timedelta(days=1))}
    yield {"action": Action.CASE_CLOSED, **OF_CASE, "details": closed, "particulars": number}
    while True:
        refused = {"outcome": Outcome.REFUSED, "reason": "case-closed"}
        yield {"action": Action.BUNDLE_OPENED, **bundle, **refused, "actor": an_id("act", 4)}


def entries() -> list[Entry]:
    made = []
    for number, fields in zip(range(ENTRIES), story(), strict=False):
        common = {"actor": an_id("act", 2), "actor_kind": "administrator"}
        salt = secret(f"salt {number}")[:16]
        # One step back in time after every fifth: `at` is no order.
        at = START + timedelta(minutes=number - (3 if number % 5 == 4 else 0))
        made.append(Entry(id=an_id("ent", number), at=at, salt=salt, **{**common, **fields}))
    return made


def receipt_document(
    fields: dict[str, Any], leaves: list[bytes], note: str, tiles: LocalTileStore
) -> dict[str, Any]:
    (index,) = [number for number, leaf in enumerate(leaves) if body_hash(text(fields)).encode() in leaf]
    return {
        "receipt": fields,
        "note": sign_note(text(fields) + "\n", RECEIPTS),
        "leaf": base64.b64encode(leaves[index]).decode(),
        "proof": prove_inclusion(tiles, index, note).text(),
    }


def make(folder: Path) -> None:
    """Write all of it into `folder`."""
    shutil.rmtree(folder / "tile", ignore_errors=True)
    for name in ("checkpoint", "checkpoint.cosigned"):
        (folder / name).unlink(missing_ok=True)
    made, tiles = entries(), LocalTileStore(folder)
    with tempfile.TemporaryDirectory() as place:
        engine = make_engine(Path(place) / "log.db")
        with engine.begin() as connection:
            append(connection, made)
        Sequencer(engine, tiles, LOG, SteppingClock()).run_once()
        engine.dispose()
    note, leaves = tiles.get("checkpoint").decode(), [one.leaf() for one in made]
    tiles.put(
        "checkpoint.cosigned", (note + WITNESS.cosign(note.rpartition("\n\n")[0] + "\n", START)).encode()
    )
    written = [
        {
            "leaf": one.leaf().decode(),
            "leaf_hash": leaf_hash(one.leaf()).hex(),
            "salt": one.salt.hex() if one.particulars else None,
            "particulars": dict(one.particulars),
        }
        for one in made
    ]
    parsed = [json.loads(leaf) for leaf in leaves]
    due = START + timedelta(days=91)
    expected = {
        "size": ENTRIES,
        "root": note.split("\n")[2],
        "overdue": {
            rfc3339(now): [[late.bundle, late.case, rfc3339(late.deadline)] for late in overdue(parsed, now)]
            for now in (due - timedelta(microseconds=1), due)
        },
    }
    keys = {
        name: by.verifier.key for name, by in (("log", LOG), ("receipts", RECEIPTS), ("witness", WITNESS))
    }
    documents = {
        "entries.json": written,
        "intake-receipt.json": receipt_document(intake_receipt(), leaves, note, tiles),
        "erasure-receipt.json": receipt_document(erasure_receipt(), leaves, note, tiles),
        "keys.json": keys,
        "seeds.json": {name: seed.hex() for name, seed in SEEDS.items()},
        "expected.json": expected,
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
