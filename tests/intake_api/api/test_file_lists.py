"""The whole list of a bundle's files in one answer: one pair of entries, however many there are."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from intake_api.api.routes.files import LINES
from tests.service import ENGINEER, OPERATOR, Service

ACCEPT = {"Accept": LINES}


def archive(files: int) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as made:
        for number in range(files):
            made.writestr(f"logs/{number:05}.log", b"x")
    return raw.getvalue()


def pairs(service: Service) -> list[tuple[str, str | None]]:
    found = [*service.entries(action="bundle.listed"), *service.entries(action="bundle.read-ended")]
    return [(entry["action"], entry.get("reason")) for entry in found]


def test_a_list_of_4018_files_is_one_pair_of_entries(service: Service) -> None:
    bundle = service.complete(archive(4018))
    service.grant()
    answer = service.call("GET", f"/bundles/{bundle}/files", ENGINEER, headers=ACCEPT)
    assert (answer.status_code, answer.content_type) == (200, LINES)
    *files, last = [json.loads(line) for line in answer.get_data().splitlines()]
    assert [file["path"] for file in files] == [f"logs/{number:05}.log" for number in range(4018)]
    assert last == {"files": 4018}
    assert pairs(service) == [("bundle.listed", None), ("bundle.read-ended", None)]


def test_the_lines_are_the_items_of_the_pages_and_go_on_from_a_cursor(service: Service) -> None:
    bundle = service.complete(archive(7))
    service.grant()
    path = f"/bundles/{bundle}/files"
    paged = service.done("GET", path, ENGINEER, query_string={"limit": 3, "cursor": "2"})
    answer = service.call("GET", path, ENGINEER, headers=ACCEPT, query_string={"cursor": "2"})
    lines = [json.loads(line) for line in answer.get_data().splitlines()]
    assert lines[:3] == paged["items"]
    assert lines[-1] == {"files": 5}
    assert paged["next"] == "5"


def test_a_page_is_a_pair_of_its_own_and_complete(service: Service) -> None:
    bundle = service.complete(archive(7))
    service.grant()
    service.done("GET", f"/bundles/{bundle}/files", ENGINEER, query_string={"limit": 3})
    assert pairs(service) == [("bundle.listed", None), ("bundle.read-ended", None)]


def test_a_list_whose_reader_leaves_was_cut(service: Service) -> None:
    bundle = service.complete(archive(4000))
    service.grant()
    answer = service.call("GET", f"/bundles/{bundle}/files", ENGINEER, headers=ACCEPT, buffered=False)
    next(iter(answer.response))
    answer.close()
    assert pairs(service) == [("bundle.listed", None), ("bundle.read-ended", "cut")]


@pytest.mark.parametrize("headers", [{}, ACCEPT])
def test_what_is_no_archive_has_its_problem_and_its_reason_either_way(
    service: Service, headers: dict[str, str]
) -> None:
    bundle = service.complete(b"no archive at all")
    service.grant()
    answer = service.call("GET", f"/bundles/{bundle}/files", ENGINEER, headers=headers)
    assert answer.status_code == 422
    assert pairs(service)[-1] == ("bundle.read-ended", "not-readable")


def test_a_list_without_a_grant_is_refused_either_way(service: Service) -> None:
    bundle = service.complete(archive(3))
    assert service.call("GET", f"/bundles/{bundle}/files", ENGINEER, headers=ACCEPT).status_code == 403
    assert service.call("GET", f"/bundles/{bundle}/files", OPERATOR, headers=ACCEPT).status_code == 403


def test_a_zip_cut_short_lists_what_stands_before_and_says_why_it_ends(service: Service) -> None:
    bundle = service.complete(archive(7)[:-400])
    service.grant()
    path = f"/bundles/{bundle}/files"
    first = service.done("GET", path, ENGINEER, query_string={"limit": 3})
    rest = service.done("GET", path, ENGINEER, query_string={"limit": 3, "cursor": "3"})
    last = service.done("GET", path, ENGINEER, query_string={"limit": 3, "cursor": "6"})
    assert (first["incomplete"], rest["incomplete"]) == (None, None)
    assert "without its directory" in last["incomplete"]
    answer = service.call("GET", path, ENGINEER, headers=ACCEPT)
    *files, end = [json.loads(line) for line in answer.get_data().splitlines()]
    assert files == first["items"] + rest["items"] + last["items"]
    assert end == {"files": 7, "incomplete": last["incomplete"]}
