"""The children of this process: begun, shared out, asked and ended.

1. A child is begun when a session first needs one of its kind. After a task that ended well it waits for the session's
   next; a child that broke a rule is killed. A session's end kills its children, and so does its being forgotten.
2. At most so many children live at once. Whoever needs one more takes the place of a child that waits, or waits itself,
   for a bounded time.
3. Each step has a time; a child that is still silent then is killed, wherever it hangs.
4. A child is told nothing but where Python's packages lie: no environment, no open file, no working folder.
"""

from __future__ import annotations

import fcntl
import gc
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retention.sandbox import worker

_PROGRAM = Path(worker.__file__).resolve()
_ROOT = str(_PROGRAM.parents[2])  # of our own packages: an import hook may have found them
_PIPE = 256 << 10  # bytes; a response of a chunk goes through at once
MOST_INPUT = 1 << 20
"""Bytes that a step may be given, and so the most that a task may hand back unused."""


class SandboxBusy(Exception):
    """No child can be had now."""


class Refused(Exception):
    """The task refused its input: it is not what it should be."""


class ChildFailed(Exception):
    """The child died, hung or broke a rule. `excess`: it went beyond a limit of memory or time."""

    def __init__(self, what: str, *, excess: bool = False) -> None:
        super().__init__(what)
        self.excess = excess


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of child: the module whose functions are its tasks, the bytes that it may take beyond what Python needs,
    its seconds of CPU, whether it may begin threads, and the seconds of a step, where fewer than the sandbox's do."""

    module: str
    memory: int
    cpu_s: int = 3600
    threads: bool = False
    step_s: float | None = None


