"""An event log in the reading room: opened by its bytes, filtered, gone on with, each page an entry."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from intake_api.portal import event_pages
from retention.text.events import PLACES
from tests.intake_api.portal.test_reading import links
from tests.intake_api.portal.test_requests import SAME, ask, sign_in
from tests.retention.archive.making import zip_of
from tests.retention.event_logs.making import CHUNK, HEADER, Made, log_of
from tests.service import CASE, ENGINEER, Service

LOUD = Made(
    500,
    level=2,
    provider="<b>Disk</b>",
    id=7,
    data=(("DeviceName", "<script>alert(1)</script>"), ("Long", "x" * 5000)),
)
LOG = log_of(
    [Made(n) for n in range(1, 51)], [Made(n) for n in range(51, 101)], [*map(Made, range(101, 141)), LOUD]
)


@pytest.fixture
def bundle(service: Service) -> str:
    files = {
        "System.evtx": LOG,
        "renamed.dat": LOG,
        "long.evtx": log_of([Made(1, provider="p" * 9000, computer="c" * 9000)]),
        "not.evtx": b"plain text\n",
        "cut.evtx": LOG[:100],
        "bad.evtx": LOG[: HEADER + CHUNK] + b"\1" * CHUNK + LOG[HEADER + 2 * CHUNK :],
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


def records(text: str) -> list[int]:
    return [int(one) for one in re.findall(r'<td class="number">\d+</td><td class="number">(\d+)</td>', text)]


def test_a_log_is_reached_from_the_files_and_read_to_its_end(reader: Any, bundle: str) -> None:
    listed = ask(reader, "GET", f"/portal/bundles/{bundle}/files", SAME).text
    address = next(link for link in links(listed, "events/") if link.endswith("/System.evtx"))
    shown = ask(reader, "GET", address, SAME).text
    seen = records(shown)
    assert len(seen) == event_pages.MOST and "There are more" in shown
    begin = re.search(r'name="begin" value="(\d+)"', shown)
    assert begin is not None
    rest = ask(reader, "POST", address, SAME, begin=begin[1]).text
    assert seen + records(rest) == [*range(1, 141), 500]
    assert "The log was read to its end." in rest and 'name="begin"' not in rest


def test_a_file_is_what_its_bytes_say_whatever_its_name(reader: Any, bundle: str) -> None:
    here = f"/portal/bundles/{bundle}"
    moved = ask(reader, "GET", f"{here}/lines/renamed.dat", SAME)
    assert (moved.status_code, moved.location) == (303, f"{here}/events/renamed.dat")
    assert len(records(ask(reader, "GET", moved.location, SAME).text)) == event_pages.MOST
    back = ask(reader, "GET", f"{here}/events/not.evtx", SAME)
    assert (back.status_code, back.location) == (303, f"{here}/lines/not.evtx?line=1")
    assert "plain text" in ask(reader, "GET", back.location, SAME).text


def test_what_only_begins_as_an_event_log_ends_as_lines(reader: Any, bundle: str) -> None:
    here = f"/portal/bundles/{bundle}"
    moved = ask(reader, "GET", f"{here}/lines/cut.evtx", SAME)
    back = ask(reader, "GET", moved.location, SAME)
    assert (moved.location, back.location) == (f"{here}/events/cut.evtx", f"{here}/lines/cut.evtx?line=1")
    assert "ElfFile" in ask(reader, "GET", back.location, SAME).text


def test_a_page_of_events_holds_no_more_of_each_than_it_shows(
    reader: Any, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    real = event_pages.page.show
    monkeypatch.setattr(
        event_pages.page, "show", lambda *given, **more: shown.append(more["found"]) or real(*given, **more)
    )
    text = ask(reader, "POST", f"/portal/bundles/{bundle}/events/long.evtx", SAME).text
    (row,) = shown[0].rows
    assert (row.event.data, row.event.told, row.event.xml) == ((), b"", None)
    assert len(text) < 30_000 and "p" * event_pages.SHORT + "<" in text and row.cut


@pytest.mark.parametrize(
    ("form", "found"),
    [
        ({"level": "error"}, [500]),
        ({"provider": "*disk*"}, [500]),
        ({"ids": "7, 9"}, [500]),
        ({"pattern": "ALERT(1", "literal": "true", "ignore_case": "true"}, [500]),
        (
            {"since": "2026-11-29T02:01", "until": "2026-11-29T02:02", "level": "information"},
            [*range(60, 120)],
        ),
        ({"level": "critical"}, []),
    ],
)
def test_a_filter_shows_the_events_asked_for_and_stays_in_the_form(
    reader: Any, bundle: str, form: dict[str, str], found: list[int]
) -> None:
    shown = ask(reader, "POST", f"/portal/bundles/{bundle}/events/System.evtx", SAME, **form).text
    assert records(shown) == found
    assert "<script>alert" not in shown and "<b>Disk" not in shown
    if "provider" in form:
        assert 'name="provider" maxlength="200" value="*disk*"' in shown


def test_one_event_is_shown_in_full_at_an_address_of_its_own(reader: Any, bundle: str) -> None:
    here = f"/portal/bundles/{bundle}/events/System.evtx"
    listed = ask(reader, "POST", here, SAME, ids="7").text
    (address,) = [link for link in links(listed, "events/") if "place=" in link]
    assert address == f"{here}?place={2 * PLACES + 40}" and "there is more" in listed
    text = ask(reader, "GET", address, SAME).text
    assert "&lt;Data Name=&#34;DeviceName&#34;&gt;" in text and "<script>alert" not in text
    assert "x" * 5000 in unescape(text) and len(text) < 40_000


@pytest.mark.parametrize(
    ("place", "says"),
    [("141", "has no event"), ("x", "place"), (str(1 << 60), "begin"), ("9999999", "has no")],
)
def test_a_place_without_an_event_is_one_clear_page(reader: Any, bundle: str, place: str, says: str) -> None:
    answer = ask(reader, "GET", f"/portal/bundles/{bundle}/events/System.evtx?place={place}", SAME)
    assert answer.status_code == 422 and "Request id" in answer.text


@pytest.mark.parametrize(
    "form", [{"ids": "x"}, {"pattern": "("}, {"level": "bad"}, {"begin": "-1"}, {"since": "yesterday"}]
)
def test_a_filter_that_cannot_be_is_one_clear_page(reader: Any, bundle: str, form: dict[str, str]) -> None:
    answer = ask(reader, "POST", f"/portal/bundles/{bundle}/events/System.evtx", SAME, **form)
    assert answer.status_code == 422 and "Request id" in answer.text


def test_what_is_damaged_is_named_and_the_rest_is_shown(reader: Any, bundle: str) -> None:
    shown = ask(reader, "GET", f"/portal/bundles/{bundle}/events/bad.evtx", SAME).text
    assert "Chunk 1, 69632 bytes into the file: it does not begin as a chunk does" in shown
    assert records(shown) == [*range(1, 51), *range(101, 141), 500]


def test_each_page_of_events_is_one_read_with_what_was_looked_for(
    reader: Any, service: Service, bundle: str
) -> None:
    before = {entry["id"] for entry in service.entries()}
    address = f"/portal/bundles/{bundle}/events/System.evtx"
    ask(reader, "GET", address, SAME)
    ask(reader, "GET", f"{address}?place=0", SAME)
    ask(reader, "POST", address, SAME, pattern="running")
    fresh = [entry for entry in reversed(service.entries()) if entry["id"] not in before]
    fresh = [entry for entry in fresh if entry["action"].startswith("bundle.")]
    assert [one["action"] for one in fresh] == ["bundle.opened", "bundle.read-ended"] * 3
    assert [one["particulars"].get("search") for one in fresh[::2]] == [None, None, "running"]
    assert all(one["outcome"] == "success" for one in fresh)


def test_without_a_grant_no_event_is_shown(service: Service, bundle: str) -> None:
    browser = service.app.test_client()
    sign_in(browser, ENGINEER.subject, "CaseVault.SupportEngineer")
    for method in ("GET", "POST"):
        answer = ask(browser, method, f"/portal/bundles/{bundle}/events/System.evtx", SAME)
        assert answer.status_code == 403 and "running" not in answer.text


def test_a_search_of_the_bundle_leads_to_the_event(reader: Any, bundle: str) -> None:
    shown = ask(
        reader,
        "POST",
        f"/portal/bundles/{bundle}/search",
        SAME,
        pattern="alert(1)",
        literal="true",
        file="System.evtx",
    ).text
    (address,) = [link for link in links(shown, "events/") if "place=" in link]
    assert "DeviceName" in ask(reader, "GET", address, SAME).text
