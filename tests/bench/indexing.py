"""What a contents index costs to make and saves to read, on one bundle of logs, archives in it and many small files.

    python -m tests.bench.indexing [--mib 512] [--rounds 3]

makes a zip of that many MiB: logs (UTF-8, UTF-16, one of 256 MiB), binaries, nested zips that the outer one deflates,
and one of 20,000 files. Each step runs in a process of its own, in turns, and is measured by its own processor time
and peak memory:

inflate   zlib over the same packed bytes, nested ones too, and nothing else: the least that any pass takes
walk      making the index over the file as it is, not sealed
index     the clock's job: the sealed bundle opened and walked, the index sealed and kept
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from sqlalchemy import update

from retention.archive import Memory
from retention.archive.indexing import write_index
from retention.custody.contents_index import MEMORY, Pace, index_next
from retention.custody.reading.bundle_reads import open_bundle
from retention.custody.reading.file_lines import Screen, show_lines
from retention.custody.reading.file_lists import Asked, list_page
from retention.custody.uploads import completion, upload_session
from retention.records.tables import bundles
from retention.records.unit_of_work import Transaction
from tests.bench.measure import MIB, machine, median, peaks_mb
from tests.bench.table import Row, render
from tests.faults.scenarios import start
from tests.retention.custody.world import World

PIECE = 8 * MIB
BIG, MANY = "nested/big.zip!/big.log", "many.zip"


def log(megabytes: int, seed: int) -> bytes:
    """Lines as a cluster writes them, with ids that do not repeat; some 4:1 when packed."""
    draw = random.Random(seed)
    lines = []
    for number in range(megabytes * MIB // 118):
        second = number // 20
        lines.append(
            f"2026-11-{1 + second // 86_400 % 28:02}T{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}Z "
            f"node-{number % 16} Information [{draw.getrandbits(96):024x}] volume CSV{number % 7} "
            f"request {number} took {draw.randrange(5000)} ms\n"
        )
    return "".join(lines).encode()


def make_sample(path: Path, mib: int) -> None:
    text = log(32, 1)
    wide = log(16, 2).decode().encode("utf-16")
    noise = random.Random(3).randbytes(4 * MIB)
    inner, number = io.BytesIO(), 0
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        made.writestr("health.log", text)
        made.writestr("CBS.log", wide)
        made.writestr("blob.bin", noise)
    many, big = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(many, "w", zipfile.ZIP_DEFLATED) as made:
        for small in range(20_000):
            made.writestr(f"events/{small:05}.json", json.dumps({"id": small, "state": "ok"}))
    with zipfile.ZipFile(big, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        made.writestr("big.log", log(256, 4))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as outer:
        outer.writestr(MANY, many.getvalue())
        outer.writestr("nested/big.zip", big.getvalue())
        while path.stat().st_size < mib * MIB:
            outer.writestr(f"node-{number}/health.log", text)
            outer.writestr(f"node-{number}/collected.zip", inner.getvalue())
            outer.writestr(f"node-{number}/memory.bin", noise)
            number += 1


def inflate(path: Path) -> dict[str, float]:
    """Inflate all, nested zips too."""
    total = 0

    def one(packed: Any, size: int, keep: bool) -> bytes:
        nonlocal total
        decoder, kept, left = zlib.decompressobj(-15), [], size
        while left:
            out = decoder.decompress(packed.read(65536))
            total += len(out)
            left -= len(out)
            if keep:
                kept.append(out)
        return b"".join(kept)

    def archive(source: Any) -> None:
        with zipfile.ZipFile(source) as found:
            for info in found.infolist():
                source.seek(info.header_offset + 26)
                lengths = source.read(4)
                source.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), 1)
                nested = info.filename.endswith(".zip")
                content = one(source, info.file_size, nested)
                if nested:
                    archive(io.BytesIO(content))

    with path.open("rb") as source:
        archive(source)
    return {"decoded": total}


def walk(path: Path) -> dict[str, float]:
    size = 0

    def write(raw: bytes) -> None:
        nonlocal size
        size += len(raw)

    with path.open("rb") as source:
        write_index(source, path.name, write, Memory(MEMORY))
    return {"size": size}


def index(state: Path) -> dict[str, float]:
    world = start(state)
    assert index_next(world.custody, Pace(3600))
    (stored,) = (state / "objects").rglob("idx_*")
    world.custody.records.close()
    return {"size": stored.stat().st_size}


STEPS: dict[str, Callable[[Path], dict[str, float]]] = {"inflate": inflate, "walk": walk, "index": index}


def in_a_process(step: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.indexing", "--step", step, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def store(state: Path, sample: Path) -> tuple[World, str]:
    """A complete bundle of the sample, under a grant."""
    world = start(state)
    world.open_case()
    world.assign(world.engineer)
    bundle = world.announce(sample.stat().st_size)
    with (
        upload_session.begin(world.custody, world.uploads, world.stamp, bundle, 0) as session,
        sample.open("rb") as source,
    ):
        while piece := source.read(PIECE):
            session.feed(piece)
        session.park()
    assert completion.verify_bundle(world.custody, bundle) == "complete"
    world.grant()
    return world, bundle


def readings(world: World, bundle: str) -> dict[str, float]:
    """Milliseconds of looks into the bundle, the least of three: a first page, a page in the middle, and screens."""

    def page(place: int) -> None:
        world.custody.lists._lists.clear()
        list_page(world.custody, world.engineer, bundle, Asked(MANY), place, 100)

    def screen(wanted: Screen) -> None:
        opened = open_bundle(world.custody, world.engineer, bundle, lambda _: ())
        show_lines(opened, BIG, wanted, None)
        opened.close()

    looks: dict[str, Callable[[], None]] = {
        "a page of 100 of 20,000 files": lambda: page(10_000),
        "lines in the middle of 256 MiB": lambda: screen(Screen(100, 1_100_000)),
        "the last lines of 256 MiB": lambda: screen(Screen(100, tail=True)),
    }
    found = {}
    for name, look in looks.items():
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            look()
            times.append((time.perf_counter() - begun) * 1000)
        found[name] = min(times)
    return found


def change(statement: Any, tx: Transaction) -> int:
    return tx.change(statement)


def measure(mib: int, rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        sample, state = Path(folder) / "sample.zip", Path(folder) / "state"
        make_sample(sample, mib)
        world, bundle = store(state, sample)
        found: dict[str, list[dict[str, float]]] = {step: [] for step in STEPS}
        for _ in range(rounds):
            for step in STEPS:
                again = update(bundles).values(index_id=None, index_next_at=world.clock.now())
                world.custody.records.write(partial(change, again))
                found[step].append(in_a_process(step, state if step == "index" else sample))
        indexed = readings(world, bundle)
        world.custody.records.write(partial(change, update(bundles).values(index_id=None)))
        walked = readings(world, bundle)
        packed = sample.stat().st_size
        world.custody.records.close()
    cpu = {step: median([each["cpu"] for each in told]) for step, told in found.items()}
    decoded, size = found["inflate"][0]["decoded"], found["index"][0]["size"]
    peak = max(each["peak"] for each in found["index"])
    rows = [
        Row(
            "bundle", packed / 1e6, "MB", note=f"{decoded / 1e9:.2f} GB decoded, nested archives counted too"
        ),
        Row("plain inflate of the same bytes, CPU", cpu["inflate"], "s"),
        Row("making the index, not sealed, CPU", cpu["walk"], "s"),
        Row("the clock's job, sealed, CPU", cpu["index"], "s"),
        Row("the same against plain inflate", cpu["index"] / cpu["inflate"], "x", 1.3, 1.3, False),
        Row("peak memory of the process", peak / 1e6, "MB", 200, 200, False),
        Row("index against bundle", 100 * size / packed, "%", 2, 2, False, f"{size / 1e6:.2f} MB"),
    ]
    rows += [
        Row(name, value, "ms", note=f"walked: {walked[name]:,.0f} ms") for name, value in indexed.items()
    ]
    return rows


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--mib", type=int, default=512)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.step:
        step, path = asked.step
        before = time.process_time()
        told = STEPS[step](Path(path))
        cpu = time.process_time() - before
        peak = peaks_mb(os.getpid())[os.getpid()] * 1e6
        print(json.dumps({**told, "cpu": cpu, "peak": peak}))
        return 0
    print(f"{machine()}, load average {os.getloadavg()[0]:.1f}")
    print(render(measure(asked.mib, asked.rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
