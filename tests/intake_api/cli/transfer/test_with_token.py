"""One file as several uploads at once: wherever lines break and programs end, one bundle is made of it."""

from __future__ import annotations

import base64
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intake_api.cli.cli_errors import ServiceProblem
from intake_api.cli.client import Client
from intake_api.cli.transfer.rate import Pace
from intake_api.cli.transfer.remembered import Begun, Remembered, Way
from intake_api.cli.transfer.with_token import Partials, slices
from tests.intake_api.cli.serving import Answer, Asked, problem

SIZE = 5 * (1 << 18) + 99
CONTENT = random.Random(8).randbytes(SIZE)
ANNOUNCED = {"filename": "a.bin", "stamp": "stp_1", "sha256": "0" * 64}


class Store:
    """A tus server with concatenation, which breaks by a script."""

    def __init__(self, breaks: list[tuple[int, str]]) -> None:
        self.kept: dict[str, bytes] = {}
        self.final, self.declared = b"", ""
        self.breaks, self.lock = breaks, threading.Lock()

    def __call__(self, asked: Asked) -> Answer:
        with self.lock:
            if asked.method == "POST":
                return self._created(asked)
            if asked.path not in self.kept:
                return problem(404, "not-found", "no such upload")
            if asked.method == "HEAD":
                return Answer(200, b"", {"Upload-Offset": str(len(self.kept[asked.path]))})
            length = int(asked.headers["Content-Length"])
            take, how = self.breaks.pop(0) if self.breaks else (length, "ok")
            if how == "no":
                asked.read(length)
                return problem(410, "erased", "it is gone")
            self.kept[asked.path] += asked.read(min(take, length))
            if how == "cut" or take < length:
                return Answer(cut=take)
            return Answer(204, b"", {"Upload-Offset": str(len(self.kept[asked.path]))})

    def _created(self, asked: Asked) -> Answer:
        concat = asked.headers["Upload-Concat"]
        metadata = dict(pair.split(" ") for pair in asked.headers["Upload-Metadata"].split(","))
        if concat == "partial":
            assert base64.b64decode(metadata["stamp"]) == b"stp_1"
            location = f"/uploads/bun_{len(self.kept)}"
            self.kept[location] = b""
            return Answer(201, b"", {"Location": location})
        listed = concat.removeprefix("final;").split(" ")
        if not all(one in self.kept for one in listed):
            return problem(404, "not-found", "no such upload")
        self.final = b"".join(self.kept[one] for one in listed)
        self.declared = base64.b64decode(metadata["sha256"]).decode()
        return Answer(201, b"", {"Location": "/uploads/bun_final"})


def parts(client: Client, folder: Path, begun: Begun | None = None) -> Partials:
    (folder / "a.bin").write_bytes(CONTENT)
    return Partials(client, SIZE, ANNOUNCED, Remembered(folder / "place.json"), begun)


def sent(found: Partials, folder: Path, count: int) -> list[int]:
    told: list[int] = []
    found.send(folder / "a.bin", told.append, Pace(), count)
    return told


@given(
    st.lists(st.tuples(st.integers(0, 1 << 18), st.sampled_from(["ok", "cut"])), max_size=12),
    st.integers(1, 4),
)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_breaks_the_file_arrives_whole(
    connect: Any, tmp_path: Path, breaks: list[tuple[int, str]], count: int
) -> None:
    client, _ = connect(store := Store(breaks))
    found = parts(client, tmp_path)
    told = sent(found, tmp_path, count)
    assert found.join() == "/uploads/bun_final"
    assert store.final == CONTENT and store.declared == ANNOUNCED["sha256"]
    assert max(told) == SIZE


def test_another_run_sends_only_what_is_missing(connect: Any, tmp_path: Path) -> None:
    store = Store([(1 << 18, "ok"), (1000, "cut"), (0, "no")])
    client, _ = connect(store)
    with pytest.raises(ServiceProblem):
        sent(parts(client, tmp_path), tmp_path, 1)
    there = sum(map(len, store.kept.values()))
    begun = Remembered(tmp_path / "place.json").begun()
    assert begun is not None and begun.way is Way.PARALLEL and begun.announced == ANNOUNCED
    again = parts(client, tmp_path, begun)
    assert again.look() == there > 0
    told = sent(again, tmp_path, 2)
    again.join()
    assert min(told) >= there and store.final == CONTENT


def test_when_the_last_answer_was_lost_it_is_asked_for_again(connect: Any, tmp_path: Path) -> None:
    client, server = connect(store := Store([]))
    found = parts(client, tmp_path)
    sent(found, tmp_path, 2)
    found.join()
    begun = Remembered(tmp_path / "place.json").begun()
    assert begun is not None and begun.whole
    again = parts(client, tmp_path, begun)
    assert again.whole and again.join() == "/uploads/bun_final"
    assert len([one for one in server.asked if one.method == "POST"]) == len(slices(SIZE)) + 2
    assert store.final == CONTENT


def test_a_part_that_expired_is_sent_anew(connect: Any, tmp_path: Path) -> None:
    client, _ = connect(store := Store([]))
    begun = Begun(Way.PARALLEL, tuple(f"/uploads/bun_gone{n}" for n in range(len(slices(SIZE)))), ANNOUNCED)
    found = parts(client, tmp_path, begun)
    assert found.look() == 0
    sent(found, tmp_path, 3)
    found.join()
    assert store.final == CONTENT
