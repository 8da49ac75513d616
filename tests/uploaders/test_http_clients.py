"""What ordinary HTTP clients do with uploads: with bodies that have no length, and with refusals of large bodies."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests

from tests.intake_api.serve.serving import Service
from tests.uploaders.table import Table
from tests.uploaders.test_clients import MIB, ROOT, Sending, V

HERE = Path(__file__).parent
REQUESTS, AIOHTTP, CURL, FETCH = "requests", "aiohttp", "curl", "Node's fetch"
ALL = (REQUESTS, AIOHTTP, CURL, FETCH)
LARGE = 16 * MIB


@dataclass(frozen=True)
class Asked:
    """A request; `body` is read from a file, whole or in chunks. `cut`: the sender dies behind so many bytes."""

    url: str
    authority: str
    method: str
    headers: Mapping[str, str]
    body: Path
    chunked: bool
    expect: bool = False
    cut: int | None = None

    def pieces(self) -> Iterator[bytes]:
        with self.body.open("rb") as file:
            while piece := file.read(MIB // 4):
                if self.cut is not None and file.tell() > self.cut:
                    raise OSError("the sender dies")
                yield piece


Said = tuple[int, str | None, str]
"""Status, Upload-Offset, body."""


def by_requests(asked: Asked) -> Said:
    body = asked.pieces() if asked.chunked else asked.body.read_bytes()
    answer = requests.request(
        asked.method, asked.url, headers=asked.headers, data=body, verify=asked.authority, timeout=60
    )
    return answer.status_code, answer.headers.get("Upload-Offset"), answer.text


def by_aiohttp(asked: Asked) -> Said:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in asked.pieces():
            yield piece

    async def ask() -> Said:
        context = ssl.create_default_context(cafile=asked.authority)
        body = pieces() if asked.chunked else asked.body.read_bytes()
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                asked.method,
                asked.url,
                headers=asked.headers,
                data=body,
                ssl=context,
                expect100=asked.expect,
            ) as answer,
        ):
            return answer.status, answer.headers.get("Upload-Offset"), await answer.text()

    return asyncio.run(ask())


def by_curl(asked: Asked) -> Said:
    headers = [f"{name}: {value}" for name, value in asked.headers.items()]
    headers += ["Expect: 100-continue" if asked.expect else "Expect:"]
    source = "-" if asked.chunked else str(asked.body)  # of what it cannot know the length of it sends chunks
    command = ["curl", "--silent", "--cacert", asked.authority, "-X", asked.method, "-T", source]
    command += [word for header in headers for word in ("-H", header)]
    with asked.body.open("rb") as stdin:
        done = subprocess.run(
            [*command, "-w", r"\n%{http_code} %header{upload-offset}", asked.url],
            stdin=stdin,
            capture_output=True,
            timeout=60,
            check=True,
        )
    body, _, told = done.stdout.decode().rpartition("\n")
    status, _, offset = told.partition(" ")
    return int(status), offset or None, body


def by_fetch(asked: Asked) -> Said:
    task = {"url": asked.url, "method": asked.method, "headers": dict(asked.headers)}
    task |= {"file": str(asked.body), "chunked": asked.chunked}
    done = subprocess.run(
        ["node", HERE / "fetch.mjs", json.dumps(task)],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "NODE_EXTRA_CA_CERTS": asked.authority},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    said = json.loads(done.stdout)
    return said["status"], said["offset"], said["body"]


CLIENTS: Mapping[str, Callable[[Asked], Said]] = {
    REQUESTS: by_requests, AIOHTTP: by_aiohttp, CURL: by_curl, FETCH: by_fetch,
}  # fmt: skip


class Case(Sending):
    """One client, and an upload of its own."""

    def create(self, **more: str) -> str:
        metadata = self.service.call("HEAD", self.service.upload(1), self.head()).headers["upload-metadata"]
        length = {} if "Upload-Defer-Length" in more else {"Upload-Length": str(self.size)}
        asked = {**self.head(), **length, "Upload-Metadata": metadata, **more}
        created = self.service.call("POST", "/uploads", asked)
        assert created.status == 201, created
        return created.headers["location"].rpartition("/uploads/")[2]

    def head(self) -> dict[str, Any]:
        return {**self.service.bearer("stamp"), **V}

    def ask(self, method: str, path: str, offset: int | None = None, **how: Any) -> Said:
        headers = dict(self.head())
        if offset is not None:
            headers |= {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        headers |= how.pop("headers", {})
        (self.folder / "rest").write_bytes(self.content[how.pop("start", 0) :])
        return CLIENTS[self.client](
            Asked(
                url=f"https://localhost:{self.service.port}{path}",
                authority=str(self.service.state / "tls" / "ca.pem"),
                method=method,
                headers=headers,
                body=self.folder / "rest",
                **{"chunked": True, **how},
            )
        )


def chunked(case: Case, **how: Any) -> None:
    upload = case.create()
    assert case.ask("PATCH", f"/uploads/{upload}", 0, **how)[:2] == (204, str(case.size))
    case.check(upload)


def expecting(case: Case) -> None:
    chunked(case, expect=True)
    status, _, body = case.ask("PATCH", f"/uploads/{case.create()}", 7, expect=True)
    assert (status, json.loads(body)["offset"]) == (409, 0)


def cut(case: Case) -> None:
    upload = case.create()
    with suppress(OSError, aiohttp.ClientError):
        case.ask("PATCH", f"/uploads/{upload}", 0, cut=2 * MIB)
    kept = case.offset(upload)
    assert 0 < kept < case.size
    assert case.ask("PATCH", f"/uploads/{upload}", kept, start=kept)[0] == 204
    case.check(upload)


def pipe(case: Case) -> None:
    upload = case.create(**{"Upload-Defer-Length": "1"})
    assert case.ask("PATCH", f"/uploads/{upload}", 0)[:2] == (204, str(case.size))
    assert case.bundle(upload)["state"] == "receiving"
    closing = {"Upload-Length": str(case.size)}
    told = case.ask("PATCH", f"/uploads/{upload}", case.size, start=case.size, headers=closing, chunked=False)
    assert told[0] == 204
    case.check(upload)


def with_creation(case: Case) -> None:
    metadata = case.service.call("HEAD", case.service.upload(1), case.head()).headers["upload-metadata"]
    more = {"Upload-Length": str(case.size), "Upload-Metadata": metadata}
    more |= {"Content-Type": "application/offset+octet-stream"}
    status, offset, _ = case.ask("POST", "/uploads", headers=more)
    assert (status, offset) == (201, str(case.size))


def too_much(case: Case) -> None:
    upload = case.create(**{"Upload-Length": str(case.size - 1)})
    status, _, body = case.ask("PATCH", f"/uploads/{upload}", 0)
    assert (status, json.loads(body)["room"]) == (413, case.size - 1)
    assert case.offset(upload) == 0


def without_length(case: Case) -> None:
    status, _, body = case.ask("PUT", "/bundles/logs.zip?type=proactive")
    assert status == 411 and "Upload-Defer-Length" in json.loads(body)["detail"]


def wrong_offset(case: Case) -> None:
    upload = case.create()
    for how in (True, False):
        status, _, body = case.ask("PATCH", f"/uploads/{upload}", 7, chunked=how)
        assert (status, json.loads(body)["offset"]) == (409, 0)


def not_let_in(case: Case) -> None:
    for how in (True, False):
        refused = {"Authorization": "Bearer none"}
        status, _, body = case.ask("PATCH", "/uploads/bun_x", 0, headers=refused, chunked=how)
        assert (status, json.loads(body)["title"]) == (401, "Not authenticated")


ROWS: Mapping[str, tuple[Callable[[Case], None], tuple[str, ...]]] = {
    "chunked, to an upload of known length": (chunked, ALL),
    "chunked, with the creation": (with_creation, ALL),
    "chunked, waiting for 100 Continue; its refusal": (expecting, (AIOHTTP, CURL)),
    "chunked, cut, gone on with": (cut, (REQUESTS, AIOHTTP)),
    "a pipe of unknown length, told at its end": (pipe, ALL),
    "chunked, more than fits: 413 is read": (too_much, ALL),
    "chunked, where nothing proves the end: 411 is read": (without_length, ALL),
    "16 MiB at a wrong offset: 409 is read": (wrong_offset, ALL),
    "16 MiB with a bad token: 401 is read": (not_let_in, ALL),
}
_LARGE = frozenset({too_much, without_length, wrong_offset, not_let_in})


def versions() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = [
        *project["dependencies"],
        *(pin for more in project["optional-dependencies"].values() for pin in more),
    ]
    pinned = dict(pin.split("==") for pin in pins if pin.startswith(("requests==", "aiohttp==")))
    return {**pinned, CURL: "", FETCH: ""}


TABLE = Table("By ordinary HTTP clients (tus by hand)", versions(), ROWS)


@pytest.mark.parametrize(("behaviour", "client"), TABLE.cells())
def test_a_client_as_it_is_found(service: Service, tmp_path: Path, behaviour: str, client: str) -> None:
    size = LARGE if ROWS[behaviour][0] in _LARGE else 3 * MIB + 12_345
    TABLE.ask(behaviour, Case(service, tmp_path, client, size))
