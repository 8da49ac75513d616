"""The last steps: the case closes, 90 days pass, the bundle is gone, and that is proven."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus

from audit.entry import Outcome
from audit.times import parse_rfc3339, rfc3339
from audit.tlog.overdue import overdue
from audit.tlog.unaccounted import READS, Kind, unaccounted
from intake_api.cli import public_log
from intake_api.cli.commands.fetch import content_path
from intake_api.cli.demo.narrator import AUDITOR, CASE, CASE_SYSTEM, ENGINEER, OPERATOR, Life, refusal, search
from intake_api.cli.print_tables import moment
from intake_api.cli.transfer.receipts import wait_for_erasure
from retention.assembly import assemble
from retention.domain.deadline import RETENTION
from retention.jobs.sweep import SweepReport, sweep

ERASE_SECONDS = 30.0


def close(life: Life) -> None:
    """Close the case; access ends with it."""
    n = life.narrator
    with n.step("The case closes"):
        life.client(CASE_SYSTEM).post(f"/cases/{CASE}/close")
        case = life.client(CASE_SYSTEM).get(f"/cases/{CASE}")
        closed = next(e["effective_at"] for e in case["history"] if e["kind"] == "closed")
        life.deadline = parse_rfc3339(case["deadline"])
        n.check(
            life.deadline == parse_rfc3339(closed) + RETENTION,
            f"its data must be erased by {moment(case['deadline'])}: 90 days",
        )
        refusal(
            n,
            "the engineer's grant has ended",
            HTTPStatus.FORBIDDEN,
            None,
            lambda: life.client(ENGINEER).call("GET", content_path(life.bundle, None)),
        )


@dataclass(frozen=True, slots=True)
class _Stopped:
    """A clock stopped at one moment."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment

    sure = now


def last_second(life: Life) -> None:
    """Sweep at day 90 minus one second."""
    n = life.narrator
    before = life.deadline - timedelta(seconds=1)
    with n.step(f"The clock is moved to day 90 minus one second, {moment(rfc3339(before))}"):
        life.stage.move_clock(before)
        report = _sweep_at(life, before)
        bundle = life.client(OPERATOR).get(f"/bundles/{life.bundle}")
        # Time runs on: an erasure that the service itself begins after the deadline is no breach.
        still = bundle["state"] == "complete" or life.stage.clock.now() >= life.deadline
        n.check(report == SweepReport() and still, "swept: nothing is due, nothing happens")


def _sweep_at(life: Life, at: datetime) -> SweepReport:
    """Sweep the service's own records once, with the clock stopped at `at`."""
    with closing(assemble(life.stage.settings.custody)) as services:
        return sweep(replace(services.custody, clock=_Stopped(at)))


def deadline(life: Life) -> None:
    """Let the service erase the bundle on day 90."""
    n = life.narrator
    with n.step("The last second passes: day 90"):
        operator = life.client(OPERATOR)
        for _ in range(int(ERASE_SECONDS / 0.1)):
            bundle = operator.get(f"/bundles/{life.bundle}")
            if bundle["state"] == "erased":
                break
            operator.sleep(0.1)
        n.check(bundle["state"] == "erased", "the service's own sweep erased the bundle; nobody had to ask")
        (erasure,) = operator.items("/erasures")
        life.confirmation = erasure["confirmation"]
        begun = parse_rfc3339(erasure["requested_at"])
        n.check(
            timedelta(0) <= begun - life.deadline < timedelta(seconds=ERASE_SECONDS),
            f"begun {(begun - life.deadline).total_seconds():.2f} s after the deadline, not before; "
            f"confirmation {life.confirmation}",
        )


def prove(life: Life) -> None:
    """Check the receipt, the tombstone, the disk and the log."""
    n = life.narrator
    with n.step("What is left"):
        found, _ = wait_for_erasure(life.client(OPERATOR), life.confirmation, life.keys)
        (gone,) = found.fields["bundles"]
        n.check(
            (gone["bundle"], gone["size"], gone["sha256"]) == (life.bundle, life.size, life.sha256),
            f"an erasure receipt, verified offline: {found.fields['method']}",
        )
        tombstone = refusal(
            n,
            "a read",
            HTTPStatus.GONE,
            None,
            lambda: life.client(AUDITOR).call("GET", content_path(life.bundle, None)),
        )
        n.check(
            tombstone.problem.get("bundle") == life.bundle,
            "its tombstone remains, with state, cause and time",
        )
        n.check(_bytes_left(life) == 0, "not a byte of its parts or its data key is left in the store")
        n.check(
            not search(life.stage.state, life.collected.marker), "the marker is nowhere in the state folder"
        )
        tiles = public_log.HttpTiles(life.client(AUDITOR))
        leaves = list(public_log.proven_leaves(tiles, life.keys[0]))
        late = overdue(leaves, life.stage.clock.now())
        n.check(not late, "checked using only the log: nothing is overdue")
        reads = [leaf for leaf in leaves if leaf["action"] in READS and leaf["outcome"] == Outcome.SUCCESS]
        unallowed = [
            one for one in unaccounted(leaves, life.stage.clock.now()) if one.kind is not Kind.UNUSED
        ]
        n.check(
            bool(reads) and not unallowed,
            f"and each of its {len(reads)} reads had a grant and an assignment when it began",
        )
        log = public_log.PublishedLog(public_log.HttpTiles(life.client(AUDITOR)), life.keys[0])
        verdict = log.walk([life.checkpoint])
        n.check(
            verdict.good,
            f"the log of {verdict.leaves} leaves still leads to the checkpoint that the auditor kept",
        )


def _bytes_left(life: Life) -> int:
    """Count the bytes in files named after the bundle; an empty note that the key was destroyed remains."""
    custody = life.stage.settings.custody
    named = [
        *custody.objects_folder.rglob(f"{life.bundle}*/*"),
        *custody.data_keys_folder.glob(f"{life.bundle}*"),
    ]
    return sum(path.stat().st_size for path in named if path.is_file())
