"""Event logs as events: by what was written in them, each call one read in the log, whatever is damaged."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from intake_api.api.routes import events as events_route
from intake_api.api.routes import text as text_route
from retention.archive import CHILDREN
from retention.archive.limits import PROCESS
from retention.custody.reading import event_logs
from retention.text.events import PLACES
from tests.retention.archive.making import zip_of
from tests.retention.event_logs.making import (
    BEGAN,
    CHUNK,
    DIRTY,
    FULL,
    HEADER,
    Made,
    chunk_of,
    header_of,
    log_of,
)
from tests.service import ENGINEER, OPERATOR, Service

CLUSTER = "Microsoft-Windows-FailoverClustering"
FIRST = [Made(n) for n in range(1, 41)]
SECOND = [
    Made(41, level=1, provider=CLUSTER, id=1135, data=(("NodeName", "node-7"), ("Detail", "removed"))),
    Made(42, level=2, provider=CLUSTER, id=1069, data=(("ResourceName", "CSV3"),)),
    Made(43, level=3, id=7000),
    Made(44, level=5, id=1),
    Made(45, level=0, id=4624, channel="Security"),
]
LOG = log_of(FIRST, SECOND, unused=2)


@pytest.fixture
def bundle(service: Service) -> str:
    files = {"System.evtx": LOG, "in.zip": zip_of({"deep.evtx": LOG}), "a.log": b"not one\n" * 1000}
    found = service.complete(zip_of(files))
    service.grant()
    return found


def told(service: Service, bundle: str, path: str = "System.evtx", **asked: Any) -> list[dict[str, Any]]:
    response = service.call("POST", f"/bundles/{bundle}/events/{path}", ENGINEER, json=asked)
    assert (response.status_code, response.content_type) == (200, "application/jsonl"), response.data
    return [json.loads(line) for line in response.data.splitlines()]


def records(lines: list[dict[str, Any]]) -> list[int]:
    return [one["event"]["record"] for one in lines if "event" in one]


def damaged(lines: list[dict[str, Any]]) -> list[int]:
    return [one["damaged"]["chunk"] for one in lines if "damaged" in one]


def of(service: Service, data: bytes) -> str:
    bundle = service.complete(zip_of({"System.evtx": data}))
    service.grant()
    return bundle


@pytest.mark.parametrize("path", ["System.evtx", "in.zip!/deep.evtx"])
def test_all_events_of_a_log_are_shown_in_the_order_of_the_file(
    service: Service, bundle: str, path: str
) -> None:
    lines = told(service, bundle, path)
    assert lines[0] == {"log": {"chunks": 2, "dirty": False, "full": False}}
    assert records(lines) == [*range(1, 46)] and damaged(lines) == []
    assert lines[-1] == {"end": {"why": "complete", "found": 45, "go_on": None}}
    assert lines[41]["event"] == {
        "place": PLACES,
        "record": 41,
        "time": "2026-11-29T02:00:41.000000Z",
        "level": "critical",
        "provider": CLUSTER,
        "id": 1135,
        "computer": "node-7",
        "channel": "System",
        "data": [["NodeName", "node-7"], ["Detail", "removed"]],
    }
    assert [one["event"]["level"] for one in lines[42:46]] == ["error", "warning", "debug", "information"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"level": "error"}, [41, 42]),
        ({"level": "warning", "provider": "service control*"}, [43]),
        ({"provider": CLUSTER.lower()}, [41, 42]),
        ({"ids": [1069, 4624]}, [42, 45]),
        ({"since": "2026-11-29T02:00:42Z", "until": "2026-11-29T02:00:44Z"}, [42, 43]),
        ({"pattern": "csv3", "ignore_case": True}, [42]),
        ({"pattern": "csv3"}, []),
        ({"pattern": r"^NodeName=node-\d$"}, [41]),
        ({"pattern": r"\ANodeName=node-\d\z"}, [41]),
        ({"pattern": "node-.", "literal": True}, []),
        ({"pattern": "remove", "words": True}, []),
        ({"pattern": "Security", "level": "information"}, [45]),
    ],
)
def test_events_are_found_by_level_provider_id_time_and_text(
    service: Service, bundle: str, asked: dict[str, Any], found: list[int]
) -> None:
    assert records(told(service, bundle, **asked)) == found


def test_an_event_comes_with_its_xml_when_it_is_asked_for(service: Service, bundle: str) -> None:
    lines = told(service, bundle, begin=PLACES + 1, most=1, xml=True)
    assert records(lines) == [42]
    assert '<Data Name="ResourceName">CSV3</Data>' in lines[1]["event"]["xml"]


def test_a_read_of_events_is_one_read_that_says_the_file_the_pattern_and_the_bytes(
    service: Service, bundle: str
) -> None:
    told(service, bundle, pattern="CSV3")
    (opened,) = service.entries(bundle=bundle, action="bundle.opened")
    (ended,) = service.entries(bundle=bundle, action="bundle.read-ended")
    assert (opened["particulars"]["file"], opened["particulars"]["search"]) == ("System.evtx", "CSV3")
    assert ended["outcome"] == "success" and ended["details"]["bytes"] > len("CSV3")
    service.done("POST", f"/bundles/{bundle}/erasures", OPERATOR, json={})
    service.tick()
    assert all(not entry["particulars"] for entry in service.entries(bundle=bundle, action="bundle.opened"))


@pytest.mark.parametrize("most", [1, 7, 44, 45])
def test_bounded_reads_go_on_to_the_end_and_show_each_event_once(
    service: Service, bundle: str, most: int
) -> None:
    seen, begin, ends = list[int](), 0, list[str]()
    while begin is not None:
        lines = told(service, bundle, begin=begin, most=most)
        seen += records(lines)
        ends.append(lines[-1]["end"]["why"])
        begin = lines[-1]["end"]["go_on"]
    assert seen == [*range(1, 46)]
    assert ends == ["enough"] * ((45 - 1) // most) + ["complete"]


def test_a_read_that_takes_too_long_says_where_to_go_on_and_each_gets_further(
    service: Service, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_route, "SECONDS", -1.0)
    monkeypatch.setattr(event_logs, "_STEP", 1000)
    seen, begin, calls = list[int](), 0, 0
    while begin is not None:
        lines = told(service, bundle, begin=begin)
        seen += records(lines)
        begin, calls = lines[-1]["end"]["go_on"], calls + 1
        assert calls < 100
    assert seen == [*range(1, 46)] and calls > 3


def test_a_damaged_chunk_is_named_and_the_others_are_shown(service: Service) -> None:
    flipped = bytearray(chunk_of(FIRST[:5]))
    flipped[600] ^= 1
    data = b"".join(
        (header_of(4), chunk_of(FIRST[5:8]), b"\1" * CHUNK, bytes(flipped), chunk_of(SECOND), b"ElfChnk\0cut")
    )
    lines = told(service, of(service, data))
    assert sorted(set(damaged(lines))) == [1, 2, 4]
    why = dict[int, str]()
    for one in [one["damaged"] for one in lines if "damaged" in one]:
        why.setdefault(one["chunk"], one["why"])
    assert "does not begin" in why[1] and "checksum" in why[2] and "ends 11 bytes into it" in why[4]
    assert records(lines)[:3] == [6, 7, 8] and records(lines)[-5:] == [41, 42, 43, 44, 45]
    assert lines[-1]["end"]["why"] == "complete"
    offsets = {one["damaged"]["offset"] for one in lines if "damaged" in one}
    assert offsets == {HEADER + number * CHUNK for number in (1, 2, 4)}


def test_a_record_that_cannot_be_read_costs_itself_alone(service: Service) -> None:
    chunk = bytearray(chunk_of(FIRST[:5]))
    second = chunk.index(b"**\0\0", 600)
    chunk[second + 24 : second + 40] = b"\xff" * 16
    lines = told(service, of(service, header_of(1) + bytes(chunk)))
    assert records(lines) == [1, 3, 4, 5]
    whys = [one["damaged"]["why"] for one in lines if "damaged" in one]
    assert len(whys) == 2 and whys[1] == "1 of its records cannot be read"


def test_a_chunk_that_takes_the_child_with_it_costs_itself_alone(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child is one that dies, or lies, when it sees a certain record: no sample is known that makes it."""
    bad = event_logs.Kind("tests.retention.event_logs.bad_child", memory=64 << 20, step_s=3.0)
    monkeypatch.setattr(event_logs, "PARSER", bad)
    kinds = ["abort", "silence", "nonsense", "endless", "place", "again", "much", "round"]
    chunks = [[Made(n, provider=kind), Made(n + 1)] for n, kind in zip(range(1, 99, 2), kinds, strict=False)]
    lines = told(service, of(service, log_of(*chunks, [Made(90)])))
    assert damaged(lines) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert "too much time" in [one["damaged"]["why"] for one in lines if "damaged" in one][7]
    assert records(lines) == [70, 90] and lines[-1]["end"]["why"] == "complete", "70 is there once"
    assert CHILDREN.living == 0


