"""Callers: curl for bodies, since it is never the slower side, and a keep-alive connection for small requests."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlencode

from contenders import Contender

TUS = {"Tus-Resumable": "1.0.0"}
OFFSET_BYTES = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
CASE = "260101000000001"


def curl(
    contender: Contender, *arguments: str, headers: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Started, not awaited; it prints the status and the seconds it took."""
    marks = [mark for name, value in (headers or {}).items() for mark in ("-H", f"{name}: {value}")]
    command = ["curl", "-sS", "--cacert", str(contender.authority), "-H", "Expect:", "-o", "/dev/null"]
    command += ["-w", "%{http_code} %{time_total}", *marks, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def seconds(running: subprocess.Popen[str]) -> float:
    """How long it took; an error unless it went well."""
    output, _ = running.communicate()
    status, took = output.split()
    if not status.startswith("2"):
        raise RuntimeError(f"answered {status}")
    return float(took)


class Line:
    """One connection that is kept alive."""

    def __init__(self, contender: Contender) -> None:
        context = ssl.create_default_context(cafile=contender.authority)
        self._connection = HTTPSConnection("localhost", contender.port, context=context, timeout=60)

    def call(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        self._connection.request(method, path, body, headers or {})
        answer = self._connection.getresponse()
        content = answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content

    def timed(self, path: str, headers: dict[str, str]) -> float:
        begun = time.perf_counter()
        status, _, _ = self.call("GET", path, headers)
        took = time.perf_counter() - begun
        if status not in (200, 206):
            raise RuntimeError(f"answered {status}")
        return took


@dataclass
class Vault:
    """A running casevault with one customer, stamp, case and assigned engineer."""

    contender: Contender
    line: Line = field(init=False)
    _tokens: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.line = Line(self.contender)
        self.post("/tenants", {"name": "Contoso", "directory": "dir"}, "Administrator")
        self.post("/stamps", {"name": "stamp", "subject": "Stamp", "proactive": True}, "Operator")
        self.post("/cases", {"number": CASE, "directory": "dir"}, "CaseSystem")
        self.post(f"/cases/{CASE}/assignments", {"subject": "SupportEngineer"}, "CaseSystem")

    def bearer(self, role: str) -> dict[str, str]:
        if role not in self._tokens:
            form = urlencode({"subject": role, "role": f"CaseVault.{role}", "directory": "dir"})
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            _, _, content = self.line.call("POST", "/development/token", kind, form.encode())
            self._tokens[role] = {"Authorization": f"Bearer {json.loads(content)['access_token']}"}
        return self._tokens[role]

    def post(self, path: str, content: dict[str, object], role: str) -> dict[str, object]:
        headers = {"Content-Type": "application/json", **self.bearer(role)}
        status, _, answer = self.line.call("POST", path, headers, json.dumps(content).encode())
        if status >= 300:
            raise RuntimeError(f"{path}: {status} {answer!r}")
        return dict(json.loads(answer)) if answer else {}

    def put(self, file: Path) -> subprocess.Popen[str]:
        """Send a file as one bundle of the case."""
        query = urlencode({**_collection(), "case": CASE})
        url = f"{self.contender.origin}/bundles/logs.zip?{query}"
        return curl(self.contender, "-T", str(file), url, headers=self.bearer("Stamp"))

    def begin_tus(self, size: int) -> tuple[str, dict[str, str]]:
        """A new upload's address, and the headers of its bytes."""
        pairs = {**_collection(), "case": CASE, "filename": "logs.zip"}
        packed = ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in pairs.items())
        head = {**TUS, **self.bearer("Stamp"), "Upload-Length": str(size), "Upload-Metadata": packed}
        _, headers, _ = self.line.call("POST", "/uploads", head)
        return self.contender.origin + headers["location"], {**TUS, **OFFSET_BYTES, **self.bearer("Stamp")}

    def bundles(self) -> list[dict[str, object]]:
        _, _, content = self.line.call("GET", f"/bundles?case={CASE}", self.bearer("CaseSystem"))
        return list(json.loads(content)["items"])


def begin_tus(contender: Contender, size: int) -> tuple[str, dict[str, str]]:
    """The same at the reference server."""
    _, headers, _ = Line(contender).call("POST", "/files", {**TUS, "Upload-Length": str(size)})
    location = headers["location"]
    return f"{contender.origin}/files/{location.rpartition('/')[2]}", {**TUS, **OFFSET_BYTES}


def patch(contender: Contender, file: Path, url: str, headers: dict[str, str]) -> subprocess.Popen[str]:
    return curl(contender, "-X", "PATCH", "-T", str(file), url, headers=headers)


def _collection() -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "type": "on-demand",
        "logs_start": (now - timedelta(hours=3)).isoformat(),
        "logs_end": (now - timedelta(hours=1)).isoformat(),
        "time_collected": now.isoformat(),
    }
