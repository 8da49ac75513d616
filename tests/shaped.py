"""A bad line between a user and the service: slow, far away, and reset again and again. Seeded, so it can be repeated.

- Bandwidth: each direction carries `rate` bytes a second of what TCP carries (TLS included), shared by all connections.
- Latency: each byte arrives half a round trip after it left; a new connection costs a round trip before its first.
- Resets: in every second that a connection lives it is reset with probability `resets`. What is under way then is lost,
  and both ends hear of it (RST) half a round trip later.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import struct
import threading

_AT_ONCE, _LATE = 1400, 0.05
_BUFFER = 1 << 15
"""A line acknowledges what arrived; what waits before it waits at the sender."""


class _Way:
    """One direction of the line."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.piece = max(_AT_ONCE, int(rate / 50))
        self._free_at = 0.0

    async def carry(self, count: int) -> None:
        """Return when so many bytes have gone on the line."""
        now = asyncio.get_running_loop().time()
        # A sleep ends late: what that loses is made up for, or the line would be slower than it says.
        self._free_at = max(self._free_at, now - _LATE) + count / self.rate
        await asyncio.sleep(self._free_at - now)


class ShapedLine:
    """Listens on `server`; forwards to the service. `close` it."""

    def __init__(
        self, server: str, *, rate: float, round_trip: float, resets: float = 0.0, seed: int = 0
    ) -> None:
        host, _, port = server.removeprefix("https://").rpartition(":")
        self._target = host, int(port)
        self._half = round_trip / 2
        self._hazard = -math.log(1 - resets)
        self._random = random.Random(seed)
        self._out, self._back = _Way(rate), _Way(rate)
        self.resets = self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)  # of what it accepts, too
        self._listener.setblocking(False)
        self.server = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it with all its connections."""
        self._loop.call_soon_threadsafe(self._accepting.cancel)
        self._thread.join(10)
        self._listener.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._accepting = self._loop.create_task(self._accept())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._accepting)
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def _accept(self) -> None:
        async with asyncio.TaskGroup() as connections:
            while True:
                near, _ = await self._loop.sock_accept(self._listener)
                connections.create_task(self._connection(near))

    async def _connection(self, near: socket.socket) -> None:
        self.connections += 1
        far = socket.socket()
        far.setblocking(False)
        near.setblocking(False)
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.sleep(2 * self._half)  # SYN, SYN-ACK
            await self._loop.sock_connect(far, self._target)
            life = self._random.expovariate(self._hazard) if self._hazard else None
            ways = [self._pump(near, far, self._out), self._pump(far, near, self._back)]
            try:
                async with asyncio.timeout(life):
                    await asyncio.gather(*ways)
            except TimeoutError:
                self.resets += 1
                await asyncio.sleep(self._half)
                for end in (near, far):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        finally:
            near.close()
            far.close()

    async def _pump(self, source: socket.socket, target: socket.socket, way: _Way) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(due - self._loop.time())
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                await self._loop.sock_sendall(target, data)

        async def take() -> None:
            data = b"-"
            while data:
                data = await self._loop.sock_recv(source, way.piece)
                await way.carry(len(data))
                under_way.put_nowait((self._loop.time() + self._half, data))

        await asyncio.gather(deliver(), take())
