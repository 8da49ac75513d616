"""The child's program: it confines itself, then serves requests until its input ends.

It is run by its path, with the parent's search path and what to import as its one argument. Everything is imported
before it confines itself; from then on it opens nothing.

A request is `verb, most, length` and so many bytes; a response `status, flags, length, rest` and so many bytes of each.
`BEGIN` names a function of the module with its arguments (JSON); what it makes is asked for bytes by each `MORE`.
"""

from __future__ import annotations

import importlib
import json
import os
import struct
import sys
from typing import Any, Protocol

REQUEST = struct.Struct("<cII")
RESPONSE = struct.Struct("<cBII")
BEGIN, MORE = b"b", b"m"
DONE, REFUSED, NO_MEMORY = b"+", b"-", b"m"
ENDED, WANTS_INPUT = 1, 2


class Stepwise(Protocol):
    """What a task makes: bytes in, bytes out (or records, as lines of JSON), a bounded step at a time. This is the
    interface of bz2's and lzma's decompressors. A fault of the input is any exception."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def main() -> None:
    """Serve requests until standard input ends."""
    os.dup2(0, 2)  # what a library says may be a customer's bytes: standard error is no place to write
    module_name, memory, cpu_s, threads, sys.path[:] = json.loads(sys.argv[1])
    module = importlib.import_module(module_name)
    confine = importlib.import_module("retention.sandbox.confinement").confine
    held = json.dumps(confine(memory, cpu_s, threads=threads)).encode()
    task: Stepwise | None = None
    while head := _read(REQUEST.size):
        verb, most, length = REQUEST.unpack(head)
        data = _read(length)
        try:
            if verb == BEGIN:
                task = None
                name, arguments = json.loads(data)
                task = getattr(module, name)(**arguments)
                _respond(DONE, task, held)
            elif task is not None:
                _respond(DONE, task, task.decompress(data, most))
        except MemoryError:
            task = None
            _respond(NO_MEMORY, None, b"")
        except Exception:  # whatever a decoder raises, its input is at fault
            task = None
            _respond(REFUSED, None, b"")


def _respond(status: bytes, task: Any, out: bytes) -> None:
    flags, rest = 0, b""
    if task is not None:
        flags = ENDED * bool(task.eof) | WANTS_INPUT * bool(task.needs_input)
        rest = task.unused_data if task.eof else b""
    for part in (RESPONSE.pack(status, flags, len(out), len(rest)), out, rest):
        left = memoryview(part)
        while left:
            left = left[os.write(1, left) :]


def _read(size: int) -> bytes:
    """Read exactly so many bytes; fewer only at the end of the input."""
    found = bytearray()
    while len(found) < size and (more := os.read(0, size - len(found))):
        found += more
    return bytes(found)


if __name__ == "__main__":
    main()
