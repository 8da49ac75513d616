"""Keys of an issuer found by OpenID Connect Discovery, kept, and renewed when the need shows.

- A known key is answered from memory, without a lock. Once the set is older than `fresh`, the same answer also starts a
  renewal behind it; while the issuer is down the old set serves on, but never past `stale`.
- An unknown key id fetches the set AT ONCE, so a rotated key is accepted in the very request that brings it. Forged
  ids empty a bucket; then they are refused without asking the issuer. Every fetch brings the whole set, so even under
  such a flood a rotated key is known after one `refill`.
- One fetch runs at a time. Who waited for one that began after they came uses its outcome; others, whose key may have
  been published since it began, fetch again. Nobody waits longer than `patience`.
- A fetch that fails empties the bucket: an issuer that hangs ties up one thread now and then, never all of them.
- A set replaces the former whole: a key the issuer withdraws is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock, Thread

from intake_api.identity.documents import DocumentSource, DocumentUnavailable
from intake_api.identity.jwks import VerificationKey, parse_key_set
from intake_api.identity.refusals import KeysUnavailable
from retention.clock import Clock

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RefreshPolicy:
    fresh: timedelta = timedelta(minutes=10)
    stale: timedelta = timedelta(hours=24)
    retry: timedelta = timedelta(seconds=30)  # between two renewals behind an answer
    burst: int = 5  # fetches for unknown keys, one after the other ...
    refill: timedelta = timedelta(seconds=5)  # ... and one more after each such time
    patience: float = 3.0  # seconds


class TokenBucket:
    """At most `burst` at once and one more a `refill`. Exact; a clock set back costs at most one full bucket.

    Not thread safe: the owner holds a lock.
    """

    def __init__(self, burst: int, refill: timedelta) -> None:
        self._refill = refill
        self._capacity = refill * burst
        self._full_at: datetime | None = None  # the instant at which the bucket is full again

    def take(self, now: datetime) -> bool:
        full_at = min(max(self._full_at or now, now), now + self._capacity)
        allowed = full_at + self._refill <= now + self._capacity
        self._full_at = full_at + self._refill if allowed else full_at
        return allowed

    def drain(self, now: datetime) -> None:
        self._full_at = now + self._capacity


@dataclass(frozen=True, slots=True)
class _KeySet:
    keys: Mapping[str, VerificationKey]
    at: datetime


def _in_a_thread(work: Callable[[], None]) -> None:
    Thread(target=work, name="issuer-keys", daemon=True).start()


class DiscoveredKeys:
    """A KeySource. `background` runs a renewal without keeping the caller waiting."""

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
        self._fetching = Lock()  # guards all below; `_held` is replaced whole, so it may be read without
        self._begun = 0
        self._failing = False
        self._renewed_at: datetime | None = None
        self._bucket = TokenBucket(self._policy.burst, self._policy.refill)

    def key(self, kid: str) -> VerificationKey | None:
        now = self._clock.now()
        held = self._usable(now)
        if held is None or kid not in held.keys:
            return self._fetched_key(kid, self._begun)
        if abs(now - held.at) >= self._policy.fresh:
            self._renew_behind(now)
        return held.keys[kid]

    def _usable(self, now: datetime) -> _KeySet | None:
        held = self._held
        # A set from the future: the clock was set back. Its age is unknown, and distance stands for it.
        return held if held is not None and abs(now - held.at) < self._policy.stale else None

    def _fetched_key(self, kid: str, begun_when_asked: int) -> VerificationKey | None:
        if not self._fetching.acquire(timeout=self._policy.patience):
            raise KeysUnavailable("the issuer's keys are being fetched and do not arrive")
        try:
            now = self._clock.now()
            if self._begun == begun_when_asked and self._bucket.take(now):
                self._fetch(now)
            held, failing = self._usable(now), self._failing
        finally:
            self._fetching.release()
        key = held.keys.get(kid) if held else None
        if key is None and (held is None or failing):
            raise KeysUnavailable("the issuer's keys cannot be fetched")
        return key

    def _renew_behind(self, now: datetime) -> None:
        last = self._renewed_at
        if last is not None and abs(now - last) < self._policy.retry:
            return
        self._renewed_at = now  # two threads at this very line cost one needless look, no harm
        self._background(self._renew)

    def _renew(self) -> None:
        if not self._fetching.acquire(blocking=False):
            return  # the one that is running does it
        try:
            self._fetch(self._clock.now())
        finally:
            self._fetching.release()

    def _fetch(self, now: datetime) -> None:
        """Under the lock."""
        self._begun += 1
        try:
            self._held = _KeySet(fetch_keys(self._issuer, self._http), now)
            self._failing = False
        except DocumentUnavailable as problem:
            self._failing = True
            self._bucket.drain(now)
            log.warning("the issuer's keys could not be fetched: %s", problem)


def fetch_keys(issuer: str, http: DocumentSource) -> dict[str, VerificationKey]:
    """The keys that the issuer publishes now. DocumentUnavailable."""
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
