"""How fast a file leaves this machine and in what pieces; and the threads that send it.

- A limit is a token bucket without burst: no second carries more than it, and time lost on the line is not made up.
  Pieces are a twentieth of a second's worth, so that others on the line hardly notice them.
- There is one pace, however many connections share it.
- Without a limit pieces grow while the line takes them at once and shrink while it does not: big ones cost least on a
  fast line. A piece is at most a TLS record or whole ones, and half a record that arrives is lost with its connection:
  small ones lose less on a bad line.
- Threads that send together, each over a connection of its own, are daemons: nobody waits for a request under way when
  the user stops the program, or when one of them has failed for good.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator


def run(count: int, worker: Callable[[], None]) -> None:
    """Run `worker` in `count` threads until all end, or until the first error, which is raised here."""
    changed = threading.Condition()
    running = count
    errors: list[BaseException] = []

    def one() -> None:
        nonlocal running
        error: BaseException | None = None
        try:
            worker()
        except Exception as raised:
            error = raised
        with changed:
            running -= 1
            errors.extend([error] if error is not None else [])
            changed.notify_all()

    for number in range(count):
        threading.Thread(target=one, name=f"lane-{number}", daemon=True).start()
    with changed:
        while running and not errors:
            changed.wait()
    if errors:
        raise errors[0]


SMALLEST, FIRST, LARGEST = 1 << 12, 1 << 14, 1 << 18
_SHARE = 20
_FAST_SECONDS, _SLOW_SECONDS = 0.02, 0.2
_RATE = re.compile(r"([0-9]{1,12})([kKmMgG]?)", re.ASCII)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def parse_rate(text: str) -> int:
    """Parse bytes a second, as in 500, 32k, 2M; ValueError says what is accepted."""
    found = _RATE.fullmatch(text)
    rate = int(found[1]) * _UNITS[found[2].lower()] if found else 0
    if not rate:
        raise ValueError(f"{text!r} is not a rate: give bytes a second, like 500, 32k or 2M")
    return rate


class Pace:
    """The pace of one transfer. `piece` is how much to send next; call `keep` before and `took` after sending it."""

    def __init__(
        self,
        limit: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limit, self._clock, self._sleep = limit, clock, sleep
        self._lock = threading.Lock()
        self._free_at = self._since = clock()
        self.piece = FIRST if limit is None else max(1, min(LARGEST, limit // _SHARE))

    def keep(self, count: int) -> None:
        """Wait until `count` bytes may leave."""
        if self._limit is not None:
            now = self._clock()
            with self._lock:
                start = max(self._free_at, now)
                self._free_at = start + count / self._limit
            if start > now:
                self._sleep(start - now)
        self._since = self._clock()

    def took(self) -> None:
        """Note that the bytes have left."""
        if self._limit is None:
            seconds = self._clock() - self._since
            if seconds < _FAST_SECONDS:
                self.piece = min(self.piece * 2, LARGEST)
            elif seconds > _SLOW_SECONDS:
                self.piece = max(self.piece // 2, SMALLEST)

    def cut(self, content: bytes) -> Iterable[bytes] | bytes:
        """Make a request body that keeps the pace: in one piece if there is no limit."""
        return content if self._limit is None else _Paced(content, self)


class _Paced:
    def __init__(self, content: bytes, pace: Pace) -> None:
        self._content, self._pace = content, pace

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[bytes]:
        size = self._pace.piece
        for at in range(0, len(self._content), size):
            piece = self._content[at : at + size]
            self._pace.keep(len(piece))
            yield piece
