"""The real service in child processes, and callers that do what no well-behaved client does."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlencode

START = """
import os, sys
from intake_api.serve import worker_health
from intake_api.serve.parent import serve
from intake_api.config import from_environment
if "CASEVAULT_TEST_HEALTH" in os.environ:
    worker_health.PAUSE_SECONDS, worker_health.ANSWER_SECONDS = 0.5, float(os.environ["CASEVAULT_TEST_HEALTH"])
sys.exit(serve(from_environment(os.environ)))
"""
STALL_SECONDS = 2
ROLES = ("CaseVault.Administrator", "CaseVault.Operator", "CaseVault.Stamp")
OTHERS = {"crm": ("CaseVault.CaseSystem",), "alice": ("CaseVault.SupportEngineer",)}
"""Whoever is named here has these roles instead."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def until(true: Callable[[], bool], seconds: float = 20) -> bool:
    """Whether it became true in time."""
    give_up = time.monotonic() + seconds
    while not true():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.05)
    return True


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        return dict(json.loads(self.body))


class Line:
    """One TLS connection, written to by hand."""

    def __init__(self, service: Service, receive_buffer: int = 0) -> None:
        raw = socket.socket()
        raw.settimeout(60)
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.connect(("127.0.0.1", service.port))
        self._tls = service.context.wrap_socket(raw, server_hostname="localhost")

    def send(self, content: bytes) -> None:
        self._tls.sendall(content)

    def begin(self, method: str, path: str, headers: dict[str, object]) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in headers.items())]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def answer(self, method: str = "GET") -> Answer:
        response = HTTPResponse(self._tls, method=method)
        response.begin()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def receive(self, length: int) -> None:
        """Take `length` bytes of an answer, and no more."""
        while length:
            length -= len(self._tls.recv(min(length, 1 << 16)))

    def receive_slowly(self, seconds: float) -> int:
        """Take the rest of an answer over at least so long, until the other side closes; its length."""
        total, begun = 0, time.monotonic()
        with suppress(OSError):  # a reset is an end too
            while piece := self._tls.recv(1 << 16):
                total += len(piece)
                if time.monotonic() - begun < seconds:
                    time.sleep(0.02)
        return total

    def patience(self, seconds: float) -> None:
        """How long a response is waited for."""
        self._tls.settimeout(seconds)

    def certificate(self) -> dict[str, object]:
        """The server's."""
        return dict(self._tls.getpeercert() or {})

    def half_close(self) -> None:
        """Send nothing more, and wait for what comes: the peer sees a FIN."""
        with socket.socket(fileno=os.dup(self._tls.fileno())) as same:
            same.shutdown(socket.SHUT_WR)

    def is_all_read(self) -> bool:
        """Whether the server has read all that was sent: nothing of it waits in the kernel, on either side."""
        ports = [f":{name[1]:04X}" for name in (self._tls.getsockname(), self._tls.getpeername())]
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ends = {
            row[1][-5:]: row[4].split(":")
            for row in rows
            if sorted((row[1][-5:], row[2][-5:])) == sorted(ports)
        }
        sending, receiving = (ends[port] for port in ports)
        return int(sending[0], 16) == int(receiving[1], 16) == 0

    def finish(self) -> None:
        """Close in good order, in mid-body: the peer sees a FIN."""
        self._tls.close()

    def reset(self) -> None:
        """Close so that the peer sees an RST."""
        self._tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._tls.close()

    def is_closed(self) -> bool:
        """Whether the other side has ended the connection."""
        self._tls.settimeout(0.2)
        try:
            return self._tls.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self._tls.close()


