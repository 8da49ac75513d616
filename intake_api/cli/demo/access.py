"""The middle steps: an engineer is refused, assigned, granted access; reads; and all of it is in the log."""

from __future__ import annotations

import zipfile
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

from audit.times import parse_rfc3339
from intake_api.cli import public_log
from intake_api.cli.commands.fetch import content_path
from intake_api.cli.demo.collecting import PROBE_FILE
from intake_api.cli.demo.narrator import AUDITOR, CASE, CASE_SYSTEM, ENGINEER, OPERATOR, REASON, Life, refusal
from intake_api.cli.print_tables import moment


def refuse_stranger(life: Life) -> None:
    """Show that an engineer who is not assigned is refused."""
    n = life.narrator
    with n.step("An engineer who is not assigned to the case tries to read"):
        alice = life.client(ENGINEER)
        refusal(
            n,
            "no grant",
            HTTPStatus.FORBIDDEN,
            "not-assigned",
            lambda: alice.post(f"/cases/{CASE}/grants", {"reason": REASON}),
        )
        refusal(
            n,
            "cannot read it, or even learn that it exists",
            HTTPStatus.NOT_FOUND,
            None,
            lambda: alice.call("GET", content_path(life.bundle, None)),
        )


def grant(life: Life) -> None:
    """Assign the engineer, who grants herself access."""
    n = life.narrator
    with n.step("Assigned, she grants herself access, with a reason"):
        life.client(CASE_SYSTEM).post(f"/cases/{CASE}/assignments", {"subject": "alice"})
        alice = life.client(ENGINEER)
        refusal(
            n,
            "before the grant",
            HTTPStatus.FORBIDDEN,
            None,
            lambda: alice.call("GET", content_path(life.bundle, None)),
        )
        given = alice.post(f"/cases/{CASE}/grants", {"reason": REASON, "duration_minutes": 120})
        n.say(f"“{REASON}”")
        hours = parse_rfc3339(given["expires_at"]) - parse_rfc3339(given["granted_at"])
        n.check(
            given["live"] and hours == timedelta(hours=2), f"read-only until {moment(given['expires_at'])}"
        )


def read(life: Life) -> None:
    """List the bundle's files, read one, and a range of another."""
    n, alice = life.narrator, life.client(ENGINEER)
    with n.step("She looks inside without fetching the bundle"), zipfile.ZipFile(life.collected.path) as own:
        listed = {item["path"]: item["size"] for item in alice.items(f"/bundles/{life.bundle}/files")}
        expected = {info.filename: info.file_size for info in own.infolist()}
        n.check(
            listed == expected, f"{len(listed):,} files listed, paths and sizes as in the zip that was sent"
        )
        got = alice.call("GET", content_path(life.bundle, PROBE_FILE)).content
        n.check(got == own.read(PROBE_FILE), f"read {PROBE_FILE} alone: {len(got):,} bytes, the same")
        stored = [info for info in own.infolist() if info.compress_type == zipfile.ZIP_STORED]
        chosen = max(stored, key=lambda info: info.file_size)
        start = _data_offset(life.collected.path, chosen)
        length = min(chosen.file_size, 64 << 10)
        span = {"Range": f"bytes={start}-{start + length - 1}"}
        answer = alice.call("GET", content_path(life.bundle, None), headers=span)
        own_bytes = own.read(chosen)[:length]
        n.check(
            answer.status_code == HTTPStatus.PARTIAL_CONTENT and answer.content == own_bytes,
            f"read {length:,} bytes of {chosen.filename} by range, from byte {start:,}: the same",
        )


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Find where a stored entry's bytes begin: after its local header, name and extra field."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        lengths = file.read(4)
    return (
        info.header_offset
        + 30
        + int.from_bytes(lengths[:2], "little")
        + int.from_bytes(lengths[2:], "little")
    )


def verify_log(life: Life) -> None:
    """Check the log as customer, as auditor and as a stranger."""
    n = life.narrator
    with n.step("The customer and the auditor check the log"):
        seen = list(life.client(OPERATOR).items("/audit/entries", case=CASE, action="bundle.opened"))
        ended = [e["outcome"] for e in seen if e["actor_kind"] == "engineer" and e["bundle"] == life.bundle]
        n.check(
            sorted(ended) == ["refused", "success", "success"],
            f"Contoso's operator sees both reads of {life.bundle}, and the refused one",
        )
        _wait_until_sequenced(life)
        tiles = public_log.HttpTiles(life.client(AUDITOR))
        verdict = public_log.PublishedLog(tiles, life.keys[0]).walk([])
        n.check(
            verdict.good,
            f"the auditor rebuilt the whole log over HTTPS: {verdict.leaves} leaves lead to the signed checkpoint",
        )
        life.checkpoint = tiles.get("checkpoint").decode()
        stranger = public_log.verify_hashes(
            public_log.HttpTiles(life.stage.client()), life.keys[0], [life.checkpoint]
        )
        n.check(stranger.good, f"and so could anybody, without a token, from {stranger.leaves} hashes")


def _wait_until_sequenced(life: Life) -> None:
    """Wait until every entry so far is in the tree: one run of the sequencer, less than a second."""
    operator = life.client(OPERATOR)
    while any(entry["leaf_index"] is None for entry in operator.items("/audit/entries", case=CASE)):
        operator.sleep(0.1)
