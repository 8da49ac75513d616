"""The show: load, chaos and mischief for some time; then quiet, evidence, and the judge."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import requests
from sqlalchemy import func, select

from audit.entry import parse_leaf
from audit.log.tables import audit_entries
from audit.log.verify import verify_folder
from audit.tlog.checkpoint import NoteError, Verifier, open_checkpoint
from audit.tlog.merkle import root
from audit.tlog.tile_store import (
    CHECKPOINT_PATH,
    TILE_WIDTH,
    TileMissingError,
    TileReader,
    TileSource,
    decode_entries,
    entries_path,
)
from retention.assembly import Services
from retention.domain.bundle import BundleState
from retention.domain.receipt import ReceiptBroken, check
from retention.jobs.sweep import failed_erasures, pending_erasures
from retention.records.tables import bundles
from tests.scale.caller import BROKEN, Caller, GaveUp
from tests.scale.chaos import Chaos
from tests.scale.host import Host, Mischief, Ticks
from tests.scale.installation import Installation
from tests.scale.judge import Evidence, judge
from tests.scale.ledger import Ledger
from tests.scale.load import ENGINEERS, Load

QUIET_SECONDS = 180
READ_SECONDS = 5
"""How long the judge tries to read a bundle, once nothing dies any more."""


@dataclass(slots=True)
class Outcome:
    """What came of a show."""

    ledger: Ledger
    evidence: Evidence
    broken: list[str]
    counts: Counter[str] = field(default_factory=Counter)
    takeovers: list[float] = field(default_factory=list)
    """Seconds from the kill of the sequencer's holder to the next checkpoint that anybody saw."""


