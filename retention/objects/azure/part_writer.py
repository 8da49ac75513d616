"""A part being written: sealed bytes gather in memory and go out as staged blocks, two at once.

Order of writing
    `b` staged (new_part) -> blocks 1, 2, 3 ... staged, two at once -> the last one, marked `l` -> all acknowledged *
    -> the lists are read: every block of ours must still exist, and nobody else's finished part of this id
A staged block is durable when the service has responded. The part is finished when its last block and all before it are
staged (*); reading the lists afterwards shows whether it was destroyed meanwhile. Of two writers of one part at least
the later sees the other: never do both succeed.

Memory: three buffers of BLOCK bytes, one being filled and two being sent; nothing else of this size is made, since the
client sends each buffer in place. A block is not filled to its last byte when the next reservation would not fit.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from azure.core.exceptions import AzureError

from retention.objects.azure.blob_service import named_errors, store_error
from retention.objects.azure.block_names import BEGIN, DATA, EMPTY, LAST, Block
from retention.objects.azure.bundle_blob import BundleBlob
from retention.objects.store import RESERVE_MAX
from retention.objects.store_errors import PartExists, PartMissing

BLOCK = 8 << 20
AT_ONCE = 2


class AzurePartWriter:
    """A writer of one part, made by the store. Contract: `PartWriter`."""

    def __init__(self, blob: BundleBlob, part_id: str) -> None:
        self._blob = blob
        self._part_id = part_id
        self._writer = os.urandom(4).hex()
        self._number = 0
        self._filling = memoryview(b"")
        self._filled = 0
        self._reserved = 0
        self._free: list[memoryview] = []
        self._sending: deque[tuple[Future[None], memoryview]] = deque()
        self._threads: ThreadPoolExecutor | None = None
        self._open = True

    def begin(self) -> None:
        """Stage the begin block, which marks the part as being written."""
        with named_errors("a part cannot be started"):
            self._stage(0, BEGIN, memoryview(b"b"))

    def _stage(self, number: int, kind: str, content: memoryview) -> None:
        name = Block(self._part_id, self._writer, number, kind).name
        self._blob.client.stage_block(name, content, length=len(content))  # type: ignore[arg-type]

    def _refuse_finished(self) -> None:
        if not self._open:
            raise ValueError(f"part {self._part_id} is already committed or aborted")

    def reserve(self, length: int) -> memoryview:
        self._refuse_finished()
        if not 0 <= length <= RESERVE_MAX:
            raise ValueError(f"cannot reserve {length} bytes: at most {RESERVE_MAX} at once")
        if self._filled + length > len(self._filling):
            self._next_buffer()
        self._reserved = length
        return self._filling[self._filled : self._filled + length]

    def advance(self, length: int) -> None:
        self._refuse_finished()
        if not 0 <= length <= self._reserved:
            raise ValueError(f"cannot advance {length} bytes: only {self._reserved} are reserved")
        self._reserved = 0
        self._filled += length

    def _next_buffer(self) -> None:
        try:
            if self._filled:
                self._send(DATA)
            while len(self._sending) >= AT_ONCE:
                self._await_oldest()
        except AzureError as error:
            self._close()
            raise store_error("a part cannot be written", error) from error
        self._filling = self._free.pop() if self._free else memoryview(bytearray(BLOCK))

    def _send(self, kind: str) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="casevault-block")
        self._number += 1
        content = self._filling[: self._filled] if kind != EMPTY else memoryview(b"e")
        sending = self._threads.submit(self._stage, self._number, kind, content)
        self._sending.append((sending, self._filling))
        self._filling, self._filled = memoryview(b""), 0

    def _await_oldest(self) -> None:
        sending, buffer = self._sending.popleft()
        sending.result()
        self._free.append(buffer)

    def commit(self) -> None:
        self._refuse_finished()
        with named_errors("a part cannot be made durable"):
            try:
                self._send(LAST if self._filled or self._number else EMPTY)
                while self._sending:
                    self._await_oldest()  # *
            finally:
                self._close()
            self._refuse_lost()

    def _refuse_lost(self) -> None:
        lists, _ = self._blob.lists()
        others = [writer for writer in lists.finished_by(self._part_id) if writer != self._writer]
        if lists.whole(self._part_id, self._writer) and not others and not lists.is_committed(self._part_id):
            return
        lost = not lists.alive(self._part_id, self._writer)
        self._blob.forget(self._part_id, [self._writer])
        if lost or not (others or lists.is_committed(self._part_id)):
            raise PartMissing(f"part {self._part_id} was destroyed while it was being written")
        raise PartExists(f"part {self._part_id} exists already")

    def _close(self) -> None:
        """Wait for blocks being sent, and release the memory."""
        self._open = False
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        self._sending.clear()
        self._free.clear()
        self._filling = memoryview(b"")

    def abort(self) -> None:
        if not self._open:
            return
        self._close()
        with named_errors("a half-written part cannot be removed"):
            self._blob.forget(self._part_id, [self._writer])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()
