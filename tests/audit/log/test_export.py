from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.entry import Action, Entry, Outcome, canonical
from audit.log.append import append, redact
from audit.log.export import CSV_HEADER, EXPORTS
from audit.log.query import Filter, iterate

MakeEntry = Callable[..., Entry]
MakeLog = Callable[[], Any]


def export(log: Any, form: str) -> str:
    with log.engine.connect() as connection:
        return "".join(EXPORTS[form](iterate(lambda: nullcontext(connection), Filter())))


def put(log: Any, *entries: Entry) -> None:
    with log.engine.begin() as connection:
        append(connection, entries)


def test_a_json_line_rebuilds_the_leaf_and_checks_its_particulars(log: Any, make_entry: MakeEntry) -> None:
    entries = [make_entry(1, particulars={"name": "Zo\u00eb \u2028 \U0001f600"}), make_entry(2)]
    put(log, *entries)
    log.sequence()
    with log.engine.begin() as connection:
        redact(connection, "entry-2", datetime(2027, 1, 1, tzinfo=UTC))
    first, second = [json.loads(line) for line in export(log, "jsonl").split("\n")[:-1]]
    assert [canonical(line["entry"]) for line in (first, second)] == [entry.leaf() for entry in entries]
    bound = hashlib.sha256(bytes.fromhex(first["salt"]) + canonical(first["particulars"])).hexdigest()
    assert bound == first["entry"]["particulars"]
    assert (first["leaf_index"], first["redacted_at"]) == (0, None)
    assert (second["particulars"], second["salt"]) == (None, None)
    assert second["redacted_at"] == "2027-01-01T00:00:00.000000Z"


def test_csv_is_rfc_4180_with_a_header(log: Any, make_entry: MakeEntry) -> None:
    put(log, make_entry(1, particulars={"note": 'a "quoted", broken\nline'}))
    text = export(log, "csv")
    assert text.startswith(",".join(CSV_HEADER) + "\r\n") and text.endswith("\r\n")
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["id"], row["case"], row["leaf_index"]) == ("entry-1", "case-1", "")
    assert json.loads(row["particulars"]) == {"note": 'a "quoted", broken\nline'}
    assert json.loads(row["details"]) == {"size": 1}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["", " ", "\t", "\r", "\n", "\u00a0"]),
    st.sampled_from("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8),
)
def test_no_cell_starts_a_formula(
    make_log: MakeLog, make_entry: MakeEntry, space: str, start: str, rest: str
) -> None:
    log = make_log()
    text = space + start + rest
    put(log, make_entry(1, actor=text, subject=text, reason=text))
    (row,) = csv.DictReader(io.StringIO(export(log, "csv"), newline=""))
    for name in ("actor", "subject", "reason"):
        assert row[name] == "'" + text


# From the OCSF 1.8.0 schema: what each class requires beside the base event, and its activities.
OCSF_CLASSES: dict[int, tuple[int, str, set[str], range]] = {
    3002: (3, "Authentication", {"user"}, range(1, 8)),
    3004: (3, "Entity Management", {"entity"}, range(1, 14)),
    3005: (3, "User Access Management", {"user", "privileges"}, range(1, 3)),
    6003: (6, "API Activity", {"actor", "api", "src_endpoint"}, range(1, 5)),
    6005: (6, "Datastore Activity", {"actor", "src_endpoint"}, range(1, 11)),
}
BASE = {"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"}
AT_LEAST_ONE = {3002: {"service", "dst_endpoint"}, 6005: {"database", "databucket", "table"}}
OBJECTS: dict[str, set[str]] = {
    "metadata": {"product", "version"},
    "api": {"operation"},
    "databucket": {"type_id"},
}
OBJECTS_AT_LEAST_ONE = {
    "entity": {"name", "uid"},
    "user": {"name", "uid"},
    "databucket": {"name", "uid"},
    "src_endpoint": {"ip", "name", "uid"},
    "actor": {"user"},
}


@pytest.mark.parametrize("particulars", [{}, {"ip": "192.0.2.7", "name": "Ada"}])
@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("action", list(Action))
def test_every_action_has_what_its_ocsf_class_requires(
    log: Any, make_entry: MakeEntry, action: Action, bare: bool, particulars: dict[str, str]
) -> None:
    ids: dict[str, Any] = (
        {"case": None, "bundle": None, "tenant": None, "details": {}} if bare else {"subject": "s1"}
    )
    put(log, make_entry(1, action=action, particulars=particulars, **ids))
    event = json.loads(export(log, "ocsf"))
    category, _, required, activities = OCSF_CLASSES[event["class_uid"]]
    assert required | BASE <= event.keys()
    assert event["category_uid"] == category
    assert event["activity_id"] in activities
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert AT_LEAST_ONE.get(event["class_uid"], set(event)) & event.keys()
    for name, members in OBJECTS.items():
        assert name not in event or members <= event[name].keys()
    for name, members in OBJECTS_AT_LEAST_ONE.items():
        assert name not in event or members & event[name].keys()
    assert event["metadata"]["version"] == "1.8.0"
    assert event["metadata"]["uid"] == "entry-1"
    assert event["time"] == 1795167001000
    assert event["actor"]["user"]["uid"] == "actor-1"


@pytest.mark.parametrize(
    ("outcome", "status", "severity"),
    [(Outcome.SUCCESS, 1, 1), (Outcome.REFUSED, 2, 2), (Outcome.FAILED, 2, 3)],
)
def test_refused_and_failed_acts_are_failures(
    log: Any, make_entry: MakeEntry, outcome: Outcome, status: int, severity: int
) -> None:
    put(log, make_entry(1, outcome=outcome, reason="not-assigned"))
    event = json.loads(export(log, "ocsf"))
    assert (event["status_id"], event["severity_id"]) == (status, severity)
    assert event["status_code"] == "not-assigned"


def test_the_user_of_an_assignment_is_the_one_assigned(log: Any, make_entry: MakeEntry) -> None:
    put(log, make_entry(1, action=Action.CASE_ASSIGNED, subject="engineer-9", bundle=None))
    event = json.loads(export(log, "ocsf"))
    assert event["user"] == {"uid": "engineer-9"}
    assert event["actor"]["user"]["uid"] == "actor-1"
    assert event["resources"] == [{"uid": "case-1", "type": "case"}]


@pytest.mark.parametrize("action", [Action.GRANT_GIVEN, Action.GRANT_REVOKED, Action.GRANT_ENDED])
def test_the_user_of_a_grant_that_another_gave_or_ended_is_its_engineer(
    log: Any, make_entry: MakeEntry, action: Action
) -> None:
    put(log, make_entry(1, action=action, subject="grant-1", details={"engineer": "engineer-9"}))
    event = json.loads(export(log, "ocsf"))
    assert event["user"] == {"uid": "engineer-9"}
    assert event["actor"]["user"]["uid"] == "actor-1"


def test_nothing_of_an_entry_is_lost_in_ocsf(log: Any, make_entry: MakeEntry) -> None:
    entry = make_entry(1, subject="grant-1", reason="why")
    put(log, entry)
    event = json.loads(export(log, "ocsf"))
    assert event["unmapped"] == {
        "case": "case-1",
        "bundle": "bundle-1",
        "subject": "grant-1",
        "reason": "why",
        "details": {"size": 1},
        "particulars": dict(entry.particulars),
    }