class HttpTiles:
    """The published log, as an auditor fetches it from any process. The checkpoint is asked for once."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._checkpoint: bytes | None = None

    def get(self, path: str) -> bytes:
        if path == CHECKPOINT_PATH and self._checkpoint is not None:
            return self._checkpoint
        answer = self._caller.call("GET", f"/audit/{path}")
        if answer.status_code != 200:
            raise TileMissingError(path)
        if path == CHECKPOINT_PATH:
            self._checkpoint = answer.content
        return answer.content


Enough = Callable[[Ledger, Chaos], bool]


def run(
    installation: Installation,
    *,
    seconds: float,
    every: float,
    seed: int,
    jumps: int = 1,
    enough: Enough = lambda *_: True,
) -> Outcome:
    """Load it for `seconds`, and on until it was `enough`, while something dies every few; let 91 days go by `jumps`
    times; then judge."""
    ledger = Ledger()
    host = Host(installation, seed, Mischief(), Ticks())
    load = Load(installation, ledger, seed)
    load.set_up()
    host.start()
    chaos = Chaos(installation, host, installation.dsn, seed, every)
    load.start()
    chaos.start()
    for jump in range(jumps + 1):
        time.sleep(seconds / (jumps + 1))
        if jump < jumps:
            installation.advance(timedelta(days=91))
    give_up = time.monotonic() + QUIET_SECONDS
    while not enough(ledger, chaos) and time.monotonic() < give_up:
        time.sleep(0.5)
    load.end()
    chaos.stop()
    host.calm.set()
    installation.advance(timedelta(days=91))
    found = gather(installation, ledger, settle(installation))
    host.stop()
    ledger.wrong += [f"chaos: {error}" for error in chaos.errors]
    ledger.wrong += host.errors
    counts = load.counts + host.counts + Counter({f"killed: {what}": n for what, n in chaos.kills.items()})
    return Outcome(ledger, found, judge(ledger, found), counts, _takeovers(chaos.holders_killed, load.growth))


def _takeovers(kills: list[float], growth: list[tuple[float, int]]) -> list[float]:
    after = [next((at - kill for at, _ in growth if at > kill), None) for kill in kills]
    return [seconds for seconds in after if seconds is not None]


def settle(installation: Installation, seconds: float = QUIET_SECONDS) -> str:
    """Wait until no work is left; what is left when patience ends."""
    give_up, left = time.monotonic() + seconds, "nothing was looked at"
    with installation.inside() as services:
        while time.monotonic() < give_up:
            left = _waiting(services)
            if not left:
                return ""
            time.sleep(0.5)
    return left


def _waiting(services: Services) -> str:
    custody, now = services.custody, services.custody.clock.now()
    failing = failed_erasures(custody, 10_000) + failed_erasures(custody, 10_000, early=True)
    pending = len(pending_erasures(custody, 10_000)) + len(failing)
    states = select(bundles.c.state, func.count()).group_by(bundles.c.state)
    due = select(func.count()).where(bundles.c.due_at <= now, bundles.c.state != BundleState.ERASED)
    late = (
        select(func.count())
        .where(bundles.c.expires_at <= now, bundles.c.received_at.is_(None), bundles.c.state != BundleState.ERASED)
    )  # fmt: skip
    loose = select(func.count()).where(audit_entries.c.leaf_index.is_(None))
    with custody.records.read() as reads:
        found = {row.state: row[1] for row in reads.execute(states)}
        counts = {
            "erasures pending": pending,
            "bundles due": reads.execute(due).scalar_one(),
            "uploads expired": reads.execute(late).scalar_one(),
            "bundles not read back": found.get(BundleState.RECEIVED, 0),
            "entries not sequenced": reads.execute(loose).scalar_one(),
        }
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number)


def gather(installation: Installation, ledger: Ledger, unsettled: str = "") -> Evidence:
    """What an auditor, the engineers and the account tell, once all is quiet."""
    auditor = Caller(installation, "ada", "Auditor", 0, threading.Event())
    keys = auditor.get("/audit/keys")
    log_key, receipt_key = Verifier.parse(keys["log"]), Verifier.parse(keys["receipts"])
    contents = _read_all(installation, ledger)
    receipts = _receipts(auditor, ledger, (log_key, receipt_key))
    unsettled = unsettled or settle(installation)  # what was just read is logged too
    tiles = HttpTiles(auditor)
    verdict = verify_folder(tiles, log_key)
    size = open_checkpoint(tiles.get(CHECKPOINT_PATH).decode(), log_key).size
    return Evidence(
        now=installation.clock.now(),
        leaves=_leaves(tiles, size),
        log_problems=[f"leaf {problem.leaf}: {problem.what}" for problem in verdict.problems],
        forks=_forks(ledger, tiles, log_key, size),
        stored=installation.stored(),
        contents=contents,
        receipts=receipts,
        unsettled=unsettled,
    )


def _leaves(tiles: TileSource, size: int) -> list[dict[str, Any]]:
    leaves: list[bytes] = []
    for number in range(-(-size // TILE_WIDTH)):
        leaves += decode_entries(tiles.get(entries_path(number, min(TILE_WIDTH, size - number * TILE_WIDTH))))
    return [parse_leaf(leaf) for leaf in leaves]


def _forks(ledger: Ledger, tiles: TileSource, key: Verifier, size: int) -> list[str]:
    """The checkpoints seen, at whatever process and time, that the final tree does not lead to."""
    forks, reader = [], TileReader(tiles, size)
    for note, where in ledger.checkpoints.items():
        try:
            seen = open_checkpoint(note, key)
        except NoteError as error:
            forks.append(f"{where} showed one that is not signed: {error}")
            continue
        if seen.size > size or root(seen.size, reader.get_node) != seen.root:
            forks.append(f"of {seen.size} entries, shown at {where}")
    return forks


def _read_all(installation: Installation, ledger: Ledger) -> dict[str, str]:
    """Every bundle that was acknowledged, read whole by an engineer of its case."""
    engineer = Caller(
        installation, ENGINEERS[0], "SupportEngineer", 1, threading.Event(), patience=READ_SECONDS
    )
    operator = Caller(installation, "olga", "Operator", 2, threading.Event(), patience=READ_SECONDS)
    contents: dict[str, str] = {}
    granted: set[str | None] = set()
    for upload in ledger.uploads.values():
        if upload.acknowledged is None or _is_erased(operator, upload.bundle):
            continue
        if upload.case not in granted:
            body = {"reason": "the judge looks at everything", "duration_minutes": 60}
            engineer.post(f"/cases/{upload.case}/grants", body)
            granted.add(upload.case)
        contents[upload.bundle] = _content(engineer, upload.bundle)
    return contents


def _is_erased(operator: Caller, bundle: str) -> bool:
    answer = operator.call("GET", f"/bundles/{bundle}")
    return answer.status_code == 200 and answer.json()["state"] == "erased"


def _content(engineer: Caller, bundle: str) -> str:
    try:
        answer = engineer.call("GET", f"/bundles/{bundle}/content")
    except GaveUp as error:
        return str(error)
    except BROKEN as error:
        return type(error).__name__
    if answer.status_code != 200:
        return f"{answer.status_code} {answer.text[:200]}"
    return hashlib.sha256(answer.content).hexdigest()


def _receipts(
    auditor: Caller, ledger: Ledger, keys: tuple[Verifier, Verifier]
) -> dict[str, dict[str, Any] | str]:
    """Every receipt that somebody may ask for, checked offline."""
    subjects = {ask.confirmation: "erasures" for ask in ledger.asks if ask.confirmation}
    subjects |= {upload.bundle: "bundles" for upload in ledger.uploads.values() if upload.acknowledged}
    found: dict[str, dict[str, Any] | str] = {}
    for subject, kind in subjects.items():
        answer = auditor.call("GET", f"/{kind}/{subject}/receipt")
        found[str(subject)] = _checked(answer, keys)
    return found


def _checked(answer: requests.Response, keys: tuple[Verifier, Verifier]) -> dict[str, Any] | str:
    if answer.status_code != 200:
        return f"{answer.status_code} {answer.text[:200]}"
    log_key, receipt_key = keys
    try:
        return dict(check(answer.json(), receipt_key, log_key).fields)
    except ReceiptBroken as error:
        return str(error)
