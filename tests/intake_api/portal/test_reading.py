"""The reading room: files, lines and searching, each under a grant and each an entry."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from intake_api.portal import reading_pages
from tests.intake_api.portal.test_requests import SAME, ask, sign_in
from tests.retention.archive.making import zip_of
from tests.service import CASE, ENGINEER, Service

LOG = "".join(f"2026-03-01 02:{n // 60:02}:{n % 60:02} line {n}\n" for n in range(1, 1001))


@pytest.fixture
def bundle(service: Service) -> str:
    files = {
        "logs/<b>cluster</b>.log": LOG.encode(),
        "wide.log": "Ereignis <script>alert(1)</script> ERROR größer\r\n".encode("utf-16"),
        "in.zip": zip_of({"deep.log": b"ERROR deep inside\n"}),
        "cut.zip": b"PK\x03\x04" + bytes(20),
    }
    service.assign(ENGINEER)
    return service.complete(zip_of(files))


@pytest.fixture
def reader(service: Service, bundle: str) -> Any:
    """An engineer's browser, with a grant."""
    browser = service.app.test_client()
    sign_in(browser, ENGINEER.subject, "CaseVault.SupportEngineer")
    reason = {"reason": "Volume offline on node 2", "duration_minutes": "60"}
    assert ask(browser, "POST", f"/portal/cases/{CASE}/grants", SAME, **reason).status_code == 303
    return browser


def links(page: str, kind: str) -> list[str]:
    return [unescape(link) for link in re.findall(r'href="([^"]+)"', page) if f"/{kind}" in link]


def test_every_file_of_a_bundle_is_reached_by_links_also_in_an_archive_in_it(
    reader: Any, bundle: str
) -> None:
    page = ask(reader, "GET", f"/portal/bundles/{bundle}", SAME).text
    listed = ask(reader, "GET", links(page, "files")[0], SAME)
    assert listed.status_code == 200 and "&lt;b&gt;cluster&lt;/b&gt;.log" in listed.text
    (inner,) = links(listed.text, "files?inside=in.zip")
    inside = ask(reader, "GET", inner, SAME).text
    (deep,) = links(inside, "lines/")
    assert "ERROR deep inside" in ask(reader, "GET", deep, SAME).text


def test_a_file_is_downloaded_as_it_is_and_by_ranges(reader: Any, bundle: str) -> None:
    path = f"/portal/bundles/{bundle}/files/logs%2F%3Cb%3Ecluster%3C%2Fb%3E.log"
    assert ask(reader, "GET", path, SAME).data == LOG.encode()
    part = ask(reader, "GET", path, {**SAME, "Range": "bytes=-10"})
    assert part.status_code == 206 and part.data == LOG.encode()[-10:]


def test_a_screen_is_bounded_and_its_links_lead_through_the_whole_file(reader: Any, bundle: str) -> None:
    at, seen = f"/portal/bundles/{bundle}/lines/logs%2F%3Cb%3Ecluster%3C%2Fb%3E.log?line=1", list[int]()
    while True:
        page = ask(reader, "GET", at, SAME).text
        numbers = [int(found) for found in re.findall(r'id="L(\d+)"', page)]
        assert len(numbers) <= reading_pages.SCREEN
        seen += numbers
        following = re.search(r'rel="next" href="([^"]+)"', page)
        if following is None:
            break
        at = unescape(following[1])
    assert seen == [*range(1, 1001)]
    before = unescape(re.search(r'rel="prev" href="([^"]+)"', page)[1])  # type: ignore[index]
    assert 'id="L601"' in ask(reader, "GET", before, SAME).text


@pytest.mark.parametrize(("query", "first"), [("line=700", 700), ("time=2026-03-01T02:05", 300)])
def test_a_line_and_a_time_are_gone_to(reader: Any, bundle: str, query: str, first: int) -> None:
    path = f"/portal/bundles/{bundle}/lines/logs%2F%3Cb%3Ecluster%3C%2Fb%3E.log?{query}"
    page = ask(reader, "GET", path, SAME).text
    assert re.findall(r'id="L(\d+)"', page)[0] == str(first)


def test_a_search_leads_to_its_lines_and_names_what_it_could_not_read(reader: Any, bundle: str) -> None:
    path = f"/portal/bundles/{bundle}/search"
    page = ask(reader, "POST", path, SAME, pattern="error", literal="true", ignore_case="true").text
    assert "2 lines found." in page and "Everything was searched." in page
    assert page.count("<mark>ERROR</mark>") == 2 and "<script>alert" not in page
    assert "größer" in page and "cut.zip" in page
    deep = [link for link in links(page, "lines/") if "deep.log" in link]
    assert deep and "ERROR deep inside" in ask(reader, "GET", deep[0].partition("#")[0], SAME).text


