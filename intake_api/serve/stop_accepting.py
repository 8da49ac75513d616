"""Makes a worker that is about to be replaced accept no more callers, and serve those that it has.

Why: a server that is told to stop closes connections that have not brought a request yet, so a caller in the middle of
its TLS handshake would lose its connection although another worker listens. A worker that accepts nothing more has no
such callers a moment later.

How: the listening socket is shared with the next worker, so it must not be shut down. This process alone lets go of it:
another socket, to which nobody ever connects, takes its place under the same number (dup2(2)). Linux shows which number
that is; elsewhere the worker accepts until it is stopped.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path


def stop_accepting(port: int) -> int:
    """Let go of every socket of this process that listens on `port`; return how many there were."""
    if sys.platform != "linux":
        return 0
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if str(entry.readlink()).startswith("socket:") and _listens(int(entry.name), port):
                _replace(int(entry.name))
                found += 1
    return found


def _listens(descriptor: int, port: int) -> bool:
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        if copy.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        listens = copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return bool(listens) and copy.getsockname()[1] == port


def _replace(descriptor: int) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.setblocking(False)
        silent.bind("")  # the kernel chooses a name that nobody knows (unix(7), autobind)
        silent.listen(0)
        os.dup2(silent.fileno(), descriptor, inheritable=False)
