"""A child that a chunk took over: by the provider of the chunk's first event it dies, goes round for ever or lies."""

from __future__ import annotations

import json
import os
from typing import Any

from retention.sandbox import event_logs

_KINDS = {
    one.encode("utf-16-le"): one
    for one in ("abort", "silence", "nonsense", "endless", "place", "again", "much", "round")
}


class _Bad:
    eof, unused_data = False, b""

    def __init__(self) -> None:
        self._honest: Any = event_logs.event_chunks(xml=False)
        self._kind = ""
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data:
            self._kind = next((one for raw, one in _KINDS.items() if raw in data), "")
            self.needs_input = False
        if not self._kind:
            out: bytes = self._honest.decompress(data, max_length)
            self.needs_input = self._honest.needs_input
            return out
        return self._bad(max_length)

    def _bad(self, most: int) -> bytes:
        while self._kind == "round":
            pass
        if self._kind == "abort":
            os.abort()
        if self._kind == "nonsense":
            return b'{"index": 0, "time": []}\n[1]\n'
        if self._kind == "endless":
            return b"x" * most
        if self._kind == "place":
            return json.dumps({"index": 1 << 40, "fault": True}).encode() + b"\n"
        if self._kind == "again":
            told = {"data": [], **dict.fromkeys(("time", "provider", "computer", "channel"), "")}
            numbers = {"index": 0, "record": "70", "level": "4", "id": "1"}
            return (json.dumps(numbers | told).encode() + b"\n") * 2
        if self._kind == "much":
            return b"{}\n" * (most // 3)
        return b""  # and it asks for nothing


def event_chunks(**asked: Any) -> _Bad:
    return _Bad()