@dataclass
class Service:
    state: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes]
    page_port: int = 0
    """Where a page of another origin may come from, to uploads."""
    _tokens: dict[str, str] = field(default_factory=dict)

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.state / "tls" / "ca.pem")

    def call(
        self, method: str, path: str, headers: dict[str, object] | None = None, body: bytes = b""
    ) -> Answer:
        with self.line() as line:
            length = {"Content-Length": len(body)} if body or method in ("POST", "PUT", "PATCH") else {}
            line.begin(method, path, {"Connection": "close", **length, **(headers or {})})
            line.send(body)
            return line.answer(method)

    def line(self, receive_buffer: int = 0) -> Line:
        return Line(self, receive_buffer)

    def begun(self, method: str, path: str, headers: dict[str, object]) -> Line:
        """A request that was let in, and whose body is waited for."""
        line = self.line()
        line.begin(method, path, {**headers, "Expect": "100-continue"})
        line.receive(len("HTTP/1.1 100 Continue\r\n\r\n"))
        return line

    def is_ready(self) -> bool:
        try:
            return self.call("GET", "/readyz").status == 200
        except OSError:
            return False

    def bearer(self, subject: str) -> dict[str, object]:
        """A token for `subject`, in most of the roles that these tests need."""
        if subject not in self._tokens:
            form = urlencode(
                [
                    ("subject", subject),
                    ("directory", "dir"),
                    *(("role", role) for role in OTHERS.get(subject, ROLES)),
                ]
            )
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self.call("POST", "/development/token", kind, form.encode())
            self._tokens[subject] = str(answer.json()["access_token"])
        return {"Authorization": f"Bearer {self._tokens[subject]}"}

    def post(self, path: str, content: dict[str, object], subject: str = "boss") -> dict[str, object]:
        kind = {"Content-Type": "application/json", **self.bearer(subject)}
        answer = self.call("POST", path, kind, json.dumps(content).encode())
        assert answer.status in (201, 204), answer
        return answer.json() if answer.body else {}

    def register(self) -> None:
        self.post("/tenants", {"name": "Contoso", "directory": "dir"})
        self.post("/stamps", {"name": "stamp", "subject": "stamp", "proactive": True})

    def upload(self, size: int) -> str:
        """A new upload's address."""
        now = datetime.now(UTC)
        metadata = {
            "filename": "logs.zip",
            "type": "proactive",
            "logs_start": (now - timedelta(hours=3)).isoformat(),
            "logs_end": (now - timedelta(hours=1)).isoformat(),
            "time_collected": now.isoformat(),
            "trigger": "Urp.UpdateFailure",
        }
        packed = ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in metadata.items())
        head = {"Upload-Length": size, "Upload-Metadata": packed, "Tus-Resumable": "1.0.0"}
        answer = self.call("POST", "/uploads", {**self.bearer("stamp"), **head})
        assert answer.status == 201, answer
        return answer.headers["location"]

    def readable(self, size: int) -> tuple[str, dict[str, object]]:
        """The address of a complete bundle of `size`, and the headers of an engineer who has a grant for it."""
        number, now = "260101000000001", datetime.now(UTC)
        self.post("/cases", {"number": number, "directory": "dir"}, "crm")
        self.post(f"/cases/{number}/assignments", {"subject": "alice"}, "crm")
        query = {"type": "on-demand", "time_collected": now.isoformat(), "case": number}
        query |= {
            f"logs_{end}": (now - timedelta(hours=h)).isoformat() for end, h in {"start": 3, "end": 1}.items()
        }
        sent = self.call("PUT", f"/bundles/logs.zip?{urlencode(query)}", self.bearer("stamp"), bytes(size))
        assert sent.status == 201, sent
        address = f"/bundles/{sent.json()['id']}"
        assert until(lambda: self.call("GET", address, self.bearer("boss")).json()["state"] == "complete")
        self.post(f"/cases/{number}/grants", {"reason": "reading while it is renewed"}, "alice")
        return f"{address}/content", self.bearer("alice")

    def patch_head(self, offset: int, length: int) -> dict[str, object]:
        return {
            **self.bearer("stamp"),
            "Tus-Resumable": "1.0.0",
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": offset,
            "Content-Length": length,
        }

    def offset(self, upload: str) -> int:
        head = {**self.bearer("stamp"), "Tus-Resumable": "1.0.0"}
        answer = self.call("HEAD", upload, head)
        assert answer.status == 200, answer
        return int(answer.headers["upload-offset"])

    def settled_offset(self, upload: str, least: int) -> int:
        until(lambda: self.offset(upload) >= least, 10)
        return self.offset(upload)

    def worker(self) -> int:
        """The process that answers."""
        return self.workers()[0]

    def workers(self) -> list[int]:
        """The processes that answer: two while they are renewed."""
        return [pid for pid in self.children() if "tokio-rt-worker" in thread_names(pid)]

    def clock(self) -> int:
        """The process that sweeps."""
        return next(pid for pid in self.children() if pid != self.worker())

    def children(self) -> list[int]:
        found = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for each in found for pid in each.read_text().split()]

    def status(self, name: str) -> int:
        """A number from the worker's /proc status: Threads, VmRSS (KiB)."""
        text = Path(f"/proc/{self.worker()}/status").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name}:")))

    def connections(self) -> int:
        """Connections that the worker holds open."""
        sockets = set()
        for entry in Path(f"/proc/{self.worker()}/fd").iterdir():
            with suppress(OSError):
                sockets.add(str(entry.readlink()))
        local, established = f":{self.port:04X}", "01"
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        mine = [row for row in rows if row[1].endswith(local) and row[3] == established]
        return sum(f"socket:[{row[9]}]" in sockets for row in mine)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)

    def lines(self) -> list[dict[str, object]]:
        """What is logged so far; a line that is being written is none yet."""
        return [json.loads(line) for line in self.log.read_text().split("\n")[:-1]]


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for each in found:
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").glob("*/children"):
                found += [int(child) for child in task.read_text().split()]
    return found


def thread_names(pid: int) -> list[str]:
    names = []
    with suppress(FileNotFoundError, ProcessLookupError):  # it, or one of them, may end just now
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                names.append((task / "comm").read_text().strip())
    return names