def test_a_dirty_or_full_log_says_so_and_chunks_past_its_header_are_shown(service: Service) -> None:
    data = header_of(1, DIRTY | FULL) + chunk_of(SECOND) + chunk_of(FIRST)
    lines = told(service, of(service, data))
    assert lines[0]["log"] == {"chunks": 1, "dirty": True, "full": True}
    assert records(lines) == [41, 42, 43, 44, 45, *range(1, 41)], "a circular log is in the order of its file"


@pytest.mark.parametrize("data", [header_of(0), header_of(1) + chunk_of([]), log_of(unused=3)])
def test_an_empty_log_has_no_events_and_no_fault(service: Service, data: bytes) -> None:
    lines = told(service, of(service, data))
    assert records(lines) == [] and damaged(lines) == []
    assert lines[-1]["end"] == {"why": "complete", "found": 0, "go_on": None}


def test_a_header_whose_checksum_does_not_hold_is_named(service: Service) -> None:
    data = bytearray(LOG)
    data[24] ^= 1
    lines = told(service, of(service, bytes(data)))
    assert damaged(lines) == [None] and len(records(lines)) == 45


def test_an_event_without_a_time_is_shown_and_is_in_no_window(service: Service) -> None:
    log = log_of([Made(1)]).replace("SystemTime".encode("utf-16-le"), "SystemTimf".encode("utf-16-le"))
    bundle = of(service, log)
    (event,) = [one["event"] for one in told(service, bundle) if "event" in one]
    assert event["time"] is None and event["record"] == 1
    assert records(told(service, bundle, since="1990-01-01T00:00:00Z")) == []


