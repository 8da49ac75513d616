"""Fetching: a bundle has its name only when it is what the service names."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intake_api.cli.cli_errors import CliError
from intake_api.cli.commands.fetch import (
    PIECE,
    _plain_name,
    content_path,
    fetch_into,
    fetch_whole,
    list_files,
)
from intake_api.cli.output_file import Output
from tests.intake_api.cli.serving import Answer, Asked

CONTENT = random.Random(5).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Store:
    """Serves the content with ranges; cuts each GET in turn after so many bytes."""

    def __init__(self, cuts: list[int], content: bytes = CONTENT) -> None:
        self.cuts, self.content = cuts, content
        self.served = 0

    def __call__(self, asked: Asked) -> Answer:
        headers = {"ETag": f'"{SHA256}"', "Content-Length": str(len(CONTENT))}
        if asked.method == "HEAD":
            return Answer(200, b"", headers)
        first = int(asked.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
        wanted = self.content[first:]
        sent = wanted[: self.cuts.pop(0)] if self.cuts else wanted
        self.served += len(sent)
        cut = {} if len(sent) == len(wanted) else {"Connection": "close"}
        return Answer(206 if first else 200, sent, {**headers, "Content-Length": str(len(wanted)), **cut})


@given(cuts=st.lists(st.integers(0, len(CONTENT) - 1), max_size=4), kept=st.integers(0, len(CONTENT)))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_wherever_it_is_cut_it_goes_on_and_less_than_a_piece_comes_twice(
    connect: Any, tmp_path_factory: pytest.TempPathFactory, cuts: list[int], kept: int
) -> None:
    store, breaks = Store(cuts), len(cuts)
    client, _ = connect(store)
    target = tmp_path_factory.mktemp("fetched") / "b.zip"
    target.with_name(f".b.zip.{SHA256[:16]}.part").write_bytes(CONTENT[:kept])
    assert fetch_whole(client, "bun_x", Output.at(target)) == SHA256
    assert target.read_bytes() == CONTENT
    assert store.served <= len(CONTENT) - kept + breaks * (PIECE - 1)
    assert [path.name for path in target.parent.iterdir()] == ["b.zip"]


def test_other_bytes_than_the_service_names_are_not_kept(connect: Any, tmp_path: Path) -> None:
    client, _ = connect(Store([], CONTENT[:-1] + b"?"))
    with pytest.raises(CliError, match="do not have the SHA-256"):
        fetch_whole(client, "bun_x", Output.at(tmp_path / "b.zip"))
    assert list(tmp_path.iterdir()) == []


def test_in_a_pipe_other_bytes_end_with_an_error(connect: Any, capfdbinary: Any) -> None:
    client, _ = connect(Store([]))
    fetch_into(client, "bun_x", None, None, Output.at(None))
    client, _ = connect(Store([], CONTENT[:-1] + b"?"))
    with pytest.raises(CliError, match="do not have the SHA-256"):
        fetch_into(client, "bun_x", None, None, Output.at(None))


def test_a_piece_that_was_cut_leaves_no_file(connect: Any, tmp_path: Path) -> None:
    client, _ = connect(Store([1000]))
    with pytest.raises(CliError, match="was cut"):
        fetch_into(client, "bun_x", "a.log", None, Output.at(tmp_path / "a.log"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("inside", "path"),
    [
        (None, "/bundles/bun_x/content"),
        ("a/b.log", "/bundles/bun_x/files/a%2Fb.log"),
        ("a?b#c/d e%.log", "/bundles/bun_x/files/a%3Fb%23c%2Fd%20e%25.log"),
        ("./a//b/./c", "/bundles/bun_x/files/.%2Fa%2F%2Fb%2F.%2Fc"),
        ("../../b", "/bundles/bun_x/files/..%2F..%2Fb"),
    ],
)
def test_a_path_inside_arrives_as_part_of_the_address_whatever_it_holds(
    connect: Any, inside: str | None, path: str
) -> None:
    client, served = connect(lambda _: Answer())
    client.get(content_path("bun_x", inside))
    assert [asked.path for asked in served.asked] == [path]


@pytest.mark.parametrize(("bundle", "inside"), [("..", "a.log"), ("bun_x", "."), ("bun_x", "..")])
def test_what_would_be_followed_to_another_address_is_refused(bundle: str, inside: str) -> None:
    with pytest.raises(CliError, match="names nothing"):
        content_path(bundle, inside)


@given(st.text())
def test_a_strangers_name_does_not_choose_where_a_file_goes(name: str) -> None:
    class NoopObserver:
        def get(self, _path: str) -> dict[str, str]:
            return {"file_name": name}

    chosen = _plain_name(NoopObserver(), "bun_x", None)  # type: ignore[arg-type]
    assert chosen and not set(chosen) & set("/\\\0") and not chosen.startswith((".", "-"))


def files_of(number: int, said: int, state: str = "complete", sent: int | None = None) -> Any:
    """A service that lists `number` files and says `said`; `sent`: how many lines come before the line is cut."""
    lines = [json.dumps({"path": f"{n}.log"}) for n in range(number)] + [json.dumps({"files": said})]

    def script(asked: Asked) -> Answer:
        if asked.path == "/bundles/bun_x":
            return Answer(body=json.dumps({"state": state}).encode())
        if asked.headers.get("Accept") == "application/jsonl":
            body = "".join(f"{line}\n" for line in lines[:sent]).encode()
            return Answer(body=body, headers={"Content-Type": "application/jsonl"})
        page = {"items": [{"path": f"{n}.log"} for n in range(number)], "next": None}
        return Answer(body=json.dumps(page).encode())

    return script


def test_all_files_come_in_one_answer(connect: Any) -> None:
    client, server = connect(files_of(4018, 4018))
    assert [file["path"] for file in list_files(client, "bun_x", None)] == [f"{n}.log" for n in range(4018)]
    assert len(server.asked) == 1


def test_the_first_few_files_are_a_page_which_is_complete(connect: Any) -> None:
    client, server = connect(files_of(3, 3))
    assert len(list(list_files(client, "bun_x", 3))) == 3
    assert "Accept" not in server.asked[0].headers or "jsonl" not in server.asked[0].headers["Accept"]


def test_a_service_from_before_is_asked_page_by_page(connect: Any) -> None:
    def before(asked: Asked) -> Answer:
        page = {"items": [{"path": "a.log"}], "next": None}
        return Answer(body=json.dumps(page).encode(), headers={"Content-Type": "application/json"})

    client, _ = connect(before)
    assert list(list_files(client, "bun_x", None)) == [{"path": "a.log"}]


@pytest.mark.parametrize(
    ("state", "said"),
    [("complete", "grant still live"), ("damaged", "recorded as damaged"), ("erasing", "is erased")],
)
def test_a_list_without_its_last_line_was_cut_and_the_user_is_told_why(
    connect: Any, state: str, said: str
) -> None:
    client, _ = connect(files_of(10, 10, state, sent=4))
    with pytest.raises(CliError, match=said):
        list(list_files(client, "bun_x", None))


def test_a_download_that_damage_cut_says_so(connect: Any, tmp_path: Path) -> None:
    class Damaged(Store):
        def __call__(self, asked: Asked) -> Answer:
            if asked.path == "/bundles/bun_x":
                return Answer(body=b'{"state": "damaged"}')
            return super().__call__(asked)

    client, _ = connect(Damaged([1000]))
    with pytest.raises(CliError, match="not what was sealed"):
        fetch_into(client, "bun_x", None, None, Output.at(tmp_path / "b.zip"))
    client, _ = connect(Damaged([1000]))
    with pytest.raises(CliError, match="not what was sealed"):
        fetch_into(client, "bun_x", None, None, Output.at(None))
