"""`casevault files` and `casevault fetch`: what a bundle contains, and its bytes.

- A download goes to a file of its own beside the target, mode 0600, named after its ETag; it gets the target's name
  only when it is complete and its SHA-256 is that ETag. A cut download resumes from there (Range with If-Range).
- A range or a single file inside a bundle has no digest to check: its length is checked against Content-Length.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import click
import requests

from intake_api.cli.cli_errors import CliError, ServiceProblem, Unreachable
from intake_api.cli.client import PAGE, TRIES, Client, Items, pause_before, segment
from intake_api.cli.connection import connected
from intake_api.cli.options import Command, ResumableCommand, with_json, with_limit_of
from intake_api.cli.output_file import STDOUT, Named, Output, Target, with_output
from intake_api.cli.print_tables import Column, moment, say, show_items, show_json, size
from intake_api.cli.progress import transfer
from intake_api.cli.transfer.tus import Progress

PIECE = 1 << 16
"""A cut loses what arrived of the piece it interrupts."""
_RANGE = re.compile(r"(\d{1,18})-(\d{0,18})|-(\d{1,18})", re.ASCII)
_DIGEST = re.compile(r'"([0-9a-f]{64})"', re.ASCII)
_LINES = "application/jsonl"
KINDS = ("file", "folder", "link", "device", "archive")


def content_path(bundle: str, inside: str | None) -> str:
    """Return the path of a bundle's bytes, or of one file inside it."""
    if inside is None:
        return f"/bundles/{segment(bundle)}/content"
    return f"/bundles/{segment(bundle)}/files/{segment(inside)}"


def fetch_whole(client: Client, bundle: str, output: Output) -> str:
    """Fetch the whole bundle into a file, resuming an earlier try; return its SHA-256."""
    path = content_path(bundle, None)
    try:
        head = client.call("HEAD", path)
    except ServiceProblem:
        client.call("GET", path, stream=True).close()  # its body says why not; HEAD has none
        raise
    etag, length = head.headers.get("ETag", ""), int(head.headers.get("Content-Length", "0"))
    promised = _DIGEST.fullmatch(etag)
    if promised is None:
        raise CliError(f"the service gives no SHA-256 for {bundle}: the download could not be checked")
    sha256 = promised[1]
    part = output.real.with_name(f".{output.real.name}.{sha256[:16]}.part")
    with _private(part) as file, transfer("fetching", length) as done:
        for attempt in range(1, TRIES + 1):
            file.seek(0, os.SEEK_END)
            if file.tell() == length:
                break
            try:
                _fetch_rest(client, path, etag, file, output, done)
            except Unreachable as error:
                if attempt == TRIES:
                    raise why_cut(client, bundle, str(error)) from None
                client.sleep(pause_before(attempt))
        _hold_to(file, length, sha256, part)
        os.fsync(file.fileno())
    output.settle(part)
    return sha256


def _fetch_rest(client: Client, path: str, etag: str, file: BinaryIO, output: Output, done: Progress) -> None:
    start = file.tell()
    headers = {"Range": f"bytes={start}-", "If-Range": etag} if start else {}
    answer = client.call("GET", path, headers=headers, stream=True)
    if answer.status_code != HTTPStatus.PARTIAL_CONTENT:
        start = file.seek(0)
        file.truncate()
    copy_body(answer, Named(file, output.named), done, start)


def copy_body(answer: requests.Response, target: Target, done: Progress | None = None, start: int = 0) -> int:
    """Copy the body into `target` and return the number of bytes. Unreachable when it was cut."""
    copied = 0
    try:
        for piece in answer.iter_content(PIECE):
            target.write(piece)
            copied += len(piece)
            if done is not None:
                done(start + copied)
    except requests.exceptions.RequestException as error:
        raise Unreachable(f"the download was cut after {copied} bytes: {type(error).__name__}") from None
    promised = answer.headers.get("Content-Length")
    if promised is not None and int(promised) != copied:
        raise Unreachable(f"the download was cut: {copied} of {promised} bytes arrived")
    return copied


