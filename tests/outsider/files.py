"""What an outsider is given: the files of a service that was used, and of another one that cosigned its log."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests

from tests.journeys.served import ADMINISTRATOR, AUDITOR, CASE_SYSTEM, Served, start

OLGA, ALICE, RACK = "operator:olga@contoso", "engineer:alice", "stamp:rack-1@contoso"
SEGMENT = 1_048_520  # plaintext of a part's first segment
SIZES = [1, *(3_000 + 7 * number for number in range(19)), SEGMENT, SEGMENT + 1, 2 * SEGMENT, 70_000]


@dataclass(frozen=True)
class Files:
    """What an outsider was given: a state folder, and what somebody fetched from the service."""

    folder: Path
    bundle: str
    plain: bytes
    closed: str
    cosigner: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def log(self) -> Path:
        return self.state / "log"

    @property
    def keys(self) -> Path:
        return self.folder / "keys.json"

    def entries(self) -> list[dict[str, Any]]:
        """The entries that are in the tree, from the export."""
        lines = [json.loads(line) for line in (self.folder / "export.jsonl").read_text().splitlines()]
        return [line["entry"] for line in lines if line["leaf_index"] is not None]


def sealed_parts(files: Files) -> list[Path]:
    return sorted(
        (files.state / "objects" / files.bundle).glob("prt_*.sealed"), key=lambda path: path.stat().st_size
    )


def _until(looked: Callable[[], Any]) -> Any:
    for _ in range(300):
        if found := looked():
            return found
        time.sleep(0.1)
    raise AssertionError("it does not come")


def _send_in_requests(served: Served, case: str, plain: bytes) -> str:
    """One tus upload, each size a request: a request that ends, ends its part."""
    token = served.token({"subject": "rack-1", "role": "CaseVault.Stamp", "directory": "contoso"})
    line = requests.Session()
    line.verify, line.trust_env = str(served.ca), False
    line.headers.update({"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0"})
    collection = {
        "filename": "rack 1 \u00fc.bin",
        "type": "on-demand",
        "case": case,
        "logs_start": "2026-11-20T08:00:00Z",
        "logs_end": "2026-11-20T10:00:00Z",
        "time_collected": "2026-11-20T10:05:00Z",
    }
    metadata = ",".join(
        f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in collection.items()
    )
    headers = {"Upload-Length": str(len(plain)), "Upload-Metadata": metadata}
    created = line.post(f"{served.server}/uploads", headers=headers, timeout=30)
    assert created.status_code == 201, created.text
    place, offset = urljoin(served.server, created.headers["Location"]), 0
    for size in SIZES:
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        piece = plain[offset : offset + size]
        kept = line.patch(place, data=piece, headers=headers, timeout=30)
        assert kept.status_code == 204, kept.text
        offset += size
    return place.rsplit("/", 1)[1]


def _fetched(served: Served, path: str, name: Path, **headers: str) -> bool:
    answer = requests.get(f"{served.server}{path}", headers=headers, verify=str(served.ca), timeout=30)
    if answer.ok:
        name.write_bytes(answer.content)
    return answer.ok


def _live(served: Served, witness_key: str, folder: Path) -> Files:
    """A bundle of 24 parts and its receipt, reads under a grant, an erasure and its receipt, a close, a cosignature."""
    keys = folder / "keys.json"
    assert served.cli("audit", "keys", "-o", keys).code == 0
    served.do("tenants", "register", "Contoso", "--directory", "contoso", who=ADMINISTRATOR)
    served.do("stamps", "register", "Rack 1", "--subject", "rack-1", "--proactive", who=OLGA)
    kept, erased = served.case_number(), served.case_number()
    for case in (kept, erased):
        served.do("cases", "open", case, "--directory", "contoso", who=CASE_SYSTEM)
    assert served.cli("cases", "assign", kept, "alice", who=CASE_SYSTEM).code == 0
    _fetched(served, "/audit/checkpoint", folder / "early")
    plain = hashlib.shake_256(b"an outsider's bundle").digest(sum(SIZES))
    bundle = _send_in_requests(served, kept, plain)
    words: tuple[object, ...] = ("receipts", "show", bundle, "-o", folder / "intake.json", "--keys", keys)
    _until(lambda: served.cli(*words, who=RACK).code == 0)
    served.do("grant", kept, "--reason", "node 7 crash dump analysis", who=ALICE)
    assert served.cli("fetch", bundle, "-o", folder / "fetched", who=ALICE).code == 0
    assert served.cli("fetch", bundle, "--range", "5-9000", "-o", folder / "range", who=ALICE).code == 0
    small = folder / "small.bin"
    small.write_bytes(plain[:5000])
    served.do("send", small, "--case", erased, "--keys", keys, who=RACK)
    confirmation = served.do("erase", "--case", erased, "--yes", who=OLGA)["confirmation"]
    words = ("receipts", "show", confirmation, "-o", folder / "erasure.json", "--keys", keys)
    _until(lambda: served.cli(*words, who=OLGA).code == 0)
    served.do("cases", "close", kept, who=CASE_SYSTEM)
    _until(lambda: _all_numbered(served, folder / "export.jsonl"))
    served.pass_time(timedelta(minutes=2))  # old enough to be witnessed
    _until(lambda: _fetched(served, "/audit/checkpoint.cosigned", folder / "cosigned"))
    _fetched(served, "/audit/checkpoint", folder / "late")
    sizes = [(folder / name).read_text().split("\n")[1] for name in ("early", "late")]
    token = served.token({"subject": "ada", "role": "CaseVault.Auditor"})
    path = "/audit/proofs/consistency?from={}&to={}".format(*sizes)
    assert _fetched(served, path, folder / "consistency.json", Authorization=f"Bearer {token}")
    cosigner = folder / "cosigner.json"
    cosigner.write_text(json.dumps({**json.loads(keys.read_text()), "witness": witness_key}))
    (closed,) = (
        line["entry"] for line in _lines(folder / "export.jsonl") if line["entry"]["action"] == "case.closed"
    )
    return Files(folder, bundle, plain, closed["details"]["closed_at"], cosigner)


def _lines(export: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in export.read_text().splitlines()]


def _all_numbered(served: Served, export: Path) -> bool:
    """Whether what the export must show is in the tree; the export itself is an entry, and comes later."""
    assert served.cli("audit", "export", "--force", "-o", export, who=AUDITOR).code == 0
    ended = [line for line in _lines(export) if line["entry"]["action"] == "grant.ended"]
    return bool(ended) and ended[-1]["leaf_index"] is not None


def make_files(folder: Path, witness_folder: Path) -> Files:
    """The files of a service that has stopped, and of another service that cosigned its log."""
    origin = "logs.example/casevault"
    served = start(folder, CASEVAULT_LOG_ORIGIN=origin)
    try:
        log_key = requests.get(f"{served.server}/audit/keys", verify=str(served.ca), timeout=30).json()["log"]
    finally:
        served.stop()
    witness = start(witness_folder, CASEVAULT_COSIGN_LOGS=log_key, CASEVAULT_COSIGN_NAME="witness.example/w1")
    try:
        keys = requests.get(f"{witness.server}/audit/keys", verify=str(witness.ca), timeout=30).json()
        settings = {
            "CASEVAULT_LOG_ORIGIN": origin,
            "CASEVAULT_COSIGNERS": f"{keys['witness']} {witness.server}/witness/",
            "CASEVAULT_COSIGNERS_CA": str(witness.ca),
        }
        served = start(folder, **settings)
        try:
            found = _live(served, keys["witness"], folder)
        finally:
            served.stop()
    finally:
        witness.stop()
    return found
