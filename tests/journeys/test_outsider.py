"""An outsider with files and documents alone: a reader in JavaScript, written from docs/formats.md, reads a service.

`tests/outsider/` is that reader; whoever wrote it had not seen this code. Node's own modules only: no package, no skip.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.times import parse_rfc3339
from audit.tlog.unaccounted import Kind, unaccounted
from tests.outsider.files import Files, make_files, sealed_parts
from tests.outsider.sabotage import SABOTAGE

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text()
VECTORS = Path(__file__).resolve().parents[1] / "vectors"
READER = Path(__file__).resolve().parents[1] / "outsider" / "read.mjs"


class OutsiderError(Exception):
    """What the reader found wrong, in its own words."""


def read(command: str, *words: object) -> Any:
    """What the reader says, or the one line by which it refuses."""
    ran = subprocess.run(
        ["node", str(READER), command, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if ran.returncode == 1 and len(ran.stderr.splitlines()) == 1:
        raise OutsiderError(ran.stderr.strip())
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_files(tmp_path_factory.mktemp("outsider"), tmp_path_factory.mktemp("cosigner"))


@pytest.fixture
def copied(files: Files, tmp_path: Path) -> Files:
    """The same files, to be tampered with."""
    shutil.copytree(files.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("records.db*", "tls"))
    return Files(tmp_path / "copy", files.bundle, files.plain, files.closed, files.cosigner)


def test_a_bundle_of_24_parts_is_opened_from_files_alone(files: Files, tmp_path: Path) -> None:
    told = read("bundle", files.state, files.bundle, tmp_path / "plain")
    assert told["parts"] == 24 == len(sealed_parts(files))
    assert (tmp_path / "plain").read_bytes() == files.plain == (files.folder / "fetched").read_bytes()
    receipt = read("receipt", files.folder / "intake.json", files.keys)
    assert {name: told[name] for name in ("bundle", "size", "sha256", "manifest")} == {
        name: receipt[name] for name in ("bundle", "size", "sha256", "manifest")
    }


def test_the_log_is_rebuilt_and_its_export_and_older_checkpoints_are_held_to_it(files: Files) -> None:
    told = read(
        "log", files.log, files.keys, files.folder / "early", files.folder / "late", files.folder / "cosigned"
    )
    assert told["kept"] == 3 and told["size"] > 50
    assert [
        name for name in told["unknown"] if f"`{name}`" not in PAGE
    ] == []  # newer than the reader, and on the page
    lines = read("export", files.log, files.keys, files.folder / "export.jsonl")
    assert (
        lines["bound"] > 40 and lines["plain"] > 0 and lines["redacted"] == 1
    )  # the erased bundle's file name
    proven = read(
        "consistency", *(files.folder / name for name in ("consistency.json", "early", "late")), files.keys
    )
    assert proven["from"] < proven["to"]


def test_the_reader_reads_the_vectors_as_well(tmp_path: Path) -> None:
    """Whoever has no service has these: what they say must be found in them."""
    log, bundle = VECTORS / "log", VECTORS / "bundles" / "framing-2"
    expected = json.loads((log / "expected.json").read_text())
    assert read("log", log, log / "keys.json")["size"] == expected["size"]
    for at, late in expected["overdue"].items():
        found = read("overdue", at, log, log / "keys.json")
        assert [[one["bundle"], one["case"], one["due"]] for one in found] == late
    (name,) = (path.stem for path in (bundle / "data-keys").iterdir())
    stated = json.loads((bundle / "vectors.json").read_text())
    assert read("bundle", bundle, name)["manifest"] == stated["manifest_sha256"]


def test_the_cosignature_of_another_service_verifies(files: Files) -> None:
    cosigned = read("cosigned", files.folder / "cosigned", files.keys, files.cosigner)
    assert abs(cosigned["at"] - time.time()) < 3600 and cosigned["size"] > 0
    with pytest.raises(OutsiderError, match="not cosigned by"):
        read("cosigned", files.folder / "late", files.keys, files.cosigner)


def test_both_receipts_verify_offline(files: Files) -> None:
    intake, erasure = (
        read("receipt", files.folder / f"{kind}.json", files.keys) for kind in ("intake", "erasure")
    )
    assert intake["bundle"] == files.bundle and intake["sha256"] == hashlib.sha256(files.plain).hexdigest()
    assert [gone["size"] for gone in erasure["bundles"]] == [5000]
    with pytest.raises(OutsiderError, match="no data key: destroyed"):
        read("bundle", files.state, erasure["bundles"][0]["bundle"])


def test_overdue_begins_at_the_deadline_and_every_read_has_its_grant(files: Files) -> None:
    assert read("unaccounted", "2030-01-01T00:00:00.000000Z", files.log, files.keys) == []
    deadline = _later(files.closed, timedelta(days=90))
    assert read("overdue", _later(deadline, timedelta(microseconds=-1)), files.log, files.keys) == []
    (late,) = read("overdue", deadline, files.log, files.keys)
    assert (late["bundle"], late["due"]) == (files.bundle, deadline)


def _later(at: str, time_: timedelta) -> str:
    return f"{datetime.fromisoformat(at) + time_:%Y-%m-%dT%H:%M:%S.%fZ}"


@pytest.mark.parametrize("sabotage", SABOTAGE, ids=lambda sabotage: sabotage.__name__)
def test_a_bundle_that_was_tampered_with_does_not_open(
    copied: Files, sabotage: Callable[[Files], str]
) -> None:
    with pytest.raises(OutsiderError, match=sabotage(copied)):
        read("bundle", copied.state, copied.bundle)


def _tile(files: Files, kind: str) -> Path:
    size = int((files.log / "checkpoint").read_text().split("\n")[1])
    return files.log / "tile" / kind / "000.p" / str(size)


def test_a_leaf_that_was_tampered_with_is_named(copied: Files) -> None:
    path = _tile(copied, "entries")
    content = path.read_bytes()
    at = content.index(b'"outcome":"success"')
    number = content[:at].count(b'"action":') - 1
    path.chmod(0o600)
    path.write_bytes(content[:at] + b'"outcome":"refused"' + content[at + 19 :])
    with pytest.raises(OutsiderError, match=f"^leaf {number} is not the one in the tree$"):
        read("log", copied.log, copied.keys)


def test_a_tree_that_was_written_anew_is_not_the_signed_one(copied: Files) -> None:
    content = bytearray(_tile(copied, "entries").read_bytes())
    at = content.index(b'"outcome":"success"') + 11
    content[at : at + 7] = b"refused"
    leaves, place = [], 0
    while place < len(content):
        length = int.from_bytes(content[place : place + 2], "big")
        leaves.append(bytes(content[place + 2 : place + 2 + length]))
        place += 2 + length
    hashes = b"".join(hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves)
    for kind, written in (("entries", bytes(content)), ("0", hashes)):
        _tile(copied, kind).chmod(0o600)
        _tile(copied, kind).write_bytes(written)
    with pytest.raises(OutsiderError, match="root is not the signed one"):
        read("log", copied.log, copied.keys)


def test_particulars_that_were_changed_in_an_export_are_found(copied: Files) -> None:
    export = copied.folder / "export.jsonl"
    export.write_text(export.read_text().replace("node 7 crash", "node 8 crash"))
    with pytest.raises(OutsiderError, match="particulars are not those of its leaf"):
        read("export", copied.log, copied.keys, export)


def _forge(kind: str, files: Files, change: Callable[[dict[str, Any]], None]) -> Path:
    path = files.folder / f"{kind}.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, ensure_ascii=False))
    return path


def another_size(document: dict[str, Any]) -> None:
    document["receipt"]["nonce"] = "0" * 32


def another_signature(document: dict[str, Any]) -> None:
    text, line = document["note"].split("\n\n")
    head, signed = line.strip().rsplit(" ", 1)
    own = Ed25519PrivateKey.generate().sign(f"{text}\n".encode())
    forged = base64.b64encode(base64.b64decode(signed)[:4] + own).decode()
    document["note"] = f"{text}\n\n{head} {forged}\n"


def another_leaf(document: dict[str, Any]) -> None:
    leaf = base64.b64decode(document["leaf"]).replace(b'"at":"20', b'"at":"19')
    document["leaf"] = base64.b64encode(leaf).decode()


def another_number(document: dict[str, Any]) -> None:
    lines = document["proof"].split("\n")
    lines[1] = f"index {int(lines[1].split()[1]) ^ 1}"
    document["proof"] = "\n".join(lines)


FORGERIES = {
    another_size: "its note says something else",
    another_signature: "signature of .* does not verify",
    another_leaf: "not in the signed tree",
    another_number: "not in the signed tree",
}


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.__name__)
def test_a_forged_receipt_does_not_verify(copied: Files, forgery: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(OutsiderError, match=FORGERIES[forgery]):
        read("receipt", _forge("intake", copied, forgery), copied.keys)


def _replay(command: str, at: str, entries: list[dict[str, Any]], folder: Path) -> Any:
    """What the reader finds in leaves that nobody signed."""
    path = folder / "leaves"
    canonical = [
        json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False) for entry in entries
    ]
    path.write_text("\n".join(canonical))
    return read(command, at, path)


FAR = "2030-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("action", "why"),
    [
        ("grant.given", "no such grant"),
        ("case.assigned", "not assigned"),
        ("case.opened", "the case is not open"),
    ],
)
def test_a_read_that_lacks_what_allows_it_is_found(
    files: Files, tmp_path: Path, action: str, why: str
) -> None:
    kept = [entry for entry in files.entries() if entry["action"] != action]
    found = _replay("unaccounted", FAR, kept, tmp_path)
    reads = [number for number, entry in enumerate(kept) if entry["action"] == "bundle.opened"]
    assert len(reads) == 2 and [(one["number"], one["what"]) for one in found] == [
        (at, "unallowed") for at in reads
    ]
    assert all(why in one["why"] for one in found)


def test_a_read_of_a_bundle_that_another_case_holds_is_found(files: Files, tmp_path: Path) -> None:
    """The read's own entry names the case that it claims, and makes it nobody's holder."""
    entries = files.entries()
    other = next(entry["case"] for entry in entries if entry["action"] == "erasure.requested")
    held = {"upload.created", "upload.continued", "bundle.received"}
    moved = [
        {**entry, "case": other} if entry.get("bundle") == files.bundle and entry["action"] in held else entry
        for entry in entries
    ]
    found = _replay("unaccounted", FAR, moved, tmp_path)
    assert [one["why"] for one in found] == [["the case does not hold the bundle"]] * 2


def _asked_for(entries: list[dict[str, Any]], *, approved: bool, rule: str = "ask") -> list[dict[str, Any]]:
    """The same log, if the customer had wanted to be asked before its grants, and had been or not."""
    told: list[dict[str, Any]] = []
    for entry in entries:
        if entry["action"] != "grant.given":
            told.append(entry)
            continue
        request, by = f"apr_{entry['subject'][4:]}", f"act_{'b' * 26}"
        of = {"case": entry["case"], "tenant": entry["tenant"]}
        own = {**entry, "subject": request, "action": "approval.asked", "id": f"ent_{'c' * 26}"}
        asked = {**own, "details": {"lapses_at": FAR, "duration_seconds": 86400}}
        chosen = {**own, **of, "subject": entry["case"], "action": "approval-policy.set", "actor": by}
        chosen = {**chosen, "actor_kind": "operator", "details": {"rule": rule, "long_minutes": 15}}
        engineer = {"engineer": entry["actor"]}
        given = {
            **own,
            "action": "approval.given",
            "actor": by,
            "actor_kind": "operator",
            "details": engineer,
        }
        theirs = {**entry["details"], **engineer, "approval": request}
        granted = {**entry, "actor": by, "actor_kind": "operator", "details": theirs}
        told += [chosen, asked, given, granted] if approved else [chosen, entry]
    return told


@pytest.mark.parametrize(
    ("rule", "approved", "why"),
    [
        ("ask", True, []),
        ("ask", False, ["nobody approved the grant"]),
        ("own-cases", False, ["nobody approved the grant"]),
        ("own-cases", True, []),
        ("see", False, []),
    ],
)
def test_a_read_that_the_customer_had_to_approve_is_found_where_nobody_did(
    files: Files, tmp_path: Path, rule: str, approved: bool, why: list[str]
) -> None:
    """And casevault's own program finds the same."""
    told = _asked_for(files.entries(), approved=approved, rule=rule)
    found = _replay("unaccounted", FAR, told, tmp_path)
    assert [one["why"] for one in found if one["what"] == "unallowed"] == ([why] * 2 if why else [])
    ours = [one.why for one in unaccounted(told, parse_rfc3339(FAR)) if one.kind is Kind.UNALLOWED]
    assert ours == ([("no-approval",)] * 2 if why else [])


def test_what_was_not_erased_is_overdue(files: Files, tmp_path: Path) -> None:
    entries = files.entries()
    closed = next(entry for entry in entries if entry["action"] == "case.closed")
    other = next(entry["case"] for entry in entries if entry["action"] == "erasure.requested")
    both_closed = [*entries, {**closed, "id": f"ent_{'a' * 26}", "case": other}]
    assert [one["bundle"] for one in _replay("overdue", FAR, both_closed, tmp_path)] == [files.bundle]
    kept = [entry for entry in both_closed if entry["action"] != "bundle.erased"]
    assert len(_replay("overdue", FAR, kept, tmp_path)) == 2
