"""What each witness can show beyond the contract, and what it says of a place that cannot be relied on."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from audit.mirror.store import (
    MAX_SIZE,
    MirrorError,
    MirrorUnavailableError,
    checkpoint_path,
    kept_sizes,
    size_in,
)
from audit.mirror.store_local import LocalMirrorStore
from audit.mirror.store_s3 import S3MirrorStore
from audit.tlog.tile_store import TileMissingError
from tests.fakes.buckets import ORIGIN, Buckets, Now

PATH = "tile/0/000"
KEY = f"{ORIGIN}/{PATH}"


@given(st.lists(st.integers(0, MAX_SIZE)))
def test_checkpoints_sort_by_size_and_name_it(sizes: list[int]) -> None:
    paths = sorted(checkpoint_path(size) for size in sizes)
    assert [size_in(path) for path in paths] == sorted(sizes)


@pytest.mark.parametrize("size", [-1, MAX_SIZE + 1])
def test_there_is_no_checkpoint_of_an_impossible_size(size: int) -> None:
    with pytest.raises(ValueError, match="0 to"):
        checkpoint_path(size)


@given(
    st.sets(st.integers(0, 3000) | st.integers(0, MAX_SIZE)), st.integers(0, 3000) | st.integers(0, MAX_SIZE)
)
def test_the_sizes_from_a_start_are_found_through_their_folders_alone(sizes: set[int], start: int) -> None:
    paths = [checkpoint_path(size) for size in sizes] + ["checkpoint/junk", "checkpoint/000/junk/a"]

    def children(folder: str) -> set[str]:
        below = [path.removeprefix(folder) for path in paths if path.startswith(folder)]
        return {name.split("/", 1)[0] + "/" * ("/" in name) for name in below}

    wanted = sorted(size for size in sizes if size >= start)
    assert list(kept_sizes(children, start)) == wanted
    assert list(kept_sizes(children, start, largest_first=True)) == wanted[::-1]


def test_the_folder_shows_what_was_made_writable_or_replaced(tmp_path: Path) -> None:
    witness = LocalMirrorStore(tmp_path / "w")
    witness.keep(PATH, b"tile")
    witness.keep(checkpoint_path(3), b"note")
    kept = tmp_path / "w" / PATH
    assert kept.stat().st_mode & 0o777 == 0o400
    assert list(witness.disturbed()) == []
    kept.unlink()
    kept.write_bytes(b"other")
    assert [sentence.split()[0] for sentence in witness.disturbed()] == [PATH]


def test_a_folder_open_to_others_is_named_with_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    witness = LocalMirrorStore(folder)
    assert witness.inspect() == []
    folder.chmod(0o755)
    assert witness.inspect() == [f"the folder {folder} is open to other users; run: chmod 700 {folder}"]


def test_a_folder_that_cannot_be_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    witness = LocalMirrorStore(tmp_path / "file")
    assert "cannot be made" in witness.inspect()[0]
    with pytest.raises(MirrorUnavailableError):
        witness.keep(PATH, b"tile")


def test_what_is_kept_is_locked_for_the_period_and_cannot_be_deleted(buckets: Buckets) -> None:
    bucket = buckets.new()
    buckets.witness(bucket).keep(PATH, b"tile")
    kept = buckets.s3.head_object(Bucket=bucket, Key=KEY)
    assert kept["ObjectLockMode"] == "COMPLIANCE"
    left = kept["ObjectLockRetainUntilDate"] - Now().now()
    assert timedelta(days=364, hours=23) < left <= timedelta(days=365)
    with pytest.raises(ClientError, match="AccessDenied"):
        buckets.s3.delete_object(Bucket=bucket, Key=KEY, VersionId=kept["VersionId"])


def test_what_somebody_writes_above_is_seen_and_not_believed(buckets: Buckets) -> None:
    bucket = buckets.new()
    witness = buckets.witness(bucket)
    witness.keep(PATH, b"tile")
    witness.keep(checkpoint_path(7), b"note")
    for path in (PATH, checkpoint_path(7)):
        buckets.s3.put_object(Bucket=bucket, Key=f"{ORIGIN}/{path}", Body=b"other")
    assert witness.get(PATH) == b"tile"
    assert witness.get(checkpoint_path(7)) == b"note"
    assert sorted(witness.disturbed()) == [
        f"somebody overwrote {path}: the kept version is below another" for path in (checkpoint_path(7), PATH)
    ]


def test_a_delete_marker_hides_nothing(buckets: Buckets) -> None:
    bucket = buckets.new()
    witness = buckets.witness(bucket)
    for size in (7, 9):
        witness.keep(checkpoint_path(size), b"note")
    buckets.s3.delete_object(Bucket=bucket, Key=f"{ORIGIN}/{checkpoint_path(9)}")
    assert list(witness.sizes()) == [7, 9]
    assert witness.newest() == 9
    assert witness.get(checkpoint_path(9)) == b"note"
    assert [sentence.split(":")[0] for sentence in witness.disturbed()] == [
        f"somebody deleted {checkpoint_path(9)}"
    ]


def test_logs_share_a_bucket_and_not_their_names(buckets: Buckets) -> None:
    bucket = buckets.new()
    ours, theirs = buckets.witness(bucket), buckets.witness(bucket, "other.test/log")
    ours.keep(checkpoint_path(7), b"ours")
    theirs.keep(checkpoint_path(9), b"theirs")
    assert (ours.newest(), theirs.newest()) == (7, 9)
    with pytest.raises(TileMissingError):
        theirs.get(checkpoint_path(7))


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (
            {"lock": False, "mode": None},
            ["enable versioning", "with Object Lock enabled", "COMPLIANCE and 365"],
        ),
        ({"mode": None}, ["COMPLIANCE and 365 days"]),
        ({"mode": "GOVERNANCE"}, ["COMPLIANCE and 365 days"]),
        ({"days": 364}, ["locks for 364 days"]),
    ],
)
def test_a_bucket_that_does_not_lock_is_named_with_the_setting(
    buckets: Buckets, made: dict[str, Any], says: list[str]
) -> None:
    found = buckets.witness(buckets.new(**made)).inspect()
    assert len(found) == len(says)
    assert all(text in sentence for text, sentence in zip(says, found, strict=True))


def test_a_bucket_without_object_lock_keeps_nothing_that_looks_kept(buckets: Buckets) -> None:
    witness = buckets.witness(buckets.new(lock=False, mode=None))
    with pytest.raises(MirrorError):
        witness.keep(PATH, b"tile")


def test_a_missing_bucket_is_said_to_be_missing(buckets: Buckets) -> None:
    witness = buckets.witness("never-made-bucket")
    assert "NoSuchBucket" in witness.inspect()[0]
    with pytest.raises(MirrorError, match="NoSuchBucket"):
        witness.keep(PATH, b"tile")


@contextmanager
def faulty(answers: list[int]) -> Iterator[tuple[str, list[str]]]:
    """A server that gives these statuses one after the other, then 200 with nothing; and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(f"{self.command} {self.path}")
            self.send_response(answers.pop(0) if answers else 200)
            if self.command == "HEAD":
                self.send_header("x-amz-object-lock-mode", "COMPLIANCE")
                self.send_header("x-amz-object-lock-retain-until-date", "2999-01-01T00:00:00Z")
                self.send_header("Content-Length", "4")
            else:
                self.send_header("Content-Length", "0")
            self.end_headers()

        do_PUT = do_GET = do_HEAD = answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_store_that_is_overloaded_is_asked_again(buckets: Buckets) -> None:
    with faulty([503, 500]) as (endpoint, asked):
        S3MirrorStore("bucket", ORIGIN, Now(), endpoint=endpoint).keep(PATH, b"tile")
    assert [line.split()[0] for line in asked] == ["PUT", "PUT", "PUT", "HEAD"]


def test_a_store_that_is_away_is_unavailable_and_not_empty(buckets: Buckets) -> None:
    with faulty([]) as (endpoint, _):
        witness = S3MirrorStore("bucket", ORIGIN, Now(), endpoint=endpoint)
    for call in (witness.newest, lambda: witness.get(PATH), lambda: witness.keep(PATH, b"tile")):
        with pytest.raises(MirrorUnavailableError):
            call()


def test_a_store_that_ignores_the_locks_headers_is_not_believed_the_second_time_either(
    buckets: Buckets,
) -> None:
    witness = buckets.witness(buckets.new(mode=None))
    real = witness._s3.put_object

    def put_object(ObjectLockMode: str, ObjectLockRetainUntilDate: Any, **asked: Any) -> Any:  # noqa: N803
        return real(**asked)  # answers 200 all the same

    witness._s3.put_object = put_object
    for _ in range(2):
        with pytest.raises(MirrorError, match="did not lock"):
            witness.keep("checkpoint/000/000/000/000/000/000/001", b"content")