class Child:
    """A child process. `ask` is a request and its response; any failure kills it."""

    def __init__(self, kind: Kind, step_s: float) -> None:
        self.kind, self.held = kind, frozenset[str]()
        self.asked_s = 0.0  # waited for responses: it cannot have used more CPU
        self._step_s = step_s if kind.step_s is None else min(step_s, kind.step_s)
        path = [str(Path(one).absolute()) for one in (*sys.path, _ROOT)]
        told = json.dumps([kind.module, kind.memory, kind.cpu_s, kind.threads, path])
        self._ends: list[int] = []  # of the pipes, here: where requests are written, where responses are read
        given: list[int] = []
        try:
            for mine in (1, 0):
                pipe = os.pipe()
                self._ends.append(pipe[mine])
                given.append(pipe[1 - mine])
            self._process = subprocess.Popen(  # noqa: S603 - our own program, by our own interpreter
                [sys.executable, "-I", "-S", "-B", str(_PROGRAM), told],
                stdin=given[0],
                stdout=given[1],
                stderr=subprocess.STDOUT,  # which the child makes unwritable; DEVNULL would open a file here
                cwd="/",
                env={},
                start_new_session=True,
            )
        except BaseException:
            given += self._ends
            raise
        finally:
            for end in given:
                os.close(end)
        for end in self._ends:
            os.set_blocking(end, False)
            with suppress(OSError, AttributeError):  # only faster
                fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, _PIPE)

    @property
    def pid(self) -> int:
        return self._process.pid

    def begin(self, task: str, arguments: dict[str, Any]) -> int:
        """Begin a task. Return its flags."""
        flags, held, _ = self.ask(worker.BEGIN, json.dumps([task, arguments]).encode(), MOST_INPUT)
        self.held = frozenset(json.loads(held))
        return flags

    def ask(self, verb: bytes, data: bytes, at_most: int) -> tuple[int, bytes, bytes]:
        """Ask for at most so many bytes. Return flags, bytes, and what was left unused. Refused; ChildFailed."""
        if len(data) > MOST_INPUT:
            raise ValueError(f"a step takes at most {MOST_INPUT} bytes, not {len(data)}")
        began = time.monotonic()
        try:
            response = self._exchange(worker.REQUEST.pack(verb, at_most, len(data)) + data, at_most)
        except BaseException:  # also one from outside, as Ctrl-C: the next response would be this request's
            self.close()
            raise
        self.asked_s += time.monotonic() - began
        if response is None:
            raise Refused
        return response

    def _exchange(self, request: bytes, at_most: int) -> tuple[int, bytes, bytes] | None:
        """Send a request and receive its response; None where the input is refused."""
        until = time.monotonic() + self._step_s
        self._send(request, until)
        status, flags, length, rest = worker.RESPONSE.unpack(self._receive(worker.RESPONSE.size, until))
        if length > at_most or rest > MOST_INPUT:
            raise ChildFailed("it gave more than it was asked for")
        out, unused = self._receive(length, until), self._receive(rest, until)
        if status == worker.NO_MEMORY:
            raise ChildFailed(f"it needed more than {self.kind.memory} bytes of memory", excess=True)
        return (flags, out, unused) if status == worker.DONE else None

    def _send(self, data: bytes, until: float) -> None:
        pipe, left = self._ends[0], memoryview(data)
        while left:
            self._wait(pipe, select.POLLOUT, until)
            try:
                left = left[os.write(pipe, left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._death() from None

    def _receive(self, size: int, until: float) -> bytes:
        pipe, found = self._ends[1], bytearray()
        while len(found) < size:
            self._wait(pipe, select.POLLIN, until)
            more = os.read(pipe, size - len(found))
            if not more:
                raise self._death()
            found += more
        return bytes(found)

    def _wait(self, pipe: int, for_what: int, until: float) -> None:
        poll = select.poll()
        poll.register(pipe, for_what)
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            raise ChildFailed(f"it was silent for {self._step_s:g} seconds", excess=True)

    def _death(self) -> ChildFailed:
        """Say how a child that closed its pipes ended."""
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(self._step_s)
            if code in (
                -signal.SIGXCPU,
                -signal.SIGKILL,
            ):  # soft and hard limit are one: the kernel may send either
                return ChildFailed(
                    f"the system ended it, for memory or after {self.kind.cpu_s} s of CPU", excess=True
                )
            return ChildFailed(f"it ended by signal {-code}" if code < 0 else f"it ended with code {code}")
        return ChildFailed("it closed its pipes")

    def close(self) -> None:
        """Kill it and wait for its end. Repeating it does nothing."""
        while self._ends:
            os.close(self._ends.pop())
        self._process.kill()
        self._process.wait()


class Sandbox:
    """The children of a process, at most so many. Thread-safe. `wait_s`: how long one is waited for; `step_s`: how long
    a step may take."""

    def __init__(self, most: int, *, wait_s: float = 20.0, step_s: float = 60.0) -> None:
        self._most, self._wait_s, self._step_s = most, wait_s, step_s
        self._room = (
            threading.Condition()
        )  # reentrant: a session may end in a garbage collection while it is held
        self.living = 0
        self._numbers = itertools.count()
        self._idle: deque[tuple[int, Child]] = (
            deque()
        )  # with the session that each is of; the longest idle first

    def session(self) -> Session:
        """Begin a session: a call about one bundle."""
        return Session(self, next(self._numbers))

    def take(self, kind: Kind, session: int) -> Child:
        """Return a child of this kind for a session's task. SandboxBusy."""
        spare: Child | None = None
        if self.living >= self._most and not self._idle:
            gc.collect()  # what was forgotten in a circle, as errors are, may hold some
        with self._room:
            for one in tuple(self._idle):  # a session may end meanwhile, and take its own out
                if one[0] == session and one[1].kind == kind:
                    self._idle.remove(one)
                    return one[1]
            if not self._room.wait_for(lambda: self.living < self._most or self._idle, self._wait_s):
                raise SandboxBusy
            if self.living < self._most:
                self.living += 1
            else:
                spare = self._idle.popleft()[1]
        try:
            if spare is not None:
                spare.close()
            return Child(kind, self._step_s)
        except OSError as error:  # no process, no descriptor or no memory to be had
            self._left()
            raise SandboxBusy from error
        except BaseException:
            self._left()
            raise

    def keep(self, child: Child, session: int) -> None:
        """Keep a child for the session's next task, unless much of its CPU time may be used up."""
        if child.asked_s > child.kind.cpu_s / 2:
            self.end(child)
            return
        with self._room:
            self._idle.append((session, child))
            self._room.notify()

    def end(self, child: Child) -> None:
        """Kill a child; its place is free."""
        child.close()
        self._left()

    def end_session(self, session: int) -> None:
        """Kill the children that wait for this session."""
        with self._room:
            over = [one for one in tuple(self._idle) if one[0] == session]
            for one in over:
                self._idle.remove(one)
        for _, child in over:
            self.end(child)

    def _left(self) -> None:
        with self._room:
            self.living -= 1
            self._room.notify()


class Session:
    """The children of one call. It ends with `close`, or with the last thing that knows it."""

    def __init__(self, sandbox: Sandbox, number: int) -> None:
        self.sandbox, self.number, self.is_over = sandbox, number, False

    def start(self, kind: Kind, task: str, **arguments: Any) -> Task:
        """Start a task of that name in a child. SandboxBusy, Refused, ChildFailed."""
        return Task(self, kind, task, arguments)

    def close(self) -> None:
        """End the children that wait, and each that works at the end of its task. Repeating it does nothing."""
        self.is_over = True
        self.sandbox.end_session(self.number)

    def __del__(self) -> None:
        self.close()


class Task:
    """A task in a child, with the interface of `worker.Stepwise`. Its end, or its being forgotten, frees the child."""

    def __init__(self, session: Session, kind: Kind, task: str, arguments: dict[str, Any]) -> None:
        self._child: Child | None = None
        self._session = session
        self.eof, self.needs_input, self.unused_data = False, True, b""
        self._child = session.sandbox.take(kind, session.number)
        self._note(self._asked(lambda child: (child.begin(task, arguments), b"", b"")))

    @property
    def held(self) -> frozenset[str]:
        """What confines the child: `limits`, and `seccomp` where the kernel has it."""
        return self._child.held if self._child is not None else frozenset()

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None else None

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Give it bytes; return at most so many of what it makes of them. Refused; ChildFailed."""
        out = self._note(self._asked(lambda child: child.ask(worker.MORE, data, max_length)))
        if not (data or out or self.eof or self.needs_input):  # asked again, it would say so again
            self.end()
            raise ChildFailed("it neither gave nor wanted anything")
        return out

    def _asked(self, ask: Callable[[Child], tuple[int, bytes, bytes]]) -> tuple[int, bytes, bytes]:
        child = self._child
        if child is None:
            raise ChildFailed("it was ended")
        try:
            return ask(child)
        except Refused:
            self.close()
            raise
        except BaseException:  # the child closed itself
            self._child = None
            self._session.sandbox.end(child)
            raise

    def _note(self, response: tuple[int, bytes, bytes]) -> bytes:
        flags, out, self.unused_data = response
        self.eof, self.needs_input = bool(flags & worker.ENDED), bool(flags & worker.WANTS_INPUT)
        return out

    def close(self) -> None:
        """Free the child for the session's next task. Repeating it does nothing."""
        child, self._child = self._child, None
        if child is None:
            return
        if self._session.is_over:  # so it may be where both are forgotten at once
            self._session.sandbox.end(child)
        else:
            self._session.sandbox.keep(child, self._session.number)

    def end(self) -> None:
        """Kill the child: what it gave cannot be. Repeating it does nothing."""
        child, self._child = self._child, None
        if child is not None:
            self._session.sandbox.end(child)

    def __del__(self) -> None:
        self.close()
