"""The whole list of a bundle's files in one answer: one pair of entries, however many there are."""

from __future__ import annotations

import gc
import io
import json
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from intake_api.api.routes.files import LINES
from retention.archive import ArchivedFile, Memory
from retention.custody.contents_index import Pace, index_next
from retention.custody.reading import file_lists, kept_lists
from retention.domain.actor import Role
from tests.service import ENGINEER, OPERATOR, Service

ACCEPT = {"Accept": LINES}


@pytest.fixture(params=["walked", "indexed"])
def service(service: Service, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service whose complete bundles have no contents index yet, or have theirs: nobody sees a difference."""
    if request.param == "indexed":
        complete = service.complete

        def indexed(*given: Any, **declared: str) -> str:
            bundle = complete(*given, **declared)
            while index_next(service.custody, Pace(60)):
                pass
            return bundle

        monkeypatch.setattr(service, "complete", indexed)
    return service


@pytest.fixture
def walks(request: pytest.FixtureRequest, service: Service) -> bool:
    return "walked" in request.node.callspec.id


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


class Walked:
    """Counts the files that are found in archives."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        real = file_lists.list_files

        def counting(*asked: Any, **more: Any) -> Iterator[ArchivedFile]:
            for file in real(*asked, **more):
                self.number += 1
                yield file

        monkeypatch.setattr(file_lists, "list_files", counting)


def by_pages(service: Service, bundle: str, limit: int, **query: Any) -> tuple[list[Any], list[Any]]:
    """All items, and the last page."""
    items, cursor, page = [], "0", None
    while cursor is not None:
        asked = {"limit": limit, "cursor": cursor, **query} if items else {"limit": limit, **query}
        page = service.done("GET", f"/bundles/{bundle}/files", ENGINEER, query_string=asked)
        items += page["items"]
        cursor = page["next"]
    return items, page


def test_pages_of_a_list_walk_the_archive_once_at_most_and_are_one_pair_of_entries(
    service: Service, walks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = service.complete(archive(1100))
    service.grant()
    walked = Walked(monkeypatch)
    items, _ = by_pages(service, bundle, 7)
    assert [file["path"] for file in items] == [f"logs/{number:05}.log" for number in range(1100)]
    assert walked.number == (1100 if walks else 0)
    assert pairs(service) == [("bundle.listed", None), ("bundle.read-ended", None)]
    whole = service.call("GET", f"/bundles/{bundle}/files", ENGINEER, headers=ACCEPT)
    assert [json.loads(line) for line in whole.get_data().splitlines()][:-1] == items


def test_a_first_page_is_a_new_look_at_the_archive(service: Service) -> None:
    bundle = service.complete(archive(20))
    service.grant()
    for times in (1, 2):
        service.done("GET", f"/bundles/{bundle}/files", ENGINEER, query_string={"limit": 5})
        assert len(service.entries(action="bundle.listed")) == times


@pytest.mark.parametrize("how", ["expired", "revoked", "erased"])
def test_a_further_page_needs_the_access_that_the_first_had(service: Service, how: str) -> None:
    bundle = service.complete(archive(20))
    grant = service.grant()
    path = f"/bundles/{bundle}/files"
    service.done("GET", path, ENGINEER, query_string={"limit": 5})
    if how == "expired":
        service.advance(timedelta(hours=25))
    elif how == "revoked":
        service.done("POST", f"/grants/{grant}/release", ENGINEER, json={})
    else:
        service.done("POST", f"/bundles/{bundle}/erasures", OPERATOR, json={})
    answer = service.call("GET", path, ENGINEER, query_string={"limit": 5, "cursor": "5"})
    assert answer.status_code == (410 if how == "erased" else 403)
    assert b"logs/" not in answer.data


def test_a_list_that_is_not_kept_any_more_is_walked_and_entered_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = service.complete(archive(20))
    service.grant()
    now = [0.0]
    monkeypatch.setattr(service.custody.lists, "_now", lambda: now[0])
    path = f"/bundles/{bundle}/files"
    service.done("GET", path, ENGINEER, query_string={"limit": 5})
    now[0] = 299.0
    service.done("GET", path, ENGINEER, query_string={"limit": 5, "cursor": "5"})
    assert len(service.entries(action="bundle.listed")) == 1
    now[0] = 301.0
    page = service.done("GET", path, ENGINEER, query_string={"limit": 5, "cursor": "10"})
    assert [file["path"] for file in page["items"]] == [f"logs/{number:05}.log" for number in range(10, 15)]
    assert len(service.entries(action="bundle.listed")) == 2


def test_without_memory_pages_are_served_and_nothing_is_kept(
    service: Service, walks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = service.complete(archive(600))
    service.grant()
    memory = Memory(100)
    monkeypatch.setattr(service.custody.lists, "memory", memory)
    items, _ = by_pages(service, bundle, 200)
    assert len({file["path"] for file in items}) == len(items) == 600
    assert memory.held == 0
    assert len(service.entries(action="bundle.listed")) == (3 if walks else 1)


def test_what_is_kept_is_bounded_and_given_back(
    service: Service, walks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = service.complete(archive(600)), service.complete(archive(600))
    service.grant()
    memory = Memory(1 << 20)
    monkeypatch.setattr(service.custody.lists, "memory", memory)
    service.done("GET", f"/bundles/{first}/files", ENGINEER, query_string={"limit": 5})
    one = memory.held
    assert 0 < one < 600 * 100 if walks else one == 0
    monkeypatch.setattr(kept_lists, "MOST", one + 10)
    service.done("GET", f"/bundles/{second}/files", ENGINEER, query_string={"limit": 5})
    gc.collect()
    assert memory.held <= one + 10, "the list that was used longest ago went"


def test_a_list_is_nobody_else_s_nor_of_the_same_person_without_the_role(service: Service) -> None:
    bundle = service.complete(archive(20))
    service.grant()
    path, asked = f"/bundles/{bundle}/files", {"limit": 5, "cursor": "5"}
    service.done("GET", path, ENGINEER, query_string={"limit": 5})
    without = ENGINEER.with_roles(Role.AUDITOR)
    for who in (OPERATOR, without):
        assert service.call("GET", path, who, query_string=asked).status_code == 403
    assert service.call("GET", path, ENGINEER, query_string=asked).status_code == 200