def test_a_search_with_many_lines_goes_on_where_it_ended(reader: Any, bundle: str) -> None:
    path = f"/portal/bundles/{bundle}/search"
    form = {"pattern": r"line \d+$", "literal": "false", "files": "*cluster*"}
    numbers = list[str]()
    while True:
        page = ask(reader, "POST", path, SAME, **form).text
        numbers += re.findall(r"log:(\d+)</a>", page)
        begin = re.search(r'name="begin" value="([^"]+)"', page)
        if begin is None:
            break
        form["begin"] = unescape(begin[1])
    assert numbers == [str(number) for number in range(1, 1001)]


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"pattern": "(", "literal": "false"}, "pattern"),
        ({"pattern": "x", "begin": "{"}, "begin"),
        ({"pattern": "x", "file": "none.log"}, "Request id"),
    ],
)
def test_a_search_that_cannot_be_is_one_clear_page(
    reader: Any, bundle: str, form: dict[str, str], says: str
) -> None:
    answer = ask(reader, "POST", f"/portal/bundles/{bundle}/search", SAME, **form)
    assert answer.status_code in (400, 404, 422) and says in answer.text


def test_each_page_is_one_read_with_its_file_and_what_was_searched_for(
    reader: Any, service: Service, bundle: str
) -> None:
    before = {entry["id"] for entry in service.entries()}
    ask(reader, "GET", f"/portal/bundles/{bundle}/files", SAME)
    ask(reader, "GET", f"/portal/bundles/{bundle}/lines/wide.log", SAME)
    ask(reader, "POST", f"/portal/bundles/{bundle}/search", SAME, pattern="deep", file="in.zip!/deep.log")
    fresh = [entry["action"] for entry in reversed(service.entries()) if entry["id"] not in before]
    opened = [action for action in fresh if action.startswith("bundle.")]
    assert opened == [
        *("bundle.listed", "bundle.read-ended"),
        *("bundle.opened", "bundle.read-ended", "bundle.opened", "bundle.read-ended"),
    ]


def test_without_a_grant_nothing_inside_is_shown(service: Service, bundle: str) -> None:
    browser = service.app.test_client()
    sign_in(browser, ENGINEER.subject, "CaseVault.SupportEngineer")
    for method, path in (
        ("GET", "files"),
        ("GET", "files/wide.log"),
        ("GET", "lines/wide.log"),
        ("POST", "search"),
    ):
        answer = ask(browser, method, f"/portal/bundles/{bundle}/{path}", SAME, pattern="ERROR")
        assert answer.status_code == 403 and "ERROR" not in answer.text, path


def test_a_line_full_of_matches_makes_no_large_page(reader: Any, service: Service) -> None:
    full = service.complete(zip_of({"a.log": b"a" * 60_000 + b"\n"}))
    page = ask(reader, "POST", f"/portal/bundles/{full}/search", SAME, pattern="a").text
    assert page.count("<mark>") == 1 and len(page) < 20_000


def test_a_place_to_go_on_from_that_is_none_is_refused_in_words(reader: Any, bundle: str) -> None:
    answer = ask(reader, "POST", f"/portal/bundles/{bundle}/search", SAME, pattern="x", begin="[" * 20_000)
    assert answer.status_code == 422 and "search anew" in answer.text


def test_what_was_found_before_a_bundle_is_cut_is_shown(reader: Any, service: Service) -> None:
    whole = zip_of({"a.log": b"x here\n", "b.log": b"none\n"})
    cut = service.complete(whole[: whole.index(b"PK\x01\x02")])
    page = ask(reader, "POST", f"/portal/bundles/{cut}/search", SAME, pattern="x").text
    assert "1 line found." in page and "The rest of the bundle" in page


def test_the_files_are_filtered_and_the_next_page_keeps_the_filter(reader: Any, service: Service) -> None:
    bundle = service.complete(zip_of({f"{n:03}.{'log' if n % 2 else 'txt'}": b"x" for n in range(120)}))
    page = ask(reader, "GET", f"/portal/bundles/{bundle}/files?name=*.LOG&kind=file&limit=50", SAME).text
    assert "119.log" not in page and "001.log" in page and "000.txt" not in page
    (following,) = re.findall(r'rel="next" href="([^"]+)"', page)
    page = ask(reader, "GET", f"/portal/bundles/{bundle}/files{unescape(following)}", SAME).text
    assert "119.log" in page and ".txt" not in page
    page = ask(reader, "GET", f"/portal/bundles/{bundle}/files?kind=archive", SAME).text
    assert "There are no such files in it." in page
