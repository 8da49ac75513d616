"""The metrics of several processes as one page, in Prometheus' text format. Pure.

The format requires all lines of a metric together, under one HELP and one TYPE. Each line gets the labels of its
process, so that no two are the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_SAMPLE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?( .*)")


def merge(pages: Mapping[tuple[str, str], str]) -> str:
    """Merge `pages`, keyed by role and id of their processes, into one page."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for (process, pid), page in pages.items():
        known = frozenset(heads)
        family = ""
        for line in page.splitlines():
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
            if line.startswith("#") and family not in known:  # the first page that has it provides its head
                heads.setdefault(family, []).append(line)
            elif sample := _SAMPLE.fullmatch(line):
                name, labels, value = sample.groups()
                ours = f'process="{process}",pid="{pid}"'
                labelled = f"{name}{{{labels + ',' if labels else ''}{ours}}}{value}"
                samples.setdefault(family, []).append(labelled)
    lines = (line for family, head in heads.items() for line in (*head, *samples.get(family, ())))
    return "".join(f"{line}\n" for line in lines)
