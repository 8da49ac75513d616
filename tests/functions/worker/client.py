"""The host's side of a worker process: start it on an app root, index, and invoke functions by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CHILD = Path(__file__).with_name("child.py")
PATIENCE = 60.0
"""Seconds after which a silent worker is killed: a bound on a broken run, not a measurement."""


class WorkerDied(RuntimeError):
    """The worker process ended instead of answering."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """What came of one invocation, as the host is told."""

    ok: bool
    error: str
    outputs: Mapping[str, Any] = field(default_factory=dict)
    trace: str = ""


class Worker:
    """A worker process on `app_root`, with `settings` as its app settings. Nothing is indexed yet."""

    def __init__(self, app_root: Path, settings: Mapping[str, str] | None = None) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed in __exit__
        inherited = {name: os.environ[name] for name in ("PATH", "TMPDIR", "HOME") if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(CHILD), str(app_root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=app_root,
            env={**inherited, **(settings or {})},
        )
        self.functions: dict[str, Any] = {}
        self.loaded: dict[str, str | None] = {}

    def index(self) -> str:
        """Index the app and load every function. The error, empty when there is none."""
        answer = self._call(do="index")
        if not answer["ok"]:
            return str(answer["error"] or "no reason given")
        self.loaded = answer["loaded"]
        self.functions = self._call(do="metadata")["functions"]
        for function in self.functions.values():
            loaded = self._call(do="load", function_id=function["id"])
            if not loaded["ok"]:
                return str(loaded["error"])
        return ""

    def run_timer(self, name: str, *, past_due: bool = False) -> Invocation:
        """Let a timer tick."""
        moment = "2026-11-20T10:00:00+00:00"
        value = {
            "Schedule": {"AdjustForDST": True},
            "ScheduleStatus": {"Last": moment, "Next": moment, "LastUpdated": moment},
            "IsPastDue": past_due,
        }
        return self._invoke(name, "timer", "json", json.dumps(value), {})

    def deliver(self, name: str, body: str | bytes, *, dequeue_count: int = 1) -> Invocation:
        """Deliver a queue message; a `str` as the host sends text, `bytes` as it sends what is not text."""
        kind, value = ("string", body) if isinstance(body, str) else ("bytes", body.hex())
        trigger = {
            "Id": '"6a1ab5a2-0f3c-4d35-9c2f-9f5d4f1f0a11"',
            "DequeueCount": str(dequeue_count),
            "PopReceipt": '"AgAAAAMAAAAAAAAA"',
            "ExpirationTime": '"2026-11-27T10:00:00+00:00"',
            "InsertionTime": '"2026-11-20T10:00:00+00:00"',
            "NextVisibleTime": '"2026-11-20T10:10:00+00:00"',
        }
        return self._invoke(name, "message", kind, value, trigger)

    def _invoke(
        self, name: str, parameter: str, kind: str, value: str, trigger: Mapping[str, str]
    ) -> Invocation:
        function_id = self.functions[name]["id"]
        answer = self._call(
            do="invoke", function_id=function_id, parameter=parameter, kind=kind, value=value, trigger=trigger
        )
        return Invocation(**answer)

    def _call(self, **command: Any) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        watchdog = threading.Timer(PATIENCE, self._process.kill)
        watchdog.start()
        try:
            stdin.write(json.dumps(command) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watchdog.cancel()
        if not line:
            self._process.wait()
            raise WorkerDied(f"exit code {self._process.returncode}\n{self.log()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        """End the process where it stands, as a host that scales in might."""
        self._process.kill()
        self._process.wait()

    def log(self) -> str:
        """What the worker and the app have logged and printed so far."""
        self._errors.seek(0)
        return self._errors.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


StartWorker = Callable[..., Worker]
