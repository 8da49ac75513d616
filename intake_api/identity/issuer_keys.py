"""An issuer's keys, found by OpenID Connect Discovery, kept, and renewed when needed.

- A known key comes from memory, without a lock. Once the set is older than `fresh`, asking also starts a renewal in the
  background; while the issuer is down the old set serves on, but never past `stale`.
- An unknown key id begins a fetch, in a thread of its own, and its caller waits for it, at most `patience` seconds: so
  a rotated key is accepted in the very request that brings it. Forged ids empty a bucket; then they are refused without
  asking the issuer. Every fetch brings the whole set, so even under such a flood a rotated key is known after one
  `refill`.
- One fetch runs at a time, and nobody waits for another's: a caller with an unknown key meanwhile is refused at once,
  as if there were no such key, and another fetch follows, for the key could have been published since this one began.
  So anonymous callers tie up one thread, however many they are and however long the issuer hangs.
- While there is no set at all (a process that has just started), `crowd` callers can wait for it; more are told to come
  again.
- A failed fetch empties the bucket.
- A set replaces the former whole: a key that the issuer withdraws is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import BoundedSemaphore, Event, Lock, Thread

from intake_api.identity.caller import KeysUnavailable
from intake_api.identity.jwks import DocumentSource, DocumentUnavailable, VerificationKey, parse_key_set
from retention.clock import Clock

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RefreshPolicy:
    """When keys are fetched, and how long callers wait for them."""

    fresh: timedelta = timedelta(minutes=10)
    stale: timedelta = timedelta(hours=24)
    retry: timedelta = timedelta(seconds=30)  # between two renewals in the background
    burst: int = 5  # fetches for unknown keys, one after the other ...
    refill: timedelta = timedelta(seconds=5)  # ... and one more after each such time
    patience: float = 3.0  # seconds
    crowd: int = 4  # callers that can wait for the first set


class TokenBucket:
    """A limit of `burst` at once and one more per `refill`. Exact; a clock set back costs at most one full bucket.

    Not thread-safe: the owner holds a lock.
    """

    def __init__(self, burst: int, refill: timedelta) -> None:
        self._refill = refill
        self._capacity = refill * burst
        self._full_at: datetime | None = None  # the instant at which the bucket is full again

    def take(self, now: datetime) -> bool:
        """Take one; return False if none is left."""
        full_at = min(max(self._full_at or now, now), now + self._capacity)
        allowed = full_at + self._refill <= now + self._capacity
        self._full_at = full_at + self._refill if allowed else full_at
        return allowed

    def drain(self, now: datetime) -> None:
        """Empty the bucket."""
        self._full_at = now + self._capacity


@dataclass(frozen=True, slots=True)
class _KeySet:
    keys: Mapping[str, VerificationKey]
    at: datetime


def _in_a_thread(work: Callable[[], None]) -> None:
    Thread(target=work, name="issuer-keys", daemon=True).start()


class DiscoveredKeys:
    """A KeySource from discovery. `background` runs a renewal without making the caller wait."""

    def __init__(
        self,
        issuer: str,
        http: DocumentSource,
        clock: Clock,
        policy: RefreshPolicy | None = None,
        background: Callable[[Callable[[], None]], None] = _in_a_thread,
    ) -> None:
        self._issuer = issuer
        self._http = http
        self._clock = clock
        self._policy = policy or RefreshPolicy()
        self._background = background
        self._held: _KeySet | None = None
        self._lock = Lock()  # guards all below; never held while the issuer is asked
        self._running: Event | None = None
        self._wanted = False  # a caller came during a fetch that may not bring its key
        self._failing = False
        self._renewed_at: datetime | None = None
        self._bucket = TokenBucket(self._policy.burst, self._policy.refill)
        self._crowd = BoundedSemaphore(self._policy.crowd)

    def begin(self) -> None:
        """Begin to fetch the first set before anybody asks for a key."""
        self._background(self._renew)

    def key(self, kid: str) -> VerificationKey | None:
        """Return the key of that id, as KeySource says."""
        now = self._clock.now()
        held = self._usable(now)
        if held is None or kid not in held.keys:
            return self._unknown_key(kid, now)
        if abs(now - held.at) >= self._policy.fresh:
            self._renew_in_background(now)
        return held.keys[kid]

    def _usable(self, now: datetime) -> _KeySet | None:
        held = self._held
        # A set from the future: the clock was set back. Its age is unknown; the distance stands in for it.
        return held if held is not None and abs(now - held.at) < self._policy.stale else None

    def _unknown_key(self, kid: str, now: datetime) -> VerificationKey | None:
        begun = self._begin(now)
        if begun is not None:
            self._fetch_in_thread(begun)
            begun.wait(self._policy.patience)
        elif self._usable(now) is None:
            self._wait_for_the_first()
        held = self._usable(self._clock.now())
        key = held.keys.get(kid) if held else None
        if key is None and (held is None or self._failing):
            raise KeysUnavailable("the issuer's keys cannot be fetched")
        return key

    def _fetch_in_thread(self, begun: Event) -> None:
        try:
            Thread(target=self._fetch, args=(begun,), name="issuer-keys", daemon=True).start()
        except RuntimeError:  # there are too many threads
            self._end(begun, None, self._clock.now())

    def _wait_for_the_first(self) -> None:
        running = self._running
        if running is not None and self._crowd.acquire(blocking=False):
            try:
                running.wait(self._policy.patience)
            finally:
                self._crowd.release()

    def _begin(self, now: datetime) -> Event | None:
        """Return a fetch that the caller has to run; None when one runs, or there were too many."""
        with self._lock:
            if self._running is not None:
                self._wanted = True
                return None
            if not self._bucket.take(now):
                return None
            self._running = Event()
            return self._running

    def _renew_in_background(self, now: datetime) -> None:
        last = self._renewed_at
        if last is not None and abs(now - last) < self._policy.retry:
            return
        self._renewed_at = now  # two threads at this very line cost one needless fetch, no harm
        self._background(self._renew)

    def _renew(self) -> None:
        with self._lock:
            if self._running is not None:
                return  # the one that is running does it
            self._running = begun = Event()
        self._fetch(begun)

    def _fetch(self, begun: Event | None) -> None:
        """Fetch, and once more if somebody came meanwhile; `begun` is set after the first fetch."""
        while begun is not None:
            now = self._clock.now()
            found = None
            try:
                found = _KeySet(fetch_keys(self._issuer, self._http), now)
            except DocumentUnavailable as problem:
                log.warning("the issuer's keys could not be fetched: %s", problem)
            except Exception:
                log.exception("the issuer's keys could not be fetched")
            begun = self._end(begun, found, now)

    def _end(self, begun: Event, found: _KeySet | None, now: datetime) -> Event | None:
        """End a fetch; return the event of the next, if there is to be one."""
        with self._lock:
            self._failing, self._running = found is None, None
            if found is not None:
                self._held = found
            else:
                self._bucket.drain(now)
            again, self._wanted = self._wanted and self._bucket.take(now), False
            if again:
                self._running = Event()
            begun.set()
            return self._running


def fetch_keys(issuer: str, http: DocumentSource) -> dict[str, VerificationKey]:
    """Fetch the keys that the issuer publishes now. DocumentUnavailable."""
    found = http.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    # OpenID Connect Discovery section 4.3: equal, else one issuer could speak for another.
    if found.get("issuer") != issuer:
        raise DocumentUnavailable("the discovery document names another issuer")
    keys_at = found.get("jwks_uri")
    if not isinstance(keys_at, str):
        raise DocumentUnavailable("the discovery document names no jwks_uri")
    try:
        return parse_key_set(http.get(keys_at))
    except ValueError as problem:
        raise DocumentUnavailable(str(problem)) from None
