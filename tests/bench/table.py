"""A row of the table: what was measured, what is asked for at least, what is aimed at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    value: float
    unit: str
    at_least: float | None = None
    aim: float | None = None
    more_is_better: bool = True
    note: str = ""

    def verdict(self) -> str:
        if self.at_least is None or self.aim is None:
            return ""
        sign = 1 if self.more_is_better else -1
        if sign * self.value >= sign * self.aim:
            return "aim"
        return "least" if sign * self.value >= sign * self.at_least else "MISSED"


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def render(rows: Iterable[Row]) -> str:
    lines = ["| | measured | at least | aim | met | |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = (
            f"{number(row.value)} {row.unit}",
            number(row.at_least),
            number(row.aim),
            row.verdict(),
            row.note,
        )
        lines.append(f"| {row.what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
