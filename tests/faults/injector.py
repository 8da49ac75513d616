"""One fault at one call: every call to a store, the records, the tiles and the sequencer's database is a place to fail.

The calls are counted in order; at the chosen one the process dies (before it, or after it took effect), or the call
errs (not persisted, or persisted all the same). The process dies by `os._exit`: nothing is cleaned up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from typing import Any

from sqlalchemy.exc import OperationalError

from retention.objects.store_errors import StoreUnavailable

KILLED = 73


class Mode(StrEnum):
    """What happens at the chosen call."""

    KILL_BEFORE = "killed before"
    KILL_AFTER = "killed after"
    ERROR_LOST = "error, not persisted"
    ERROR_KEPT = "error, but persisted"


class Injector:
    """Counts calls; at call number `at`, `mode` happens."""

    def __init__(self, at: int | None = None, mode: Mode = Mode.KILL_BEFORE) -> None:
        self.trace: list[str] = []
        self._at, self._mode = at, mode

    def call(self, name: str, do: Callable[[], Any], error: Exception) -> Any:
        with self.around(name, error):
            return do()

    @contextmanager
    def around(self, name: str, error: Exception) -> Iterator[None]:
        """The body is the call."""
        here = len(self.trace) == self._at
        self.trace.append(name)
        if here and self._mode is Mode.KILL_BEFORE:
            os._exit(KILLED)
        if here and self._mode is Mode.ERROR_LOST:
            raise error
        try:
            yield
        finally:  # also when the answer is an error of the call's own
            if here and self._mode is Mode.KILL_AFTER:
                os._exit(KILLED)
            if here and self._mode is Mode.ERROR_KEPT:
                raise error


class Faulty:
    """Passes every call on by way of the injector; writers and readers that come back are wrapped too."""

    def __init__(self, inner: Any, injector: Injector, name: str, error: Exception | None = None) -> None:
        self._inner, self._injector, self._name = inner, injector, name
        self._error = error or StoreUnavailable("injected")

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._inner, method)
        if not callable(found):
            return found

        def call(*args: Any, **named: Any) -> Any:
            name = f"{self._name}.{method}"
            value = self._injector.call(name, lambda: found(*args, **named), self._error)
            return self._wrapped(value) if method in ("new_part", "open_part") else value

        return call

    def _wrapped(self, part: Any) -> Faulty:
        return Faulty(part, self._injector, "part", self._error)

    def __enter__(self) -> Faulty:
        return self

    def __exit__(self, *_: object) -> None:
        self._inner.abort()


class FaultyRecords:
    """Records whose transactions fail: a work that is killed or errs before COMMIT has done nothing."""

    def __init__(self, inner: Any, injector: Injector) -> None:
        self._inner, self._injector = inner, injector
        self.engine = inner.engine

    def write(self, work: Any) -> Any:
        return self._injector.call("records.write", lambda: self._inner.write(work), database_error())

    def read(self) -> AbstractContextManager[Any]:
        read: AbstractContextManager[Any] = self._injector.call(
            "records.read", self._inner.read, database_error()
        )
        return read

    def close(self) -> None:
        self._inner.close()


class FaultyEngine:
    """The sequencer's engine: the fault sits at COMMIT."""

    def __init__(self, inner: Any, injector: Injector) -> None:
        self._inner, self._injector = inner, injector
        self.dialect = inner.dialect

    @contextmanager
    def begin(self) -> Iterator[Any]:
        connection = self._inner.connect()
        try:
            transaction = connection.begin()
            try:
                yield connection
                self._injector.call("engine.commit", transaction.commit, database_error())
            finally:
                if transaction.is_active:
                    transaction.rollback()
        finally:
            connection.close()


def database_error() -> OperationalError:
    return OperationalError("injected", {}, Exception("injected"))


def in_a_process_of_its_own(act: Callable[[], object]) -> int:
    """Run `act` in a forked process that ends without any clean-up; its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
