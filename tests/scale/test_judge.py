"""The judge itself: it says nothing of a service that keeps its promises, and names each one that is broken."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from audit.times import rfc3339
from tests.scale.judge import Evidence, judge
from tests.scale.ledger import Ask, Close, Ledger, Read, Upload

T = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEPT, DUE, ASKED = "bun_kept", "bun_due", "bun_asked"


def _leaf(
    action: str, at: datetime, bundle: str | None = None, case: str | None = None, **details: Any
) -> Any:
    leaf = {"action": action, "outcome": "success", "at": rfc3339(at), "details": details}
    return leaf | ({"bundle": bundle} if bundle else {}) | ({"case": case} if case else {})


def _upload(bundle: str, case: str) -> Upload:
    return Upload(bundle, case, 1, 100, f"sha of {bundle}", T, T, T + timedelta(minutes=1))


def _scene() -> tuple[Ledger, Evidence]:
    """Three bundles: one is kept, one was due with its case, one the customer had erased. All as it should be."""
    ledger = Ledger()
    for bundle, case in ((KEPT, "open"), (DUE, "closed"), (ASKED, "open")):
        ledger.uploads[bundle] = _upload(bundle, case)
    ledger.closes.append(Close("closed", T + HOUR, T + HOUR, T + HOUR))
    ledger.asks.append(Ask(T + HOUR, ASKED, None, T + HOUR, "123"))
    ledger.reads.append(Read((KEPT, 10, 5), T + 2 * HOUR, 5))
    due = T + HOUR + 90 * DAY
    leaves = [
        *(
            _leaf("upload.created", T, bundle, case)
            for bundle, case in ((KEPT, "o"), (DUE, "c"), (ASKED, "o"))
        ),
        _leaf("case.closed", T + HOUR, case="c", closed_at=rfc3339(T + HOUR)),
        _leaf("bundle.erasing", T + HOUR, ASKED),
        _leaf("bundle.erased", T + HOUR, ASKED),
        _leaf("bundle.opened", T + 2 * HOUR, KEPT, ranges=["10+5"]),
        _leaf("bundle.erasing", due, DUE),
        _leaf("bundle.erased", due, DUE),
    ]
    receipts = {KEPT: {"sha256": f"sha of {KEPT}"}, "123": {"bundles": [{"bundle": ASKED}]}}
    stored = {KEPT: [f"bundle {KEPT}"]}
    return ledger, Evidence(
        due + DAY, leaves, stored=stored, contents={KEPT: f"sha of {KEPT}"}, receipts=receipts
    )


def test_a_service_that_keeps_its_promises_is_not_accused() -> None:
    assert judge(*_scene()) == []


def _drop(action: str, bundle: str) -> Callable[[Ledger, Evidence], None]:
    def change(_ledger: Ledger, found: Evidence) -> None:
        kept = [leaf for leaf in found.leaves if (leaf["action"], leaf.get("bundle")) != (action, bundle)]
        assert len(kept) < len(found.leaves)
        found.leaves = kept

    return change


def _at(action: str, bundle: str, at: datetime) -> Callable[[Ledger, Evidence], None]:
    def change(_ledger: Ledger, found: Evidence) -> None:
        for leaf in found.leaves:
            if (leaf["action"], leaf.get("bundle")) == (action, bundle):
                leaf["at"] = rfc3339(at)  # type: ignore[index]

    return change


def _reopened(ledger: Ledger, _found: Evidence) -> None:
    ledger.closes[0].reopened = T + 2 * HOUR


def _set(name: str, value: Any) -> Callable[[Ledger, Evidence], None]:
    return lambda _ledger, found: setattr(found, name, value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_at("bundle.erasing", DUE, T + HOUR + 90 * DAY - timedelta(seconds=1)), f"erased early: {DUE}"),
        (_at("bundle.erasing", ASKED, T + HOUR - timedelta(seconds=1)), f"erased early: {ASKED}"),
        (_reopened, f"erased early: {DUE}"),
        (lambda ledger, _: ledger.asks.clear(), f"erased early: {ASKED}"),
        (_drop("bundle.erased", DUE), f"overdue by the log alone: {DUE}"),
        (_drop("bundle.erased", DUE), f"left late: {DUE}"),
        (_drop("bundle.erased", ASKED), f"left late: {ASKED}"),
        (_drop("bundle.opened", KEPT), "read without an entry: 5 bytes"),
        (_at("bundle.opened", KEPT, T + 3 * HOUR), "read before its entry: 5 bytes"),
        (_set("contents", {KEPT: "sha of other bytes"}), f"acknowledged and lost: {KEPT}: sha of other"),
        (_set("contents", {}), f"acknowledged and lost: {KEPT}: it was not read"),
        (_set("stored", {DUE: ["key bun_due.key"]}), "erased and still stored: key bun_due.key"),
        (_set("receipts", {}), f"no intake receipt of {KEPT}"),
        (_set("receipts", {}), "no receipt of erasure 123"),
        (_set("receipts", {KEPT: {"sha256": "x"}, "123": {"bundles": []}}), f"does not name {ASKED}"),
        (_set("receipts", {KEPT: {"sha256": "x"}, "123": {"bundles": []}}), "is of other bytes"),
        (_set("log_problems", ["leaf 3: changed"]), "the log does not verify: leaf 3"),
        (_set("forks", ["of 7 entries"]), "a forked checkpoint: of 7 entries"),
        (_set("unsettled", "3 erasures pending"), "not settled: 3 erasures pending"),
        (lambda ledger, _: ledger.wrong.append("other bytes were read"), "other bytes were read"),
    ],
)
def test_each_broken_promise_is_named(change: Callable[[Ledger, Evidence], None], said: str) -> None:
    ledger, found = _scene()
    change(ledger, found)
    assert any(said in line for line in judge(ledger, found))


def test_an_unanswered_request_allows_and_promises_nothing() -> None:
    ledger, found = _scene()
    ledger.asks.append(Ask(T, KEPT))
    ledger.asks.append(Ask(T + 2 * HOUR, None, "open"))
    assert judge(ledger, found) == []
    later = T + 3 * HOUR
    found.leaves = [*found.leaves, _leaf("bundle.erasing", later, KEPT), _leaf("bundle.erased", later, KEPT)]
    found.stored = {}
    assert judge(ledger, found) == []
