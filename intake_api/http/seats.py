"""Who holds a thread of this process: seats, counted before a byte of a body is read.

Each request that is answered holds a thread until its last byte went out, and a slow line holds one for hours. So the
threads are shared out beforehand, and whoever finds no seat is told so at once (503, Retry-After).

Rules:
- Long uploads and downloads have seats of their own, fewer than there are threads; of each kind one caller, and one
  tenant, has at most a share. What is left is for small requests, and SPARE threads are nobody's: they say that the
  process is well (/healthz needs no seat), find out whether it is ready, and turn others away.
- A small body (JSON) is read before its request is decided, in `body_seconds` at most, and few of one caller at once:
  whoever sends slowly holds no more than that, however many requests are made.
- A seat is taken before what it is for begins, and given back when the request has ended, whatever ended it: here, in
  one place.

The arithmetic, of T threads (CASEVAULT_THREADS): SPARE are kept free. Of the rest, by default, half are for uploads
(CASEVAULT_UPLOADS) and a quarter for downloads (CASEVAULT_READS); what is left, SMALL_LEAST at least, is for small
requests. Of these seats three quarters may be reading bodies, and one quarter reading refused ones away. A caller has
CASEVAULT_CALLER_SHARE percent of a kind at most, a tenant CASEVAULT_TENANT_SHARE. The Blob endpoint has no downloads:
its uploads are both together.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from intake_api.http.wsgi_guard import Answer
from retention.domain.actor import Actor

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SPARE = 4
SMALL_LEAST = 2
SEAT = "casevault.seat"
"""In the environment of a request."""
HEALTH, READINESS = "/healthz", "/readyz"


class Kind(StrEnum):
    """What a seat is for, in a word."""

    SMALL = "requests"
    READINESS = "readiness"
    BODY = "bodies"
    DRAIN = "drains"
    UPLOAD = "uploads"
    READ = "downloads"


@dataclass(frozen=True, slots=True)
class Share:
    """How many seats of a kind there are, and how many of them one tenant and one caller have at most."""

    all: int
    tenant: int
    caller: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatPlan:
    """How the threads of a process are shared out. ValueError when they do not suffice. Shares in percent."""

    threads: int = 128
    uploads: int = 62
    reads: int = 31
    caller_share: int = 50
    tenant_share: int = 75

    @classmethod
    def by_default(cls, threads: int) -> SeatPlan:
        """How so many threads are shared out when nothing else is said."""
        rest = threads - SPARE
        return cls(threads=threads, uploads=rest // 2, reads=rest // 4)

    def __post_init__(self) -> None:
        if self.small < SMALL_LEAST:
            raise ValueError(
                f"{self.threads} threads leave {self.small} for small requests beside {self.uploads} uploads, "
                f"{self.reads} downloads and {SPARE} kept free: at least {SMALL_LEAST} are needed"
            )
        if self.caller_share > self.tenant_share:
            raise ValueError(
                f"a caller's share ({self.caller_share}) is more than a tenant's ({self.tenant_share})"
            )

    @property
    def small(self) -> int:
        """Seats of small requests."""
        return self.threads - self.uploads - self.reads - SPARE

    def for_blobs(self) -> SeatPlan:
        """That of the Blob endpoint, which nobody reads from."""
        return SeatPlan(
            threads=self.threads,
            uploads=self.uploads + self.reads,
            reads=0,
            caller_share=self.caller_share,
            tenant_share=self.tenant_share,
        )

    def shares(self) -> Mapping[Kind, Share]:
        """Of each kind."""
        return {
            Kind.SMALL: Share(self.small, self.small, self.small),
            Kind.READINESS: Share(SPARE // 2, SPARE // 2, SPARE // 2),
            Kind.BODY: self._share(max(1, self.small * 3 // 4)),
            Kind.DRAIN: self._share(self.small // 4),
            Kind.UPLOAD: self._share(self.uploads),
            Kind.READ: self._share(self.reads),
        }

    def _share(self, seats: int) -> Share:
        """At least one for whoever comes, where there is any."""
        tenant, caller = (
            max(min(1, seats), seats * share // 100) for share in (self.tenant_share, self.caller_share)
        )
        return Share(seats, tenant, caller)


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose seat it is. None: nobody that is counted apart."""

    caller: str | None = None
    tenant: str | None = None


NOBODY = Holder()


