"""A map in a temporary file is a dict, and the two walks that remember by it find what they find in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.entry import Action, Entry, Outcome, parse_leaf
from audit.times import rfc3339
from audit.tlog.kept import AS_IT_IS, Keep, in_memory
from audit.tlog.overdue import Holdings
from audit.tlog.spilled import Spill, SpillError
from audit.tlog.unaccounted import Accounts

START = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = st.sampled_from([None, "", "a", "b", "c", "d", "\u00e9", "None"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["get", "set", "pop", "in", "grow", "default", "len", "items"]), KEYS),
    max_size=60,
)


def step(kept: Any, name: str, key: str | None, number: int) -> Any:
    match name:
        case "get":
            return kept.get(key)
        case "set":
            kept[key] = [number]
        case "pop":
            return kept.pop(key, "none")
        case "in":
            return key in kept
        case "grow":
            kept.get(key, []).append(number)
        case "default":
            return list(kept.setdefault(key, [number]))
        case "len":
            return len(kept)
        case "items":
            return list(kept.items()), list(kept)
    return None


@given(STEPS, st.integers(1, 4))
def test_a_spilled_map_behaves_as_a_dict(steps: list[tuple[str, str | None]], most: int) -> None:
    with closing(Spill(most)) as spill:
        spilled, plain = spill(AS_IT_IS), in_memory(AS_IT_IS)
        for number, (name, key) in enumerate(steps):
            assert step(spilled, name, key, number) == step(plain, name, key, number), (number, name, key)


def test_memory_holds_no_more_than_it_is_allowed_to() -> None:
    with closing(Spill(10)) as spill:
        kept = spill(AS_IT_IS)
        for number in range(1000):
            kept[f"id-{number}"] = number
            assert len(kept._items) <= 10
        assert all(kept[f"id-{number}"] == number for number in range(0, 1000, 7))
        assert len(kept) == 1000 and len(kept._items) <= 10


def test_the_temporary_file_has_no_name() -> None:
    """SQLite's name for it begins so; the kernel says that the name is gone."""
    with closing(Spill(1)) as spill:
        kept = spill(AS_IT_IS)
        for number in range(20_000):
            kept[f"id-{number}"] = "x" * 1000
        names = [name for link in Path("/proc/self/fd").iterdir() if "/etilqs_" in (name := _target(link))]
        assert names and all(name.endswith(" (deleted)") for name in names)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


def test_a_file_that_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    spill = Spill(1)
    kept = spill(AS_IT_IS)
    kept["a"] = 1
    spill.close()
    with pytest.raises(SpillError, match="closed"):
        kept["b"] = 1


CASES, BUNDLES, PEOPLE, GRANTS = (
    ("c1", "c2", "c3"),
    ("b1", "b2", "b3", "b4"),
    ("erin", "pat", "olga"),
    ("g1", "g2", "g3"),
)


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Leaves of every action that the two walks know, with ids from a few, in an order that makes no sense."""
    leaves = []
    for number in range(draw(st.integers(1, 60))):
        at = START + timedelta(hours=draw(st.integers(0, 24 * 200)))
        moment = rfc3339(START + timedelta(hours=draw(st.integers(0, 24 * 200))))
        details: dict[str, Any] = draw(
            st.fixed_dictionaries(
                {"closed_at": st.just(moment), "received_at": st.just(moment), "expires_at": st.just(moment)},
                optional={
                    "lapses_at": st.just(moment),
                    "duration_seconds": st.integers(1, 10**6),
                    "engineer": st.sampled_from(PEOPLE),
                    "approval": st.sampled_from(GRANTS),
                    "consent": st.sampled_from(GRANTS),
                    "partner": st.sampled_from(["ptr_a", "ptr_b"]),
                    "scope": st.sampled_from(["case", ["b1", "b2"]]),
                    "rule": st.sampled_from(["see", "own-cases", "ask", "inherited"]),
                    "long_minutes": st.integers(0, 10**4),
                    "opened": st.sampled_from([f"ent_{each}" for each in range(60)]),
                    "type": st.sampled_from(["partial", "proactive"]),
                    "partials": st.just(["b1", "b3"]),
                    "from": st.integers(0, 3),
                    "to": st.integers(0, 3),
                    "of": st.integers(0, 3),
                    "upload_seconds": st.integers(1, 10**6),
                    "upload_longest_seconds": st.integers(1, 10**7),
                    "retention_seconds": st.integers(1, 10**8),
                },
            )
        )
        entry = Entry(
            id=f"ent_{number}",
            at=at,
            action=draw(st.sampled_from(ACTIONS)),
            outcome=draw(st.sampled_from([Outcome.SUCCESS] * 5 + [Outcome.REFUSED])),
            actor=draw(st.sampled_from(PEOPLE)),
            actor_kind=draw(st.sampled_from(["engineer", "partner", "operator"])),
            tenant=draw(st.sampled_from([None, "t1"])),
            case=draw(st.sampled_from(CASES)),
            bundle=draw(st.sampled_from(BUNDLES)),
            subject=draw(st.sampled_from([*GRANTS, *PEOPLE])),
            details=details,
        )
        leaves.append(parse_leaf(entry.leaf()))
    return leaves


ACTIONS = [
    each
    for each in Action
    if each.split(".")[0]
    in ("case", "grant", "approval", "approval-policy", "consent", "upload", "bundle", "rules")
]


def late(leaves: list[dict[str, Any]], keep: Keep) -> Any:
    holdings = Holdings(keep)
    for leaf in leaves:
        holdings.take(leaf)
    return holdings.overdue(START + timedelta(days=150))


def findings(leaves: list[dict[str, Any]], keep: Keep) -> Iterator[Any]:
    accounts = Accounts(keep)
    yield from map(accounts.take, leaves)
    yield from accounts.unused(START + timedelta(days=150))


@settings(max_examples=150, deadline=None)
@given(histories(), st.integers(1, 3))
def test_both_walks_find_the_same_whether_they_remember_in_memory_or_in_a_file(
    leaves: list[dict[str, Any]], most: int
) -> None:
    with closing(Spill(most)) as spill:
        assert late(leaves, spill) == late(leaves, in_memory)
        assert list(findings(leaves, spill)) == list(findings(leaves, in_memory))
