"""`casevault demo`: the command, and its steps in order.

The steps follow one bundle from its collection to its tombstone. Everything goes over HTTPS as the people concerned,
except what only the service's own machine can do: moving the development clock, one sweep at a chosen moment, and
searching the disk.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import click

from intake_api.cli.cli_errors import CliError
from intake_api.cli.demo.access import grant, read, refuse_stranger, verify_log
from intake_api.cli.demo.collecting import LARGEST_FILE, Collected, collect
from intake_api.cli.demo.ending import close, deadline, last_second, prove
from intake_api.cli.demo.intake import meet, receive, register, upload
from intake_api.cli.demo.narrator import CASE, Life, Narrator
from intake_api.cli.demo.rehearsal import Stage, staged
from intake_api.cli.options import PATH, Command, with_json
from intake_api.cli.print_tables import show_json, size_of
from intake_api.cli.transfer.source import digest
from retention.config import DISK_RESERVE

STEPS = (
    meet,
    register,
    upload,
    receive,
    refuse_stranger,
    grant,
    read,
    verify_log,
    close,
    last_second,
    deadline,
    prove,
)


DEFAULT_BYTES = 64 << 20
LEAST_BYTES = 4 << 20


@click.command(cls=Command, examples=("casevault demo", "casevault demo --keep --state demo-state"))
@click.option("--keep", is_flag=True, help="Leave the service running at the end, to look around.")
@click.option("--state", type=PATH, help="New folder for the service's state.  [default: a temporary one]")
@click.option(
    "--bytes",
    "wanted",
    type=click.IntRange(min=LEAST_BYTES),
    default=DEFAULT_BYTES,
    show_default="64 MiB",
    help="Least size to collect.",
)
@with_json
def demo(keep: bool, state: Path | None, wanted: int, as_json: bool) -> None:
    """Show the whole life of a bundle on this machine, every step checked.

    Collects this machine's own logs as a stamp would, and takes them through the real service: upload with a cut,
    sealing, access, reading, audit, the deadline, erasure, receipts. Nothing leaves this machine.
    """
    _look_at_disk(state, wanted)
    narrator = Narrator(quiet=as_json)
    begun = time.monotonic()
    # The service starts while the logs are collected.
    with staged(state, keep) as stage, tempfile.TemporaryDirectory(prefix="casevault-demo-") as outside:
        narrator.tell(
            "The life of one bundle. Nothing leaves this machine; a check that fails ends the demo."
        )
        life = _collect(narrator, stage, Path(outside) / "rack-1.zip", wanted)
        stage.wait_until_ready()
        for step in STEPS:
            step(life)
    checks = sum(len(step.checked) for step in narrator.steps)
    took = time.monotonic() - begun
    narrator.tell(f"All {checks} checks hold; {took:.1f} s in all.")
    if keep:
        _explain(narrator, stage, state)
    if as_json:
        told = {
            "checks": checks,
            "seconds": round(took, 2),
            "steps": [asdict(step) for step in narrator.steps],
        }
        kept = {"server": stage.settings.origin, "state": str(stage.state), "process": stage.child.pid}
        show_json({**told, "kept": kept if keep else None})


def _look_at_disk(state: Path | None, wanted: int) -> None:
    """Raise CliError when the logs, the service's sealed copy and what it keeps free would not fit."""
    temporary = Path(tempfile.gettempdir())
    folder = temporary if state is None else next(each for each in state.absolute().parents if each.is_dir())
    sealed = wanted + LARGEST_FILE + DISK_RESERVE
    needs: dict[int, tuple[Path, int]] = {}
    for place, size in ((temporary, wanted + LARGEST_FILE), (folder, sealed)):
        device = place.stat().st_dev
        needs[device] = (place, size + needs.get(device, (place, 0))[1])
    for place, size in needs.values():
        free = shutil.disk_usage(place).free
        if free < size:
            raise CliError(
                f"the demo of {size_of(wanted)} needs {size_of(size)} under {place}, of which the service keeps "
                f"{size_of(DISK_RESERVE)} free, but only {size_of(free)} are free: ask for less with --bytes, or name "
                "another place with --state and TMPDIR"
            )


def _collect(narrator: Narrator, stage: Stage, target: Path, wanted: int) -> Life:
    with narrator.step("A stamp collects this machine's logs"):
        found = collect(target, wanted)
        size = target.stat().st_size
        narrator.say(_contents(found))
        narrator.check(
            size > 0, f"one zip of {size_of(size)}, {found.files:,} files; roles {', '.join(found.roles)}"
        )
        return Life(stage, narrator, found, size=size, sha256=digest(target))


def _contents(found: Collected) -> str:
    parts = [f"{size_of(found.own)} of its own logs and inventory (compressed)"]
    if found.python:
        parts.append(
            f"{size_of(found.python)} of the installed Python's files to fill up (stored as they are)"
        )
    if found.repeated:
        parts.append(f"{size_of(found.repeated)} of the same logs again")
    return ", ".join(parts)


def _explain(narrator: Narrator, stage: Stage, state: Path | None) -> None:
    narrator.tell("")
    narrator.tell(f"The service still runs at {stage.settings.origin}, its clock at day 90. Look around:")
    narrator.tell(f"  export CASEVAULT_SERVER={stage.settings.origin} CASEVAULT_STATE={stage.state}")
    narrator.tell(f"  casevault cases show {CASE} --as case-system:crm")
    narrator.tell("  casevault audit entries --as auditor:ada")
    narrator.tell(f"Stop it:  kill {stage.child.pid}")
    narrator.tell(f"Its state stays in {stage.state if state else stage.state.parent}")
