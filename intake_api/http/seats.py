"""Which requests hold this process's threads: seats, counted before a byte of a body is read.

A request holds a thread until the last byte of its response went out, and a slow line holds one for hours. So the
threads are shared out beforehand, and a request that finds no seat is refused at once (503, Retry-After).

Rules:
- Long uploads and downloads have seats of their own, fewer than there are threads; one caller, and one tenant, gets at
  most a share of each kind. The rest are for small requests, and SPARE threads are nobody's: they respond that the
  process is healthy (/healthz needs no seat), find out whether it is ready, and turn others away.
- A small body (JSON) is read before its request is decided, within `body_seconds`, and few of one caller at once: a
  slow sender holds no more than that, however many requests it makes.
- A seat is taken before the work that it is for begins, and given back when the request has ended, whatever ended it:
  here, in one place.

The arithmetic, for T threads (CASEVAULT_THREADS): SPARE are kept free. Of the rest, by default, half are for uploads
(CASEVAULT_UPLOADS) and a quarter for downloads (CASEVAULT_READS); the remainder, at least SMALL_LEAST, is for small
requests. Of these, three quarters can be reading bodies, and one quarter draining refused ones. A caller has at most
CASEVAULT_CALLER_SHARE percent of a kind, a tenant CASEVAULT_TENANT_SHARE. The Blob endpoint has no downloads: its
uploads have both kinds of seats.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from intake_api.http.request_body import Answer
from retention.domain.actor import Actor

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SPARE = 4
SMALL_LEAST = 2
SEAT = "casevault.seat"
"""The key of the request's seat in its WSGI environ."""
HEALTH, READINESS = "/healthz", "/readyz"


class Kind(StrEnum):
    """The use of a seat, as a word for messages."""

    SMALL = "requests"
    READINESS = "readiness"
    BODY = "bodies"
    DRAIN = "drains"
    UPLOAD = "uploads"
    READ = "downloads"


@dataclass(frozen=True, slots=True)
class Share:
    """The seats of a kind: in all, and at most for one tenant and for one caller."""

    all: int
    tenant: int
    caller: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatPlan:
    """The division of a process's threads. ValueError when they do not suffice. Shares in percent."""

    threads: int = 128
    uploads: int = 62
    reads: int = 31
    caller_share: int = 50
    tenant_share: int = 75

    @classmethod
    def by_default(cls, threads: int) -> SeatPlan:
        """Return the default division of so many threads."""
        rest = threads - SPARE
        return cls(threads=threads, uploads=rest // 2, reads=rest // 4)

    def __post_init__(self) -> None:
        if self.small < SMALL_LEAST:
            raise ValueError(
                f"{self.threads} threads leave {self.small} for small requests after {self.uploads} uploads, "
                f"{self.reads} downloads and {SPARE} kept free: at least {SMALL_LEAST} are needed"
            )
        if self.caller_share > self.tenant_share:
            raise ValueError(
                f"a caller's share ({self.caller_share}) exceeds a tenant's ({self.tenant_share})"
            )

    @property
    def small(self) -> int:
        """The number of seats for small requests."""
        return self.threads - self.uploads - self.reads - SPARE

    def for_blobs(self) -> SeatPlan:
        """Return the plan of the Blob endpoint, which has no downloads."""
        return SeatPlan(
            threads=self.threads,
            uploads=self.uploads + self.reads,
            reads=0,
            caller_share=self.caller_share,
            tenant_share=self.tenant_share,
        )

    def shares(self) -> Mapping[Kind, Share]:
        """Return the share of each kind."""
        return {
            Kind.SMALL: Share(self.small, self.small, self.small),
            Kind.READINESS: Share(SPARE // 2, SPARE // 2, SPARE // 2),
            Kind.BODY: self._share(max(1, self.small * 3 // 4)),
            Kind.DRAIN: self._share(self.small // 4),
            Kind.UPLOAD: self._share(self.uploads),
            Kind.READ: self._share(self.reads),
        }

    def _share(self, seats: int) -> Share:
        """Return the share of one kind: where it has any seat, nobody's limit is below one."""
        tenant, caller = (
            max(min(1, seats), seats * share // 100) for share in (self.tenant_share, self.caller_share)
        )
        return Share(seats, tenant, caller)


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a seat. None: not counted separately."""

    caller: str | None = None
    tenant: str | None = None


NOBODY = Holder()


def holder_of(actor: Actor) -> Holder:
    """Return who is counted when this actor holds a seat, and under which customer or company."""
    return Holder(actor.id, actor.tenant or actor.company)


class Busy(Exception):
    """The refusal when no seat of this kind is left: in all, of this tenant, or of this caller (`whose`)."""

    entered = True
    """Entered in no log: nothing was looked at, and the most frequent refusal has to cost least."""

    def __init__(self, kind: Kind, whose: str, most: int) -> None:
        whom = {"all": "in all", "tenant": "for your customer", "caller": "for you"}[whose]
        super().__init__(f"the limit of {most} {kind} at once {whom} is reached: try again after Retry-After")
        self.reason = f"too-many-{kind}" + ("" if whose == "all" else f"-of-{whose}")
        """The reason for programs."""


class Seats:
    """The seats of one process. Thread-safe."""

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
        """Give the seat back."""
        with self._lock:
            for key in _counted(kind, holder):
                self._taken[key] -= 1
                if not self._taken[key]:
                    del self._taken[key]

    def taken(self, kind: Kind) -> int:
        """Return how many seats of this kind are held."""
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
    """The seats that one request holds. For one thread at a time."""

    def __init__(self, seats: Seats | None) -> None:
        """Begin with no seat. `seats=None`: a process without bounds, as in tests."""
        self._seats = seats
        self._held: list[tuple[Kind, Holder]] = []

    def take(self, kind: Kind, holder: Holder = NOBODY) -> None:
        """Take one more seat. Busy."""
        if self._seats is not None:
            self._seats.take(kind, holder)
            self._held.append((kind, holder))

    def move(self, kind: Kind, holder: Holder) -> None:
        """Exchange a small request's seat for a long one's. Busy."""
        self.take(kind, holder)
        self.leave(Kind.SMALL)

    def has(self, kind: Kind) -> bool:
        """Return whether the request holds a seat of this kind."""
        return any(held == kind for held, _ in self._held)

    def leave(self, *kinds: Kind) -> None:
        """Give back the seats of these kinds, or all."""
        left = [held for held in self._held if not kinds or held[0] in kinds]
        self._held = [held for held in self._held if held not in left]
        for kind, holder in left:
            if self._seats is not None:
                self._seats.leave(kind, holder)


def seat_of(environ: WSGIEnvironment) -> Seat:
    """Return the request's seat."""
    seat = environ.get(SEAT)
    return seat if isinstance(seat, Seat) else Seat(None)


def _take_readiness_seat(seat: Seat) -> None:
    """Take a seat kept for readiness probes; when all are taken, a small request's."""
    try:
        seat.take(Kind.READINESS)
    except Busy:
        seat.take(Kind.SMALL)


class Seated:
    """WSGI middleware that gives every request but /healthz a seat, until its last byte. `turned_away` responds to
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
                _take_readiness_seat(seat)
            elif path != HEALTH:
                seat.take(Kind.SMALL)
        except Busy as busy:
            return self._turned_away(busy)(environ, start_response)
        try:
            return Answer(self._app(environ, start_response), seat.leave)
        except BaseException:
            seat.leave()
            raise