@pytest.mark.parametrize("stamp", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "now"])
def test_a_time_that_cannot_be_is_none_and_costs_neither_its_event_nor_the_next_file(
    service: Service, stamp: str
) -> None:
    log = log_of([Made(1), Made(2, stamp=stamp), Made(3)])
    bundle = service.complete(zip_of({"System.evtx": log, "a.log": b"running\n"}))
    service.grant()
    lines = told(service, bundle)
    assert [one["event"]["time"] is None for one in lines if "event" in one] == [False, True, False]
    assert records(told(service, bundle, since="0900-01-01T00:00:00Z")) == [1, 3]
    assert found(search(service, bundle, pattern="running"))[-1] == ("a.log", 1)


@pytest.mark.parametrize(
    ("path", "asked", "status", "says"),
    [
        ("a.log", {}, 422, "not a Windows event log"),
        ("none.evtx", {}, 404, "no file of that name"),
        ("System.evtx", {"pattern": "(a"}, 422, "missing"),
        ("System.evtx", {"level": "bad"}, 422, "level"),
        ("System.evtx", {"most": 10_001}, 422, "most"),
        ("System.evtx", {"begin": -1}, 422, "begin"),
        ("System.evtx", {"other": 1}, 422, "other"),
        ("in.zip", {}, 422, "not a Windows event log"),
    ],
)
def test_what_cannot_be_is_one_clear_error_and_its_entry_is_closed(
    service: Service, bundle: str, path: str, asked: dict[str, Any], status: int, says: str
) -> None:
    response = service.call("POST", f"/bundles/{bundle}/events/{path}", ENGINEER, json=asked)
    assert (response.status_code, says in response.get_json()["detail"]) == (status, True), response.data
    assert len(service.entries(bundle=bundle, action="bundle.opened")) == len(
        service.entries(bundle=bundle, action="bundle.read-ended")
    )


