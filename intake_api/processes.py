"""What the processes of one service owe each other.

- None outlives its parent: killing one takes the others along, so half a service never serves on.
- A failing parent has no children left when it ends: the interpreter would wait for them for ever.
- A signal to the terminal's group reaches the parent alone, which stops its children in order.
- No thread dies unseen: its error is logged, and it restarts.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial

LOG = logging.getLogger(__name__)
LOOK_SECONDS = 0.5
AGAIN_SECONDS = 1.0


def in_background(name: str, work: Callable[[], None]) -> None:
    """Run `work` in a daemon thread until it returns. What it raises is logged, and it runs again."""
    threading.Thread(target=partial(keep_running, name, work), name=name, daemon=True).start()


def keep_running(name: str, work: Callable[[], None], pause: float = AGAIN_SECONDS) -> None:
    """Run `work` until it returns; log what it raises and run it again after `pause` seconds."""
    while True:
        try:
            return work()
        except Exception as error:  # whatever it is: a missing thread is noticed only when it is too late
            log_end(name, error)
        time.sleep(pause)


def log_end(name: str, error: BaseException) -> None:
    """Log the type and place, never the text, of the error that ended a thread."""
    LOG.error("thread %s ended by %s; it restarts", name, places_of(error))


def places_of(error: BaseException) -> str:
    """Return an error's type, and where it was raised and passed on, innermost first; never its text."""
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    places = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}"


def fork_children() -> None:
    """Start children as copies of this process, so that they inherit the listening socket and the locks: from Python
    3.14 on this is not the default."""
    multiprocessing.set_start_method("fork", force=True)


def end_with_parent(grace_seconds: float) -> None:
    """Ask this process to stop once its parent is gone; end it after another `grace_seconds`."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_seconds)
        os._exit(1)

    in_background("parent-watch", watch)


def leave_terminal_group() -> None:
    """Give this process a group of its own, so that Ctrl-C reaches the parent alone."""
    os.setpgid(0, 0)


def step_back() -> None:
    """Let every other thread on this machine run before this one, where the system supports it (setpriority(2))."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


def kill_children() -> None:
    """Kill this process's remaining children, and wait for each to be gone."""
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
