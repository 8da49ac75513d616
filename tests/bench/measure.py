"""The machine; processor time and memory of a process and its children, from /proc; and small statistics."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
GB = 1e9


def machine() -> str:
    """The processor, as the system names it, its cores, and the interpreter."""
    model = next(
        (
            line.split(": ")[1]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree, with that of children that ended."""
    total = 0
    for each in tree(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(value) for value in fields[11:15])
    return total / TICK


def forget_peaks(pid: int) -> None:
    for each in tree(pid):
        Path(f"/proc/{each}/clear_refs").write_text("5")


def peaks_mb(pid: int) -> dict[int, float]:
    """The most resident memory of each process of the tree, since its peak was last forgotten."""
    found = {}
    for each in tree(pid):
        lines = Path(f"/proc/{each}/status").read_text().splitlines()
        found[each] = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    return found


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    return quantile(values, 0.5)