def _hold_to(file: BinaryIO, length: int, sha256: str, part: Path) -> None:
    file.flush()
    file.seek(0)
    hashing = hashlib.sha256()
    while piece := file.read(PIECE):
        hashing.update(piece)
    if file.tell() != length or hashing.hexdigest() != sha256:
        part.unlink()
        raise CliError(
            "the downloaded bytes do not have the SHA-256 that the service gave; nothing was kept, fetch it again"
        )


@contextmanager
def _private(path: Path) -> Iterator[BinaryIO]:
    """Open a file for appending, readable only by its owner."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise CliError(f"{path.parent} cannot be written to: {error.strerror}") from None
    with os.fdopen(descriptor, "r+b") as file:
        yield file


@contextmanager
def _explained(client: Client, bundle: str) -> Iterator[None]:
    try:
        yield
    except Unreachable as error:
        raise why_cut(client, bundle, str(error)) from None


def _piece(client: Client, path: str, span: str | None) -> requests.Response:
    headers = {"Range": f"bytes={span}"} if span else {}
    return client.call("GET", path, headers=headers, stream=True)


class _Hashing:
    """A writer that passes bytes on and keeps their digest."""

    def __init__(self, target: Target) -> None:
        self.digest = hashlib.sha256()
        self._target = target

    def write(self, piece: bytes) -> None:
        self.digest.update(piece)
        self._target.write(piece)


def fetch_into(client: Client, bundle: str, inside: str | None, span: str | None, output: Output) -> int:
    """Fetch into a file or a stream and return the number of bytes. A file that fails its check gets no name; a stream
    has had the bytes by then, so the exit code says it."""
    answer = _piece(client, content_path(bundle, inside), span)
    with output.writing() as target, _explained(client, bundle):
        passed = _Hashing(target)
        copied = copy_body(answer, passed)
        whole = inside is None and answer.status_code == HTTPStatus.OK
        if whole and answer.headers.get("ETag") != f'"{passed.digest.hexdigest()}"':
            raise CliError(
                "the downloaded bytes do not have the SHA-256 that the service gave: do not use them"
            )
    return copied


def list_files(client: Client, bundle: str, limit: int | None, **asked: str | None) -> Items | Cut:
    """List the files inside a bundle: all in one response, which is one read in the audit log, or the first few."""
    path = f"/bundles/{segment(bundle)}/files"
    wanted = {name: value for name, value in asked.items() if value}
    if limit is not None and limit <= PAGE:
        return client.items(path, limit, **wanted)
    answer = client.call("GET", path, params=wanted, headers={"Accept": _LINES}, stream=True)
    if answer.headers.get("Content-Type") != _LINES:  # a service from before: by pages
        answer.close()
        return client.items(path, limit, **wanted)
    return Cut(_files(client, bundle, answer), limit)


class Cut:
    """The first `limit` of what is found. After the last item `more` says whether that left any out."""

    def __init__(self, found: Iterator[dict[str, Any]], limit: int | None) -> None:
        self._found, self._limit = found, limit
        self.more = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from islice(self._found, self._limit)
        self.more = next(self._found, None) is not None


def _files(client: Client, bundle: str, answer: requests.Response) -> Iterator[dict[str, Any]]:
    """Yield each line but the last, which says how many there were."""
    number = 0
    try:
        for line in answer.iter_lines(PIECE):
            file = json.loads(line)
            if file.keys() - {"incomplete"} == {"files"} and file["files"] == number:
                if "incomplete" in file:
                    click.echo(f"the list is incomplete: {file['incomplete']}", err=True)
                return
            number += 1
            yield file
    except (requests.exceptions.RequestException, ValueError):
        pass
    raise why_cut(client, bundle, f"the list was cut after {number} files")


def why_cut(client: Client, bundle: str, told: str) -> CliError:
    """Explain a read that ended early by the bundle's state, where that is the cause."""
    try:
        state = client.get(f"/bundles/{segment(bundle)}").get("state")
    except CliError:
        state = None
    if state == "damaged":
        return CliError(
            f"{told}: the stored bytes of {bundle} are not what was sealed; it is recorded as damaged; have it sent "
            "again"
        )
    if state in ("erasing", "erased"):
        return CliError(f"{told}: {bundle} is erased")
    return Unreachable(f"{told}: is your grant still live? Try again")