def holder_of(actor: Actor) -> Holder:
    """Who is counted when this actor holds a seat, and under which customer or company."""
    return Holder(actor.id, actor.tenant or actor.company)


class Busy(Exception):
    """There is no seat of this kind: in all, of this tenant, or of this caller (`whose`)."""

    entered = True
    """In no log: nothing was looked at, and what is refused most often has to cost least."""

    def __init__(self, kind: Kind, whose: str, most: int) -> None:
        of = {"all": "in all", "tenant": "of one customer", "caller": "of one caller"}[whose]
        super().__init__(f"{most} {kind} at once are the most {of} here: try again after Retry-After")
        self.reason = f"too-many-{kind}" + ("" if whose == "all" else f"-of-{whose}")
        """For programs."""


class Seats:
    """Those of one process. Safe from many threads."""

    def __init__(self, plan: SeatPlan) -> None:
        self._shares = plan.shares()
        self._lock = threading.Lock()
        self._taken: Counter[tuple[Kind, str, str]] = Counter()

    def take(self, kind: Kind, holder: Holder) -> None:
        """Take a seat. Busy."""
        share = self._shares[kind]
        counted = _counted(kind, holder)
        with self._lock:
            for key in counted:
                most = getattr(share, key[1])
                if self._taken[key] >= most:
                    raise Busy(kind, key[1], most)
            for key in counted:
                self._taken[key] += 1

    def leave(self, kind: Kind, holder: Holder) -> None:
        """Give it back."""
        with self._lock:
            for key in _counted(kind, holder):
                self._taken[key] -= 1
                if not self._taken[key]:
                    del self._taken[key]

    def taken(self, kind: Kind) -> int:
        """How many are held."""
        with self._lock:
            return self._taken.get((kind, "all", ""), 0)


def _counted(kind: Kind, holder: Holder) -> list[tuple[Kind, str, str]]:
    keys = [(kind, "all", "")]
    if holder.caller is not None:
        keys.append((kind, "caller", holder.caller))
    if holder.tenant is not None:
        keys.append((kind, "tenant", holder.tenant))
    return keys


class Seat:
    """What one request holds. One thread at a time."""

    def __init__(self, seats: Seats | None) -> None:
        """None: a process without bounds, as in tests."""
        self._seats = seats
        self._held: list[tuple[Kind, Holder]] = []

    def take(self, kind: Kind, holder: Holder = NOBODY) -> None:
        """Take one more. Busy."""
        if self._seats is not None:
            self._seats.take(kind, holder)
            self._held.append((kind, holder))

    def move(self, kind: Kind, holder: Holder) -> None:
        """From that of a small request to a long one's. Busy."""
        self.take(kind, holder)
        self.leave(Kind.SMALL)

    def has(self, kind: Kind) -> bool:
        """Whether it holds one of this kind."""
        return any(held == kind for held, _ in self._held)

    def leave(self, *kinds: Kind) -> None:
        """Give back those of these kinds, or all."""
        left = [held for held in self._held if not kinds or held[0] in kinds]
        self._held = [held for held in self._held if held not in left]
        for kind, holder in left:
            if self._seats is not None:
                self._seats.leave(kind, holder)


def seat_of(environ: WSGIEnvironment) -> Seat:
    """The request's."""
    seat = environ.get(SEAT)
    return seat if isinstance(seat, Seat) else Seat(None)


def _sit_first(seat: Seat) -> None:
    """On a seat that is kept for whoever asks whether this process is ready; when all are taken, on another."""
    try:
        seat.take(Kind.READINESS)
    except Busy:
        seat.take(Kind.SMALL)


class Seated:
    """WSGI middleware: every request but /healthz has a seat, which ends with its last byte. `turned_away` responds to
    those that find none."""

    def __init__(
        self, app: WSGIApplication, seats: Seats, turned_away: Callable[[Busy], WSGIApplication]
    ) -> None:
        self._app, self._seats, self._turned_away = app, seats, turned_away

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        seat = environ[SEAT] = Seat(self._seats)
        try:
            if path == READINESS:
                _sit_first(seat)
            elif path != HEALTH:
                seat.take(Kind.SMALL)
        except Busy as busy:
            return self._turned_away(busy)(environ, start_response)
        try:
            return Answer(self._app(environ, start_response), seat.leave)
        except BaseException:
            seat.leave()
            raise
