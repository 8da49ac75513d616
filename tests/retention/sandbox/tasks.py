"""Tasks for these tests: what an honest parser does, and what a decoder does that its input took over."""

from __future__ import annotations

import errno
import json
import mmap
import os
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path


class Step:
    """A task of one function: bytes and a number in, bytes out."""

    def __init__(self, work: Callable[[bytes, int], bytes]) -> None:
        self._work = work
        self.eof, self.needs_input, self.unused_data = False, True, b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._work(data, max_length)


def echo() -> Step:
    return Step(lambda data, most: data[:most])


def words() -> Step:
    """Records: a line of JSON for each word."""
    return Step(
        lambda data, most: b"".join(json.dumps({"word": w.decode()}).encode() + b"\n" for w in data.split())
    )


def abort() -> Step:
    return Step(lambda data, most: os.abort())


def leave() -> Step:
    return Step(lambda data, most: os._exit(3))


def hang() -> Step:
    return Step(lambda data, most: _forever())


def idle() -> Step:
    """Give nothing, and ask for nothing."""
    step = Step(lambda data, most: b"")
    step.needs_input = False
    return step


def take_memory() -> Step:
    return Step(lambda data, most: bytes(bytearray(int(data)))[:1])


def too_much() -> Step:
    return Step(lambda data, most: bytes(most + 1))


def refuse() -> Step:
    return Step(lambda data, most: _refuse())


def seen() -> Step:
    """What the child knows of the world."""
    return Step(lambda data, most: json.dumps({"environment": dict(os.environ)}).encode())


def open_files() -> Step:
    """The numbers of the open descriptors."""
    return Step(lambda data, most: json.dumps([number for number in range(64) if _is_open(number)]).encode())


def _is_open(number: int) -> bool:
    try:
        os.lseek(number, 0, os.SEEK_CUR)
    except OSError as error:
        return error.errno == errno.ESPIPE  # a pipe
    return True


def tries() -> Step:
    """Try what must not work; give the names of what did."""
    return Step(lambda data, most: json.dumps([name for name, one in TRIES.items() if worked(one)]).encode())


def thread() -> Step:
    """Work in a thread."""
    return Step(lambda data, most: _in_thread(data))


def _in_thread(data: bytes) -> bytes:
    done: list[bytes] = []
    worker = threading.Thread(target=done.append, args=(data,))
    worker.start()
    worker.join()
    return done[0]


def tries_beyond_limits() -> Step:
    """The same where only the filter of system calls can hold it: no new descriptor is needed."""
    return Step(lambda data, most: json.dumps([n for n, one in FILTERED.items() if worked(one)]).encode())


def _forever() -> bytes:
    while True:
        pass


def _refuse() -> bytes:
    raise ValueError("not what it should be")


def worked(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except Exception:
        return False
    return True


TRIES: dict[str, Callable[[], object]] = {
    "read a file": lambda: Path("/etc/passwd").read_bytes(),
    "write a file": lambda: Path("/tmp/casevault-sandbox-test").write_bytes(b""),
    "open a socket": lambda: socket.socket(),
    "open a local socket": lambda: socket.socket(socket.AF_UNIX),
    "duplicate a descriptor": lambda: os.dup(0),
    "make a pipe": lambda: os.pipe(),
    "write to standard error": lambda: os.write(2, b"a customer's bytes"),
    "run a program": lambda: subprocess.run(["true"], check=True),
}
FILTERED: dict[str, Callable[[], object]] = {
    "fork": lambda: os.fork() or os._exit(0),
    "signal its parent": lambda: os.kill(os.getppid(), 0),
    "become a program": lambda: os.execv("/bin/true", ["true"]),  # noqa: S606
    "remove a file": lambda: Path("/tmp/casevault-sandbox-none").unlink(missing_ok=True),
    "list a folder": lambda: list(Path("/").iterdir()),
    "make a folder": lambda: Path("/tmp/casevault-sandbox-folder").mkdir(),
    "set limits": lambda: _set_limits(),
    "make memory that can be executed": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    "sleep": lambda: time.sleep(0.001),
}


def _set_limits() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
