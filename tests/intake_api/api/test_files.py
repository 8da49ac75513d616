"""The files inside a bundle, listed and read singly."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from retention.archive import ArchivedFile
from retention.custody.reading import file_lists
from tests.retention.archive.making import zip_of
from tests.service import ENGINEER, OPERATOR, Service


@pytest.fixture
def bundle(service: Service) -> str:
    inner = zip_of({"deep.log": b"deep"})
    found = service.complete(
        zip_of({"a/one.log": b"one " * 500, "two.log": b"two", "in.zip": inner, "../x": b""})
    )
    service.grant()
    return found


def test_the_files_are_listed_in_their_stored_order(service: Service, bundle: str) -> None:
    answer = service.done("GET", f"/bundles/{bundle}/files", ENGINEER)
    assert answer["next"] is None
    assert [(f["path"], f["size"], f["kind"], f["readable"]) for f in answer["items"]][:2] == [
        ("a/one.log", 2000, "file", True),
        ("two.log", 3, "file", True),
    ]
    trick = answer["items"][3]
    assert (trick["readable"], bool(trick["why_not"])) == (False, True)
    (entry,) = service.entries(bundle=bundle, action="bundle.listed")
    assert entry["outcome"] == "success"


def test_a_long_list_comes_in_pages(service: Service, bundle: str) -> None:
    seen, cursor = [], None
    while cursor is not None or not seen:
        query = {"limit": 1, **({"cursor": cursor} if cursor else {})}
        answer = service.done("GET", f"/bundles/{bundle}/files", ENGINEER, query_string=query)
        seen += [file["path"] for file in answer["items"]]
        cursor = answer["next"]
    assert seen == ["a/one.log", "two.log", "in.zip", "../x"]
    response = service.call("GET", f"/bundles/{bundle}/files?cursor=x", ENGINEER)
    assert set(response.get_json()["errors"]) == {"cursor"}


def test_one_file_is_read_and_the_log_says_which(service: Service, bundle: str) -> None:
    response = service.call("GET", f"/bundles/{bundle}/files/a/one.log", ENGINEER)
    assert (response.status_code, response.data) == (200, b"one " * 500)
    assert response.headers["Content-Disposition"].startswith('attachment; filename="one.log"')
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    (opened,) = service.entries(bundle=bundle, action="bundle.opened")
    (ended,) = [
        e for e in service.entries(bundle=bundle, action="bundle.read-ended") if e["details"]["bytes"]
    ]
    assert opened["particulars"]["file"] == "a/one.log"
    assert (ended["outcome"], ended["details"]["bytes"]) == ("success", 2000)


def test_a_nested_archive_is_listed_and_its_files_are_read(service: Service, bundle: str) -> None:
    answer = service.done("GET", f"/bundles/{bundle}/files", ENGINEER, query_string={"inside": "in.zip"})
    (listed,) = service.entries(bundle=bundle, action="bundle.listed")
    assert listed["particulars"]["inside"] == "in.zip"
    (path,) = [file["path"] for file in answer["items"]]
    response = service.call("GET", f"/bundles/{bundle}/files/{quote(path, safe='')}", ENGINEER)
    assert (path, response.data) == ("in.zip!/deep.log", b"deep")


def test_a_path_is_taken_as_it_is_when_its_slashes_are_encoded(service: Service) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in ("./dot.log", "double//slash.log"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"data"))
    bundle = service.complete(packed.getvalue())
    service.grant()
    for file in service.done("GET", f"/bundles/{bundle}/files", ENGINEER)["items"]:
        response = service.call("GET", f"/bundles/{bundle}/files/{quote(file['path'], safe='')}", ENGINEER)
        assert (response.status_code, response.data) == (200, b"data"), file


def test_files_need_a_grant_as_the_content_does(service: Service) -> None:
    bundle = service.complete(zip_of({"a.log": b"a"}))
    for path in (f"/bundles/{bundle}/files", f"/bundles/{bundle}/files/a.log"):
        assert service.call("GET", path, ENGINEER).get_json()["reason"] == "no-grant"
        assert service.call("GET", path, OPERATOR).get_json()["reason"] == "not-an-engineer"


def test_a_failed_reading_is_an_entry_that_says_so(service: Service, bundle: str) -> None:
    assert service.call("GET", f"/bundles/{bundle}/files/none.log", ENGINEER).status_code == 404
    (ended,) = service.entries(bundle=bundle, action="bundle.read-ended")
    assert ended["outcome"] == "failed"


@pytest.mark.parametrize(
    ("method", "path", "status", "ended"),
    [
        ("HEAD", "a/one.log", 200, ("success", None)),
        ("GET", "no-such.log", 404, ("failed", "no-such-file")),
    ],
)
def test_what_is_not_delivered_is_not_said_to_be(
    service: Service, bundle: str, method: str, path: str, status: int, ended: tuple[str, str | None]
) -> None:
    response = service.call(method, f"/bundles/{bundle}/files/{path}", ENGINEER)
    assert response.status_code == status
    if method == "HEAD":
        assert (response.data, response.headers["Content-Length"]) == (b"", "2000")
    (entry,) = service.entries(bundle=bundle, action="bundle.read-ended")
    assert (entry["outcome"], entry.get("reason")) == ended
    assert entry["details"]["bytes"] == 0


def test_a_listing_ends_with_its_grant(
    service: Service, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = file_lists.list_files

    def slow(*asked: Any, **more: Any) -> Iterator[ArchivedFile]:
        for number, file in enumerate(real(*asked, **more)):
            if number == 2:
                service.advance(timedelta(hours=25))
            yield file

    monkeypatch.setattr(file_lists, "list_files", slow)
    assert service.call("GET", f"/bundles/{bundle}/files", ENGINEER).status_code == 403


def test_a_bundle_that_is_not_complete_yet_is_a_conflict_with_an_entry(service: Service) -> None:
    bundle = service.send(zip_of({"a.log": b"a"}))
    service.grant()
    for path in (f"/bundles/{bundle}/files", f"/bundles/{bundle}/files/a.log", f"/bundles/{bundle}/content"):
        response = service.call("GET", path, ENGINEER)
        assert (response.status_code, response.get_json()["type"]) == (409, "/problems/conflict")
        assert response.get_json()["reason"].startswith("bundle-")
    refused = {entry["action"] for entry in service.entries(bundle=bundle) if entry["outcome"] == "refused"}
    assert refused == {"bundle.listed", "bundle.opened"}


def test_a_refused_file_has_its_reason_as_it_was_listed(service: Service, bundle: str) -> None:
    (trick,) = [
        f for f in service.done("GET", f"/bundles/{bundle}/files", ENGINEER)["items"] if not f["readable"]
    ]
    response = service.call("GET", f"/bundles/{bundle}/files/{quote(trick['path'], safe='')}", ENGINEER)
    assert (response.status_code, response.get_json()["reason"]) == (422, "parent-path")
