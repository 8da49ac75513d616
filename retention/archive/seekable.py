"""A packed file as bytes to seek in, without holding it: what an archive inside an archive is read through.

1. It is decoded forwards. About every 4 MiB a copy of the decoder is kept: going back decodes from the nearest copy.
2. The copies are leased from the process's memory. When none is left, every second one is let go, and from then on
   they stand twice as far apart: going back costs more, and is never refused.
3. A decoder that cannot be copied begins anew to go back; if the whole fits the limit and the memory, it is held
   decoded from then on instead.
4. Checksums of the packed file are not checked here: the files of the archive in it have their own.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable

from retention.archive.inflate import Onward
from retention.archive.limits import Bounds, Lease
from retention.archive.source import CHUNK

_NOWHERE = 1 << 63
"""Behind any place, so that to reach one is to go back."""


class Unpacked(io.RawIOBase):
    """The decoded bytes of a packed file. `size` is the declared one, or None where only decoding tells."""

    def __init__(self, begin: Callable[[], Onward], size: int | None, bounds: Bounds) -> None:
        super().__init__()
        self._begin, self._size, self._bounds = begin, size, bounds
        self._forward, self._at = begin(), 0
        self._position = 0
        self._every = bounds.limits.seek_point_every
        self._places: list[int] = []
        self._points: list[tuple[Onward, Lease]] = []
        self._held: tuple[memoryview, Lease] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    @property
    def seek_points(self) -> int:
        """How many seek points are kept."""
        return len(self._points)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = 0
        if whence == io.SEEK_CUR:
            origin = self._position
        elif whence == io.SEEK_END:
            origin = self._length()
        if origin + offset < 0:
            raise io.UnsupportedOperation("cannot seek before the start")
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        wanted = len(buffer) if self._size is None else min(len(buffer), self._size - self._position)
        if wanted <= 0 or not self._reach(self._position):
            return 0
        held = self._held
        out = held[0][self._position : self._position + wanted] if held else self._more(wanted)
        buffer[: len(out)] = out
        self._position += len(out)
        return len(out)

    def _length(self) -> int:
        """Return the size; where nobody declared it, decode to the end once."""
        if self._size is None:
            self._reach(self._at)
            while self._more(CHUNK):
                pass
            self._size = self._at
        return self._size

    def _reach(self, place: int) -> bool:
        """Bring the decoder to `place`; False if it ends before."""
        if self._held is not None:
            return place < len(self._held[0])
        if place < self._at or self._nearest(place) > self._at:
            self._go_back(place)
        if self._held is not None:
            return place < len(self._held[0])
        while self._at < place:
            if not self._more(min(CHUNK, place - self._at)):
                return False
        return True

    def _nearest(self, place: int) -> int:
        index = bisect_right(self._places, place)
        return self._places[index - 1] if index else 0

    def _go_back(self, place: int) -> None:
        index = bisect_right(self._places, place)
        if index:
            self._forward, self._at = self._points[index - 1][0].copy(), self._places[index - 1]
            return
        self._forward.release()
        self._at = _NOWHERE  # until one is begun, there is none to go on from
        self._forward, self._at = self._begin(), 0
        if not self._forward.held:
            self._hold()

    def _hold(self) -> None:
        """Hold the whole decoded, if it is small enough and there is memory for it."""
        if self._size is None or self._size > self._bounds.limits.max_held:
            return
        lease = self._bounds.memory.lease(self._size)
        if lease is None:
            return
        whole, end = (
            memoryview(bytearray(self._size)),
            0,
        )  # its size at once: growing would take more for a while
        while end < self._size and (out := self._forward.more(min(CHUNK, self._size - end))):
            whole[end : end + len(out)] = out
            end += len(out)
        self._held = whole[:end], lease
        self._forward.release()

    def _more(self, at_most: int) -> bytes:
        out = self._forward.more(at_most)
        self._at += len(out)
        if self._at - (self._places[-1] if self._places else 0) >= self._every:
            self._keep_point()
        return out

    def _keep_point(self) -> None:
        size = self._forward.held
        if not size:
            return
        while (lease := self._bounds.memory.lease(size)) is None:
            self._every *= 2
            if not self._points:
                return
            del self._points[::2], self._places[::2]
        self._points.append((self._forward.copy(), lease))
        self._places.append(self._at)