def test_events_need_a_grant_as_the_content_does(service: Service) -> None:
    bundle = service.complete(zip_of({"System.evtx": LOG}))
    for who, reason in ((ENGINEER, "no-grant"), (OPERATOR, "not-an-engineer")):
        shown = service.call("POST", f"/bundles/{bundle}/events/System.evtx", who, json={})
        assert shown.get_json()["reason"] == reason


def test_a_read_of_events_ends_with_its_grant_and_leaves_no_child(
    service: Service, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = events_route.read_events

    def slow(*asked: Any, **more: Any) -> Any:
        for number, found in enumerate(real(*asked, **more)):
            if number == 3:
                service.advance(timedelta(hours=25))
            yield found

    monkeypatch.setattr(events_route, "read_events", slow)
    response = service.call("POST", f"/bundles/{bundle}/events/System.evtx", ENGINEER, json={})
    assert b'"end"' not in response.data and response.data.count(b'"event"') == 3
    (ended,) = service.entries(bundle=bundle, action="bundle.read-ended")
    assert (ended["outcome"], ended["reason"]) == ("failed", "grant-expired")
    assert (CHILDREN.living, PROCESS.held) == (0, 0)


def test_a_caller_that_leaves_stops_the_read_and_the_child(service: Service, bundle: str) -> None:
    response = service.call(
        "POST", f"/bundles/{bundle}/events/System.evtx", ENGINEER, json={}, buffered=False
    )
    assert b'"log"' in next(iter(response.response))
    response.close()
    (ended,) = service.entries(bundle=bundle, action="bundle.read-ended")
    assert (ended["outcome"], ended["reason"]) == ("failed", "cut")
    assert (CHILDREN.living, PROCESS.held) == (0, 0)


def search(service: Service, bundle: str, **asked: Any) -> list[dict[str, Any]]:
    response = service.call("POST", f"/bundles/{bundle}/search", ENGINEER, json=asked)
    assert response.status_code == 200, response.data
    return [json.loads(line) for line in response.data.splitlines()]


def found(lines: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(one["match"]["file"], one["match"]["number"]) for one in lines if "match" in one]


def test_a_search_looks_into_the_events_of_logs_and_says_record_place_time_and_level(
    service: Service, bundle: str
) -> None:
    lines = search(service, bundle, pattern=r"ResourceName=csv\d", ignore_case=True)
    assert found(lines) == [("System.evtx", 42), ("in.zip!/deep.evtx", 42)]
    match = lines[0]["match"]
    assert match["text"] == (
        f"2026-11-29T02:00:42.000000Z level=error provider={CLUSTER} id=1069 record=42 computer=node-7 "
        "channel=System ResourceName=CSV3"
    )
    assert (match["place"], match["time"]) == (PLACES + 1, "2026-11-29T02:00:42.000000Z")
    assert match["level"] == "error" and match["text"][slice(*match["spans"][0])] == "ResourceName=CSV3"
    (ended,) = service.entries(bundle=bundle, action="bundle.read-ended")
    assert ended["details"]["bytes"] == sum(one["match"]["size"] for one in lines if "match" in one)


def test_a_search_of_events_has_context_a_window_and_goes_on(service: Service, bundle: str) -> None:
    lines = search(service, bundle, pattern="CSV3", file="System.evtx", before=1, after=2)
    assert [(next(iter(one)), one[next(iter(one))].get("number")) for one in lines[:4]] == [
        ("context", 41),
        ("match", 42),
        ("context", 43),
        ("context", 44),
    ]
    window = {"since": "2026-11-29T02:00:10Z", "until": "2026-11-29T02:00:13Z"}
    assert [number for _, number in found(search(service, bundle, pattern="running", **window))] == [
        10,
        11,
        12,
    ] * 2
    seen, begin = list[tuple[str, int]](), None
    while True:
        more = {"begin": begin} if begin else {}
        lines = search(service, bundle, pattern="running", most=13, **more)
        seen, begin = seen + found(lines), lines[-1]["end"]["go_on"]
        if begin is None:
            break
    assert seen == found(search(service, bundle, pattern="running")) and len(seen) == 2 * 43


def test_a_search_goes_on_in_a_log_whatever_the_ids_of_its_records(service: Service) -> None:
    bundle = of(service, log_of([Made(number, time=BEGAN) for number in (2**60, 0, 2**63)]))
    seen, begin = list[tuple[str, int]](), None
    for _ in range(3):
        lines = search(service, bundle, pattern="running", most=1, **({"begin": begin} if begin else {}))
        seen, begin = seen + found(lines), lines[-1]["end"]["go_on"]
    assert [number for _, number in seen] == [2**60, 1, 2**63] and begin is None


def test_a_search_of_events_stops_in_time_and_each_call_gets_further(
    service: Service, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_route, "SECONDS", -1.0)
    monkeypatch.setattr(event_logs, "_STEP", 1000)
    seen, begin, calls = list[tuple[str, int]](), None, 0
    while calls == 0 or begin is not None:
        lines = search(service, bundle, pattern="running", **({"begin": begin} if begin else {}))
        seen, begin, calls = seen + found(lines), lines[-1]["end"]["go_on"], calls + 1
        assert calls < 200
    assert len(seen) == len(set(seen)) == 2 * 43


def test_a_search_names_what_is_damaged_in_a_log_and_goes_on(service: Service) -> None:
    cut = LOG[: HEADER + CHUNK] + b"\1" * CHUNK + chunk_of(SECOND)
    bundle = service.complete(zip_of({"a.evtx": cut, "b.evtx": LOG[:100], "c.log": b"CSV3\n"}))
    service.grant()
    lines = search(service, bundle, pattern="CSV3")
    assert found(lines) == [("a.evtx", 42), ("c.log", 1)] and lines[-1]["end"]["why"] == "complete"
    unread = [one["file"] for one in lines if one.get("file", {}).get("unread")]
    assert [one["file"] for one in unread] == ["a.evtx", "b.evtx"]
    assert (
        "chunk 1, 69632 bytes into it" in unread[0]["unread"] and "within its header" in unread[1]["unread"]
    )


def test_an_encoding_that_is_given_has_a_log_searched_as_text(service: Service, bundle: str) -> None:
    lines = search(service, bundle, pattern="ElfFile", file="System.evtx", encoding="windows-1252")
    assert found(lines) == [("System.evtx", 1)] and "place" not in lines[0]["match"]
    assert found(search(service, bundle, pattern="ElfFile", file="System.evtx")) == []


def test_a_bundle_that_is_an_event_log_itself_is_searched_by_its_events(service: Service) -> None:
    bundle = service.complete(LOG, filename="System.evtx")
    service.grant()
    lines = search(service, bundle, pattern="CSV3")
    assert [(one["match"]["file"], one["match"]["number"]) for one in lines if "match" in one] == [(None, 42)]
