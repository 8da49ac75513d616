"""Uploads: every contender takes the same file in turn, round after round; medians and ratios of one run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from caller import Line, Vault, begin_tus, curl, patch, seconds
from contenders import Contender, Stable
from measure import GB, MIB, cpu_seconds, forget_peaks, median, peaks_mb, quantile
from table import Row

MANY = 8
PAUSE = 0.3


@dataclass
class Taken:
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def rate(self, size: int) -> float:
        return size / 1e6 / median(self.wall)

    def per_gb(self, size: int) -> float:
        return median(self.cpu) / (size / GB)


def timed(contender: Contender, send: Callable[[], float], into: Taken) -> None:
    """One upload; what it stored is removed, and its removal is not measured."""
    before = cpu_seconds(contender.process.pid)
    into.wall.append(send())
    into.cpu.append(cpu_seconds(contender.process.pid) - before)
    for path in contender.stored.glob("*"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
    time.sleep(PAUSE)


def compare(stable: Stable, file: Path, rounds: int) -> list[Row]:
    """The rows of the first half of the table."""
    size = file.stat().st_size
    quiet = stable.casevault("casevault-quiet", quiet=True)
    vault, discard, nginx, tus = Vault(quiet), stable.discard(), stable.nginx(), stable.tus()

    def by_tus() -> float:
        begun = time.perf_counter()
        url, headers = vault.begin_tus(size)
        seconds(patch(quiet, file, url, headers))
        return time.perf_counter() - begun

    def by_reference() -> float:
        begun = time.perf_counter()
        url, headers = begin_tus(tus, size)
        seconds(patch(tus, file, url, headers))
        return time.perf_counter() - begun

    def put(contender: Contender) -> Callable[[], float]:
        return lambda: seconds(curl(contender, "-T", str(file), f"{contender.origin}/file"))

    plan: dict[str, tuple[Contender, Callable[[], float]]] = {
        "put": (quiet, lambda: seconds(vault.put(file))),
        "discard": (discard, put(discard)),
        "nginx": (nginx, put(nginx)),
        "patch": (quiet, by_tus),
        "tus": (tus, by_reference),
    }
    taken = {name: Taken() for name in plan}
    for turn in range(rounds + 1):
        for name, (contender, send) in plan.items():
            timed(contender, send, taken[name] if turn else Taken())  # the first round warms up
    return _rows(taken, size)


def _rows(taken: dict[str, Taken], size: int) -> list[Row]:
    wall = {name: median(each.wall) for name, each in taken.items()}
    cpu = {name: median(each.cpu) for name, each in taken.items()}
    told = {
        name: f"{each.rate(size):,.0f} MB/s, {each.per_gb(size):.2f} s/GB" for name, each in taken.items()
    }
    return [
        Row("upload, one PUT", taken["put"].rate(size), "MB/s", note=told["put"]),
        Row("the same server discarding", taken["discard"].rate(size), "MB/s", note=told["discard"]),
        Row("nginx DAV, plain, not synced", taken["nginx"].rate(size), "MB/s", note=told["nginx"]),
        Row("@tus/server, plain, not synced", taken["tus"].rate(size), "MB/s", note=told["tus"]),
        Row("upload by tus", taken["patch"].rate(size), "MB/s", note=told["patch"]),
        Row("upload against @tus/server, wall", wall["tus"] / wall["patch"], "x", 5, 8),
        Row("upload against @tus/server, server CPU", cpu["patch"] / cpu["tus"], "x", 0.20, 0.12, False),
        Row("upload against nginx DAV (warm), wall", wall["nginx"] / wall["put"], "x", 0.9, 1.0),
        Row("upload against discarding, wall", wall["discard"] / wall["put"], "x", 0.6, 0.9),
        Row("server CPU per GB", taken["put"].per_gb(size), "s", 1.1, 0.8, False),
    ]


def beside_background(stable: Stable, file: Path, rounds: int) -> list[Row]:
    """Uploads one after another while the clock process reads back the ones before, sequences and sweeps."""
    size = file.stat().st_size
    quiet, busy = (
        stable.casevault("casevault-alone", quiet=True),
        stable.casevault("casevault-busy", quiet=False),
    )
    vaults = {quiet.name: Vault(quiet), busy.name: Vault(busy)}
    taken = {name: Taken() for name in vaults}
    for turn in range(rounds + 1):
        for name, vault in vaults.items():
            for _ in range(3):
                wall = seconds(vault.put(file))
                if turn:
                    taken[name].wall.append(wall)
            if name == busy.name:
                while any(bundle["status"] == "in progress" for bundle in vault.bundles()):
                    time.sleep(0.1)
    rates = {name: each.rate(size) for name, each in taken.items()}
    told = f"{rates[quiet.name]:,.0f} MB/s without them"
    rows = [
        Row("upload with read-back, sequencing, sweep running", rates[busy.name], "MB/s", note=told),
        Row("the same, against without", rates[busy.name] / rates[quiet.name], "x"),
    ]
    return rows


def memory(stable: Stable, file: Path) -> list[Row]:
    """Peaks of the process that takes uploads: one upload, then MANY at once."""
    quiet = stable.casevault("casevault-memory", quiet=True)
    vault = Vault(quiet)
    start = max(peaks_mb(quiet.process.pid).values())
    forget_peaks(quiet.process.pid)
    seconds(vault.put(file))
    one = max(peaks_mb(quiet.process.pid).values())
    forget_peaks(quiet.process.pid)
    for upload in [vault.put(file) for _ in range(MANY)]:
        seconds(upload)
    many = max(peaks_mb(quiet.process.pid).values())
    size = f"{file.stat().st_size / MIB:,.0f} MiB; {start:.0f} MB before"
    return [
        Row("peak memory, one upload", one, "MB", 100, 70, False, size),
        Row("each further upload at once", (many - one) / (MANY - 1), "MB", 12, 10, False, f"{MANY} at once"),
    ]


def at_once(stable: Stable, file: Path, rounds: int) -> list[Row]:
    """MANY uploads at once, in turn with one alone: what they reach together, and what a byte costs then."""
    quiet = stable.casevault("casevault-at-once", quiet=True)
    vault, size = Vault(quiet), file.stat().st_size
    taken = {1: Taken(), MANY: Taken()}

    def together(number: int) -> float:
        begun = time.perf_counter()
        for upload in [vault.put(file) for _ in range(number)]:
            seconds(upload)
        return time.perf_counter() - begun

    for turn in range(rounds + 1):
        for number, into in taken.items():
            timed(quiet, partial(together, number), into if turn else Taken())
    rates = {number: each.rate(number * size) for number, each in taken.items()}
    cost = {number: each.per_gb(number * size) for number, each in taken.items()}
    alone = f"one alone: {rates[1]:,.0f} MB/s, {cost[1]:.2f} s/GB"
    return [
        Row(f"{MANY} uploads at once, together", rates[MANY], "MB/s", note=alone),
        Row("the same, against one alone", rates[MANY] / rates[1], "x"),
        Row(f"server CPU per GB, {MANY} at once", cost[MANY], "s"),
    ]


def small_requests(stable: Stable, file: Path, rounds: int) -> list[Row]:
    """Small requests on a kept-alive connection while uploads run without a pause."""
    quiet = stable.casevault("casevault-small", quiet=True)
    vault = Vault(quiet)
    line, took = Line(quiet), {"/healthz": [], "/cases/260101000000001": []}
    for _ in range(rounds):
        running = vault.put(file)
        time.sleep(0.1)
        while running.poll() is None:
            for path, times in took.items():
                times.append(line.timed(path, vault.bearer("CaseSystem")))
        seconds(running)
    health, case = took.values()
    note = f"/healthz; p99 {quantile(health, 0.99) * 1000:.1f} ms"
    told = f"a case with its history; p99 {quantile(case, 0.99) * 1000:.1f} ms"
    return [
        Row("a small GET while an upload runs, p50", median(health) * 1000, "ms", 2, 0.5, False, note),
        Row("an authorized record while an upload runs, p50", median(case) * 1000, "ms", note=told),
    ]
