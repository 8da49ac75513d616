"""Files as text: ranges of their bytes, screens of lines, and searching, each in the log."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from intake_api.api.routes import text as text_route
from retention.archive.limits import Work
from retention.custody.reading import file_lines, file_text
from tests.retention.archive.making import tgz_of, zip_of
from tests.service import ENGINEER, OPERATOR, Service

LOG = "".join(
    f"2026-11-29 02:{n // 60:02}:{n % 60:02}, {'Error' if n % 50 == 7 else 'Info'} CBS line {n}\r\n"
    for n in range(300)
)
RAW = LOG.encode()


@pytest.fixture
def bundle(service: Service) -> str:
    inner = zip_of({"deep.log": b"Error deep inside\n"})
    files = {
        "cbs.log": RAW,
        "wide.log": ("\ufeff" + LOG).encode("utf-16-le"),
        "in.zip": inner,
        "x.zip": b"not one",
    }
    found = service.complete(zip_of(files))
    service.grant()
    return found


def lines(service: Service, bundle: str, path: str = "cbs.log", **query: Any) -> Any:
    return service.done("GET", f"/bundles/{bundle}/lines/{path}", ENGINEER, query_string=query)


def search(service: Service, bundle: str, **asked: Any) -> list[dict[str, Any]]:
    response = service.call("POST", f"/bundles/{bundle}/search", ENGINEER, json=asked)
    assert (response.status_code, response.content_type) == (200, "application/jsonl"), response.data
    return [json.loads(line) for line in response.data.splitlines()]


def matches(told: list[dict[str, Any]]) -> list[tuple[str | None, int]]:
    return [(one["match"]["file"], one["match"]["number"]) for one in told if "match" in one]


def test_ranges_of_a_file_are_exactly_those_bytes(service: Service, bundle: str) -> None:
    path = f"/bundles/{bundle}/files/cbs.log"
    head = service.call("HEAD", path, ENGINEER)
    assert (head.headers["Accept-Ranges"], head.headers["Content-Length"]) == ("bytes", str(len(RAW)))
    part = service.call(
        "GET", path, ENGINEER, headers={"Range": "bytes=100-199", "If-Range": head.headers["ETag"]}
    )
    assert (part.status_code, part.data) == (206, RAW[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(RAW)}"
    ended = service.entries(bundle=bundle, action="bundle.read-ended")[0]
    assert (ended["outcome"], ended["details"]["bytes"]) == ("success", 100)
    assert (
        service.entries(bundle=bundle, action="bundle.opened")[0]["particulars"]["range"] == "bytes=100-199"
    )
    several = service.call("GET", path, ENGINEER, headers={"Range": "bytes=500-509,0-9,-5"})
    assert several.status_code == 206
    assert (
        several.data.index(RAW[500:510])
        < several.data.index(b"\r\n\r\n" + RAW[:10])
        < several.data.rindex(RAW[-5:])
    )
    other = service.call("GET", path, ENGINEER, headers={"Range": "bytes=0-9", "If-Range": '"another"'})
    assert (other.status_code, other.data) == (200, RAW)
    beyond = service.call("GET", path, ENGINEER, headers={"Range": f"bytes={len(RAW)}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(RAW)}")


def test_a_file_that_the_caller_has_is_not_opened_again(service: Service, bundle: str) -> None:
    path = f"/bundles/{bundle}/files/cbs.log"
    tag = service.call("HEAD", path, ENGINEER).headers["ETag"]
    opened = len(service.entries(bundle=bundle, action="bundle.opened"))
    again = service.call("GET", path, ENGINEER, headers={"If-None-Match": tag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    assert len(service.entries(bundle=bundle, action="bundle.opened")) == opened
    assert service.entries(bundle=bundle, action="record.shown")[0]["details"]["of"] == "file"
    other = service.call("HEAD", f"/bundles/{bundle}/files/wide.log", ENGINEER).headers["ETag"]
    assert other != tag


@pytest.mark.parametrize("path", ["cbs.log", "wide.log"])
def test_lines_are_decoded_from_a_line_on_and_from_the_end(service: Service, bundle: str, path: str) -> None:
    found = lines(service, bundle, path, line=10, count=3)
    assert [line["number"] for line in found["lines"]] == [10, 11, 12]
    assert [line["text"] for line in found["lines"]] == LOG.split("\r\n")[9:12]
    assert (found["next"], found["lines"][0]["time"]) == (13, "2026-11-29T02:00:09.000000Z")
    last = lines(service, bundle, path, tail="true", count=2)
    assert [line["text"] for line in last["lines"]] == LOG.split("\r\n")[298:300]
    assert last["next"] is None
    raw = service.call(
        "GET",
        f"/bundles/{bundle}/files/{path}",
        ENGINEER,
        headers={
            "Range": f"bytes={last['lines'][0]['offset']}-{last['lines'][0]['offset'] + last['lines'][0]['size'] - 1}"
        },
    )
    assert raw.data.decode("utf-16-le" if path == "wide.log" else "utf-8") == last["lines"][0]["text"]


def test_lines_around_a_time_are_found_and_the_offset_of_the_file_counts(
    service: Service, bundle: str
) -> None:
    found = lines(service, bundle, time="2026-11-29T02:01:00Z", before=2, count=2)
    assert [line["number"] for line in found["lines"]] == [59, 60, 61, 62]
    ahead = lines(service, bundle, time="2026-11-29T01:01:00Z", count=1, utc_offset=60)
    assert [line["number"] for line in ahead["lines"]] == [61]
    assert found["lines"][0]["level"] in ("information", "error")


def test_a_screen_of_lines_is_one_read_that_says_the_file_and_the_bytes(
    service: Service, bundle: str
) -> None:
    found = lines(service, bundle, line=1, count=5)
    (opened,) = service.entries(bundle=bundle, action="bundle.opened")
    (ended,) = service.entries(bundle=bundle, action="bundle.read-ended")
    assert opened["particulars"]["file"] == "cbs.log"
    assert (ended["outcome"], ended["details"]["bytes"]) == (
        "success",
        sum(line["size"] for line in found["lines"]),
    )


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ({"line": 301}, 422, "line 301 was asked for, the file has 300"),
        ({"time": "2027-01-01T00:00:00Z"}, 422, "from 2027-01-01"),
        ({"line": 1, "tail": "true"}, 422, "one of line, tail and time"),
        ({"encoding": "utf-7"}, 422, "encoding"),
        ({"count": 1001}, 422, "count"),
    ],
)
def test_lines_that_are_not_there_are_one_clear_error(
    service: Service, bundle: str, query: dict[str, Any], status: int, says: str
) -> None:
    response = service.call("GET", f"/bundles/{bundle}/lines/cbs.log", ENGINEER, query_string=query)
    assert response.status_code == status
    assert says in response.get_json()["detail"]
    opened = service.entries(bundle=bundle, action="bundle.opened")
    ended = service.entries(bundle=bundle, action="bundle.read-ended")
    assert len(opened) == len(ended)  # whatever was opened is closed
    assert all(entry["reason"] == "invalid" for entry in ended)


def test_a_search_goes_through_every_file_also_nested_and_in_any_encoding(
    service: Service, bundle: str
) -> None:
    told = search(service, bundle, pattern="error", ignore_case=True, words=True)
    wanted = [8, 58, 108, 158, 208, 258]
    assert matches(told) == [
        *(("cbs.log", n) for n in wanted),
        *(("wide.log", n) for n in wanted),
        ("in.zip!/deep.log", 1),
    ]
    assert told[-1] == {"end": {"why": "complete", "found": 13, "go_on": None}}
    assert told[0]["match"]["spans"] == [[21, 26]]
    (opened,) = service.entries(bundle=bundle, action="bundle.opened")
    assert opened["particulars"]["search"] == "error"
    (ended,) = service.entries(bundle=bundle, action="bundle.read-ended")
    assert ended["outcome"] == "success"
    assert ended["details"]["bytes"] == sum(one["match"]["size"] for one in told if "match" in one)


def test_a_search_takes_context_one_file_a_filter_and_a_time_window(service: Service, bundle: str) -> None:
    told = search(service, bundle, pattern="Error", file="cbs.log", before=1, after=1, most=1)
    assert [(next(iter(one)), *[v["number"] for v in one.values() if "number" in v]) for one in told[:3]] == [
        ("context", 7),
        ("match", 8),
        ("context", 9),
    ]
    assert matches(search(service, bundle, pattern="Error", files="DEEP.*")) == [("in.zip!/deep.log", 1)]
    window = {"since": "2026-11-29T02:01:00Z", "until": "2026-11-29T02:02:00Z"}
    assert matches(search(service, bundle, pattern="Error", file="cbs.log", **window)) == [("cbs.log", 108)]


def test_a_bounded_search_goes_on_where_it_ended(service: Service, bundle: str) -> None:
    seen: list[tuple[str | None, int]] = []
    begin = None
    for _ in range(10):
        told = search(service, bundle, pattern="Error", most=4, **({"begin": begin} if begin else {}))
        seen += matches(told)
        begin = told[-1]["end"]["go_on"]
        if begin is None:
            break
    assert seen == matches(search(service, bundle, pattern="Error"))


def test_a_search_that_takes_too_long_says_where_to_go_on(
    service: Service, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_route, "SECONDS", -1.0)
    end = search(service, bundle, pattern="Error")[-1]["end"]
    assert end == {
        "why": "stopped",
        "found": 6,
        "go_on": {"file": "wide.log", "offset": 0, "line": 1, "continues": False, "seen": None},
    }
    monkeypatch.undo()
    assert len(matches(search(service, bundle, pattern="Error", begin=end["go_on"]))) == 7


def test_each_call_gets_further_however_long_it_takes_to_come_to_its_place(
    service: Service, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_route, "SECONDS", -1.0)
    seen: list[tuple[str | None, int]] = []
    begin: Any = None
    for _ in range(20):
        told = search(service, bundle, pattern="Error", **({"begin": begin} if begin else {}))
        seen += matches(told)
        begin = told[-1]["end"]["go_on"]
        if begin is None:
            break
    assert begin is None
    assert len(seen) == 13


def test_a_plain_bundle_is_searched_as_the_one_file_that_it_is(service: Service) -> None:
    bundle = service.complete(RAW, filename="cbs.log")
    service.grant()
    assert matches(search(service, bundle, pattern="line 299$")) == [(None, 300)]


@pytest.mark.parametrize(
    ("asked", "status", "says"),
    [
        ({"pattern": "(a"}, 422, "missing"),
        ({"pattern": "a", "file": "none.log"}, 404, "no file of that name"),
        ({"pattern": "a", "file": "a", "files": "b"}, 422, "one of file and files"),
        ({"pattern": "a", "begin": {"file": "gone", "offset": 0, "line": 1}}, 404, "no file of that name"),
    ],
)
def test_a_search_that_cannot_be_is_one_clear_error(
    service: Service, bundle: str, asked: dict[str, Any], status: int, says: str
) -> None:
    response = service.call("POST", f"/bundles/{bundle}/search", ENGINEER, json=asked)
    assert (response.status_code, says in response.get_json()["detail"]) == (status, True), response.data
    assert len(service.entries(bundle=bundle, action="bundle.opened")) == len(
        service.entries(bundle=bundle, action="bundle.read-ended")
    )


def test_lines_and_searching_need_a_grant_as_the_content_does(service: Service) -> None:
    bundle = service.complete(zip_of({"a.log": b"a"}))
    for who, reason in ((ENGINEER, "no-grant"), (OPERATOR, "not-an-engineer")):
        shown = service.call("GET", f"/bundles/{bundle}/lines/a.log", who)
        found = service.call("POST", f"/bundles/{bundle}/search", who, json={"pattern": "a"})
        assert [shown.get_json()["reason"], found.get_json()["reason"]] == [reason, reason]


def test_a_search_ends_with_its_grant(service: Service, bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = text_route.search_bundle

    def slow(*asked: Any, **more: Any) -> Any:
        for number, found in enumerate(real(*asked, **more)):
            if number == 2:
                service.advance(timedelta(hours=25))
            yield found

    monkeypatch.setattr(text_route, "search_bundle", slow)
    response = service.call("POST", f"/bundles/{bundle}/search", ENGINEER, json={"pattern": "Error"})
    assert b'"end"' not in response.data
    (ended,) = service.entries(bundle=bundle, action="bundle.read-ended")
    assert (ended["outcome"], ended["reason"]) == ("failed", "grant-expired")


def test_what_was_searched_for_goes_with_the_bundle(service: Service, bundle: str) -> None:
    search(service, bundle, pattern="contoso-secret-id")
    service.done("POST", f"/bundles/{bundle}/erasures", OPERATOR, json={})
    service.tick()
    assert all(not entry["particulars"] for entry in service.entries(bundle=bundle, action="bundle.opened"))


def test_a_search_whose_caller_leaves_stops_and_its_entry_says_so(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = service.complete(zip_of({f"{n}.log": b"Error here\n" * 5000 for n in range(50)}))
    service.grant()
    opened: list[str] = []
    real = file_text.walk_files

    def counted(source: Any, name: str) -> Any:
        for walked in real(source, name):
            opened.append(walked.file.key)
            yield walked

    monkeypatch.setattr(file_text, "walk_files", counted)
    response = service.call(
        "POST", f"/bundles/{bundle}/search", ENGINEER, json={"pattern": "Error"}, buffered=False
    )
    assert b'"match"' in next(iter(response.response))
    response.close()
    assert opened == ["0.log"]
    (ended,) = service.entries(bundle=bundle, action="bundle.read-ended")
    assert (ended["outcome"], ended["reason"]) == ("failed", "cut")


def test_a_damaged_file_is_named_and_the_search_goes_on_under_its_entry(service: Service) -> None:
    files = {
        "a.log": b"Error a",
        "bad.zip": b"PK\x03\x04" + bytes(20),
        "cut.log": b"x" * 500,
        "z.log": b"Error z",
    }
    data = bytearray(zip_of(files))
    place = data.index(b"cut.log") + len("cut.log") + 3
    data[place] ^= 0xFF  # in its packed bytes
    bundle = service.complete(bytes(data))
    service.grant()
    told = search(service, bundle, pattern="Error")
    assert matches(told) == [("a.log", 1), ("z.log", 1)]
    unread = {one["file"]["file"] for one in told if one.get("file", {}).get("unread")}
    assert unread == {"bad.zip", "cut.log"}
    (ended,) = service.entries(bundle=bundle, action="bundle.read-ended")
    assert (ended["outcome"], ended.get("reason"), ended["details"]["bytes"]) == ("success", None, 14)
    one = service.call(
        "POST", f"/bundles/{bundle}/search", ENGINEER, json={"pattern": "x", "file": "cut.log"}
    )
    assert one.status_code == 422
    assert service.entries(bundle=bundle, action="bundle.read-ended")[0]["reason"] == "not-readable"


def test_lines_before_a_line_are_as_many_as_were_asked_for(service: Service, bundle: str) -> None:
    found = lines(service, bundle, line=100, before=2, count=3)
    assert [line["number"] for line in found["lines"]] == [98, 99, 100, 101, 102]
    first = lines(service, bundle, line=1, before=2, count=2)
    assert [line["number"] for line in first["lines"]] == [1, 2]


def test_reading_on_gets_past_a_line_that_fills_a_screen(service: Service) -> None:
    bundle = service.complete(zip_of({"one.json": b"x" * (3 << 20) + b"\nsecond\n"}))
    service.grant()
    first = lines(service, bundle, "one.json", line=1)
    assert first["lines"][-1]["cut"] and first["next"] == 2
    after = lines(service, bundle, "one.json", line=2)
    assert [line["text"] for line in after["lines"]] == ["second"] and after["next"] is None


def test_lines_before_are_bounded_in_bytes_too(service: Service) -> None:
    long = b"".join(b"2026-03-01 02:00:%02d " % (n % 60) + b"y" * 60_000 + b"\n" for n in range(100))
    bundle = service.complete(zip_of({"a.log": long + b"2026-03-01 03:00:00 here\n"}))
    service.grant()
    found = lines(service, bundle, "a.log", time="2026-03-01T03:00:00Z", before=100)["lines"]
    assert found[-1]["text"].endswith("here") and 1 < len(found) < 20
    assert sum(line["size"] for line in found) <= file_lines.MOST_BYTES


def test_a_line_past_the_end_is_an_error_also_with_lines_before_it(service: Service) -> None:
    bundle = service.complete(zip_of({"ten.log": b"line\n" * 10}))
    service.grant()
    path = f"/bundles/{bundle}/lines/ten.log"
    answer = service.call("GET", path, ENGINEER, query_string={"line": 15, "before": 10})
    assert answer.status_code == 422


def test_looking_for_lines_ends_in_time_and_says_so(
    service: Service, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_route, "SECONDS", -1.0)
    monkeypatch.setattr(file_lines, "CHECKED", 1)
    answer = service.call("GET", f"/bundles/{bundle}/lines/cbs.log", ENGINEER, query_string={"tail": True})
    assert answer.status_code == 422 and "takes too long" in answer.json["detail"]


@pytest.mark.parametrize("named", ["*.none", "*.log"])
def test_a_search_stops_in_time_also_where_there_is_nothing_to_search(
    service: Service, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    inner = {f"{n}.zip": zip_of({"a.log": b""}) for n in range(30)}
    bundle = service.complete(zip_of({**inner, "last.log": b"x\n"}))
    service.grant()
    monkeypatch.setattr(text_route, "SECONDS", -1.0)
    calls, place, found = 0, None, list[tuple[str | None, int]]()
    while True:
        more = {} if place is None else {"begin": place}
        told = search(service, bundle, pattern="x", files=named, **more)
        found, calls = found + matches(told), calls + 1
        place = told[-1]["end"]["go_on"]
        if place is None:
            break
        assert told[-1]["end"]["why"] == "stopped" and calls < 100
    assert calls > 10 and found == ([("last.log", 1)] if named == "*.log" else [])


def test_a_search_of_an_archive_that_was_cut_finds_what_is_there_and_says_why_it_ends(
    service: Service,
) -> None:
    whole = zip_of({"a.log": b"x here\n", "b.log": b"none\n"})
    bundle = service.complete(whole[: whole.index(b"PK\x01\x02")])
    service.grant()
    told = search(service, bundle, pattern="x")
    assert matches(told) == [("a.log", 1)] and told[-1]["end"]["why"] == "complete"
    assert [one["file"]["unread"] for one in told if one.get("file", {}).get("unread")] != []


def test_a_search_decodes_a_packed_bundle_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {f"{n}.log": bytes([65 + n % 26]) * 50_000 + b"\n" for n in range(60)}
    bundle = service.complete(tgz_of(content), filename="a.tar.gz")
    service.grant()
    spent: list[int] = []
    spend = Work.spend
    monkeypatch.setattr(Work, "spend", lambda work, size: spent.append(size) or spend(work, size))
    assert matches(search(service, bundle, pattern="QQQ")) == [("16.log", 1), ("42.log", 1)]
    assert sum(spent) < 2 * 60 * 50_001
