"""A table of client x behaviour: its cells are tests, and docs/uploaders-clients.md is written from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

NONE = "—"


@dataclass(frozen=True)
class Table:
    """`rows`: a behaviour, how it is asked of a client, and the clients that have such a thing."""

    title: str
    versions: Mapping[str, str]
    rows: Mapping[str, tuple[Callable[[Any], None], tuple[str, ...]]]

    def cells(self) -> list[tuple[str, str]]:
        """For `parametrize`: every behaviour of every client that has it."""
        return [(behaviour, client) for behaviour, (_, clients) in self.rows.items() for client in clients]

    def ask(self, behaviour: str, case: Any) -> None:
        self.rows[behaviour][0](case)

    def written(self) -> list[str]:
        heads = " | ".join(f"{name} {version}".rstrip() for name, version in self.versions.items())
        lines = [f"## {self.title}", "", f"| behaviour | {heads} |", "|---|" + "---|" * len(self.versions)]
        for behaviour, (_, able) in self.rows.items():
            cells = ("yes" if client in able else NONE for client in self.versions)
            lines.append(f"| {behaviour} | " + " | ".join(cells) + " |")
        return [*lines, ""]