def _span(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    asked = _RANGE.fullmatch(value) if value is not None else None
    if value is not None and (asked is None or (asked[2] and int(asked[2]) < int(asked[1]))):
        raise click.BadParameter(
            f"must be FIRST-LAST (in bytes, from 0), FIRST- or -COUNT, like 0-65535, not {value!r}"
        )
    return value


_FILES = (
    "casevault files bun_...",
    "casevault files bun_... --inside Storage.zip --name '*.log'",
    "casevault files bun_... --json --limit 0",
)


@click.command(cls=Command, examples=_FILES)
@click.argument("bundle")
@click.option("--inside", metavar="PATH", help="The files of this archive in the bundle.")
@click.option("--name", metavar="GLOB", help="Only files whose path or name fits, like '*.log'.")
@click.option("--kind", type=click.Choice(KINDS), help="Only files of this kind.")
@with_limit_of("in the bundle's order")
@with_json
@connected
def files(
    client: Client,
    bundle: str,
    inside: str | None,
    name: str | None,
    kind: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List the files inside a bundle, without fetching it. Needs a live grant."""
    found = list_files(client, bundle, limit or None, inside=inside, name=name, kind=kind)
    columns: list[Column] = [
        ("Size", size("size")),
        ("Modified", lambda item: moment(item.get("modified"))),
        ("Path", "path"),
        ("", lambda item: "" if item.get("readable", True) else f"not readable: {item.get('why_not') or ''}"),
    ]
    show_items(found, columns, as_json, "the bundle holds no files")


_EXAMPLES = (
    "casevault fetch bun_... -o node7.zip",
    "casevault fetch bun_... Storage/health.log -o -",
    "casevault fetch bun_... --range 0-65535 -o first.bin",
)


@click.command(cls=ResumableCommand, examples=_EXAMPLES)
@click.argument("bundle")
@click.argument("inside", metavar="[PATH]", required=False)
@with_output("File to write; - is stdout.  [default: the bundle's or file's name]")
@click.option(
    "--range", "span", metavar="A-B", callback=_span, help="Only these bytes, counted from 0, B included."
)
@with_json
@connected
def fetch(
    client: Client,
    bundle: str,
    inside: str | None,
    output: Path | None,
    span: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Fetch a BUNDLE, or one file inside it (PATH). Needs a live grant; every read is logged.

    A whole bundle is checked against its SHA-256 before it gets its name, and a cut download resumes where it stopped
    when the same command is run again. With --json and a file, a summary of what was written is printed as JSON.
    """
    if inside is not None and span is not None:
        raise click.UsageError("--range applies to the whole bundle; leave it out to fetch a file inside it")
    target = Output.at(output or Path(_plain_name(client, bundle, inside)), force=force)
    told: dict[str, object] = {"file": str(target.named), "bundle": bundle, "inside": inside, "range": span}
    if inside is None and span is None and not target.streams:
        told["sha256"] = fetch_whole(client, bundle, target)
        told["bytes"] = target.real.stat().st_size
        say(f"{target.named}: complete, SHA-256 {told['sha256']}")
    else:
        told["bytes"] = fetch_into(client, bundle, inside, span, target)
        if not target.streams:
            say(f"{target.named}: {told['bytes']} bytes")
    if as_json and target.named != STDOUT:  # there the bytes are the output
        show_json(told)


def _plain_name(client: Client, bundle: str, inside: str | None) -> str:
    """Make a name for the file here; a stranger's path or hidden name does not choose where it goes."""
    name = inside or str(client.get(f"/bundles/{segment(bundle)}").get("file_name") or "")
    name = re.sub(r"[^\w.\- ]", "_", re.split(r"[/\\]", name)[-1]).lstrip(".-")
    return name or f"{bundle}.bin"
