"""Downloads and range reads, decrypted, under a grant, with their audit entries, against nginx serving a plain file."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

from caller import CASE, Line, Vault, curl, seconds
from contenders import Stable
from measure import GB, cpu_seconds, median, quantile
from table import Row

RANGE = 64 * 1024
READ_BACK = """
import os, sys
from retention.assembly import assemble
from retention.config import from_environment
from retention.jobs.sweep import SweepReport, verify_received
verify_received(assemble(from_environment(os.environ)).custody, SweepReport(), 8)
"""


def compare(stable: Stable, file: Path, rounds: int, reads: int) -> list[Row]:
    size = file.stat().st_size
    quiet, nginx = stable.casevault("casevault-read", quiet=True), stable.nginx()
    vault = Vault(quiet)
    seconds(vault.put(file))
    state = str(quiet.folder / "state")
    read_back = [sys.executable, "-c", READ_BACK]
    subprocess.run(read_back, check=True, env={"CASEVAULT_STATE": state, "CASEVAULT_DEVELOPMENT": "1"})
    shutil.copy(file, nginx.stored / "file")
    vault.post(f"/cases/{CASE}/grants", {"reason": "measuring how fast a bundle is read"}, "SupportEngineer")
    path, bearer = f"/bundles/{vault.bundles()[0]['id']}/content", vault.bearer("SupportEngineer")
    plan = {quiet.name: (quiet, path, bearer), nginx.name: (nginx, "/file", {})}
    wall: dict[str, list[float]] = {name: [] for name in plan}
    cpu: dict[str, list[float]] = {name: [] for name in plan}
    for turn in range(rounds + 1):
        for name, (contender, where, headers) in plan.items():
            before = cpu_seconds(contender.process.pid)
            took = seconds(curl(contender, contender.origin + where, headers=headers))
            if turn:
                wall[name].append(took)
                cpu[name].append(cpu_seconds(contender.process.pid) - before)
    ours, theirs = median(wall[quiet.name]), median(wall[nginx.name])
    told = {name: f"{median(each) / (size / GB):.2f} s/GB" for name, each in cpu.items()}
    line, chance = Line(quiet), random.Random(1)
    took_range = []
    for _ in range(reads):
        start = chance.randrange(size - RANGE)
        span = {"Range": f"bytes={start}-{start + RANGE - 1}", **bearer}
        took_range.append(line.timed(path, span))
    warm = took_range[len(took_range) // 10 :]
    return [
        Row("download, decrypted", size / 1e6 / ours, "MB/s", note=told[quiet.name]),
        Row("nginx, static file", size / 1e6 / theirs, "MB/s", note=told[nginx.name]),
        Row("decrypted download against nginx static, wall", theirs / ours, "x", 0.9, 1.1),
        Row("64 KiB range read, p50", median(warm) * 1000, "ms", 3, 1.5, False, f"{reads} reads"),
        Row("64 KiB range read, p99", quantile(warm, 0.99) * 1000, "ms", 10, 5, False),
    ]
