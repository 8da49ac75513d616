"""Keys asked for by many threads at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from intake_api.identity import DiscoveredKeys, KeysUnavailable
from intake_api.identity.issuer_keys import RefreshPolicy
from tests.intake_api.serve.serving import until

ISSUER = "https://login.example/customer"
POLICY = RefreshPolicy()


def test_many_threads_at_once_share_fetches(issuer: Any, signer: Any, clock: Any) -> None:
    keys = DiscoveredKeys(ISSUER, issuer, clock, RefreshPolicy(crowd=16))
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


class Hanging:
    """The issuer, made to hang at its key endpoint until told to go on."""

    def __init__(self, issuer: Any) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        issuer.meanwhile = self._hang

    def _hang(self) -> None:
        self.reached.set()
        self.go_on.wait()


def test_a_key_published_while_a_fetch_was_under_way_is_brought_by_another_that_follows(
    issuer: Any, signer: Any, clock: Any
) -> None:
    """The running fetch read the set before the rotation, so its outcome is not good enough for who came meanwhile."""
    followed = threading.Event()

    def rotate_in_the_middle() -> None:
        issuer.meanwhile = followed.set
        issuer.keys.append(signer.jwk("ec-1"))
        with pytest.raises(KeysUnavailable):  # nothing is known yet, and nobody waits
            keys.key("ec-1")

    keys = DiscoveredKeys(ISSUER, issuer, clock, RefreshPolicy(crowd=0))
    issuer.meanwhile = rotate_in_the_middle
    assert keys.key("rsa-1") is not None
    assert followed.wait(10)
    assert until(lambda: keys.key("ec-1") is not None)
    assert issuer.fetches == 2


def test_many_who_come_during_a_fetch_are_followed_by_one(issuer: Any, clock: Any) -> None:
    keys = DiscoveredKeys(ISSUER, issuer, clock)
    keys.key("rsa-1")

    def let_them_come() -> None:
        issuer.meanwhile = lambda: None
        assert [keys.key(f"forged-{number}") for number in range(100)] == [None] * 100

    issuer.meanwhile = let_them_come
    keys.key("forged")
    assert until(lambda: issuer.fetches == 3 and keys._running is None)


def test_an_issuer_that_hangs_holds_one_thread_however_many_bring_unknown_keys(
    issuer: Any, signer: Any, clock: Any
) -> None:
    keys = DiscoveredKeys(ISSUER, issuer, clock, RefreshPolicy(patience=600))
    keys.key("rsa-1")
    hanging = Hanging(issuer)
    answered = threading.Semaphore(0)

    def ask(number: int) -> None:
        assert keys.key(f"forged-{number}") is None
        answered.release()

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(48)]
    for thread in threads:
        thread.start()
    assert hanging.reached.wait(10)
    assert all(answered.acquire(timeout=10) for _ in range(47))  # the one that began the fetch waits for it
    assert keys.key("rsa-1") is not None  # a known key waits for nothing
    assert until(lambda: sum(thread.is_alive() for thread in threads) == 1)
    hanging.go_on.set()
    assert answered.acquire(timeout=10)


def test_who_began_a_fetch_that_does_not_end_waits_no_longer_than_its_patience(
    issuer: Any, clock: Any
) -> None:
    keys = DiscoveredKeys(ISSUER, issuer, clock, RefreshPolicy(patience=0.01))
    keys.key("rsa-1")
    hanging = Hanging(issuer)
    assert keys.key("forged") is None
    assert hanging.reached.wait(10)
    assert not hanging.go_on.is_set()
    hanging.go_on.set()


def test_while_there_are_no_keys_a_few_wait_for_them_and_the_others_are_told_to_come_again(
    issuer: Any, clock: Any
) -> None:
    keys = DiscoveredKeys(ISSUER, issuer, clock, RefreshPolicy(patience=600, crowd=2))
    hanging = Hanging(issuer)
    keys.begin()
    assert hanging.reached.wait(10)
    found: list[object] = []
    told = threading.Semaphore(0)

    def ask() -> None:
        try:
            found.append(keys.key("rsa-1"))
        except KeysUnavailable:
            told.release()

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(16)]
    for thread in threads:
        thread.start()
    assert all(told.acquire(timeout=10) for _ in range(14))
    assert found == []
    hanging.go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(found) == 2 and None not in found
    assert keys.key("rsa-1") is not None


def test_a_fetch_that_ends_in_no_expected_way_is_not_the_last(
    issuer: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = DiscoveredKeys(ISSUER, issuer, clock)

    def fail() -> None:
        raise MemoryError

    issuer.meanwhile = fail
    with pytest.raises(KeysUnavailable):
        keys.key("rsa-1")
    issuer.meanwhile = lambda: None
    clock.advance(POLICY.refill.total_seconds())
    assert keys.key("rsa-1") is not None
    clock.advance(POLICY.refill.total_seconds())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _no_more_threads)
        with pytest.raises(KeysUnavailable):
            keys.key("ec-1")
    clock.advance(POLICY.refill.total_seconds())
    assert keys.key("ec-1") is None


def _no_more_threads(_: object) -> None:
    raise RuntimeError("can't start new thread")


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
