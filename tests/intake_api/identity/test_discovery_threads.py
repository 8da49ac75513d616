"""Keys asked for by many threads at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from intake_api.identity import (
    DiscoveredKeys,
    KeysUnavailable,
)
from intake_api.identity.discovery import RefreshPolicy

ISSUER = "https://login.example/customer"
POLICY = RefreshPolicy()


def test_many_threads_at_once_share_fetches(issuer: Any, signer: Any, clock: Any) -> None:
    keys = DiscoveredKeys(ISSUER, issuer, clock)
    start, found = threading.Barrier(16), []

    def ask() -> None:
        start.wait()
        found.append(keys.key("rsa-1"))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16 and None not in found
    assert 1 <= issuer.fetches <= POLICY.burst


def test_a_key_published_while_a_fetch_was_under_way_is_found_by_who_came_meanwhile(
    issuer: Any, signer: Any, clock: Any
) -> None:
    """The running fetch read the set before the rotation: its outcome is not good enough for the one who waits."""
    keys = DiscoveredKeys(ISSUER, issuer, clock)
    found: list[object] = []
    late = threading.Thread(target=lambda: found.append(keys.key("ec-1")))

    def rotate_in_the_middle() -> None:
        issuer.meanwhile = lambda: None
        issuer.keys.append(signer.jwk("ec-1"))
        late.start()
        late.join(0.2)  # it is now waiting for this very fetch
        assert late.is_alive()

    issuer.meanwhile = rotate_in_the_middle
    assert keys.key("rsa-1") is not None
    late.join()
    assert found[0] is not None
    assert issuer.fetches == 2


def test_who_waits_for_the_same_fetch_shares_the_next(issuer: Any, clock: Any) -> None:
    keys = DiscoveredKeys(ISSUER, issuer, clock)
    keys.key("rsa-1")
    waiters = [threading.Thread(target=keys.key, args=(f"forged-{number}",)) for number in range(4)]

    def let_them_come() -> None:
        issuer.meanwhile = lambda: None
        for waiter in waiters:
            waiter.start()
        waiters[-1].join(0.3)  # all four are now waiting for this very fetch

    issuer.meanwhile = let_them_come
    keys.key("forged")
    for waiter in waiters:
        waiter.join()
    assert issuer.fetches == 3  # the first, the one they waited for, and one for all four


def test_nobody_waits_for_a_fetch_that_does_not_end(issuer: Any, signer: Any, clock: Any) -> None:
    keys = DiscoveredKeys(ISSUER, issuer, clock, RefreshPolicy(patience=0.01))
    keys.key("rsa-1")
    stuck, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        stuck.set()
        go_on.wait()

    issuer.meanwhile = hang
    hanging = threading.Thread(target=lambda: keys.key("forged"))
    hanging.start()
    stuck.wait()
    assert keys.key("rsa-1") is not None  # a known key waits for nothing
    with pytest.raises(KeysUnavailable):
        keys.key("ec-1")
    go_on.set()
    hanging.join()


def test_a_renewal_runs_in_a_thread_of_its_own(issuer: Any, signer: Any, clock: Any) -> None:
    keys = DiscoveredKeys(ISSUER, issuer, clock)
    keys.key("rsa-1")
    renewed_by: list[str] = []
    done = threading.Event()

    def note() -> None:
        renewed_by.append(threading.current_thread().name)
        done.set()

    issuer.meanwhile = note
    clock.advance(POLICY.fresh.total_seconds())
    assert keys.key("rsa-1") is not None
    assert done.wait(10)
    assert renewed_by == ["issuer-keys"]
