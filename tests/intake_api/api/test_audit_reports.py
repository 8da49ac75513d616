"""The log for people: what its ids are called, who read a case, and which grants nobody used."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from audit.log.tables import audit_entries
from audit.times import rfc3339
from tests.service import (
    ADMINISTRATOR,
    AUDITOR,
    CASE,
    CASE_SYSTEM,
    COLLEAGUE,
    ENGINEER,
    OPERATOR,
    OTHER_OPERATOR,
    STAMP,
    Persona,
    Service,
)

REPORTS = (f"/audit/readers?case={CASE}", "/audit/unused-grants")
REASON = "looking into the failed update"


def read(service: Service, bundle: str, who: Persona = ENGINEER) -> None:
    assert service.call("GET", f"/bundles/{bundle}/content", who).status_code == 200


def items(service: Service, path: str, who: Persona = AUDITOR, **query: Any) -> list[dict[str, Any]]:
    return list(service.done("GET", path, who, query_string=query)["items"])


def test_an_entry_says_what_people_call_what_it_names(service: Service) -> None:
    bundle = service.complete(filename="node7.zip")
    service.grant()
    read(service, bundle)
    (opened,) = service.entries(action="bundle.opened")
    assert opened["named"] == {
        "actor": ENGINEER.subject,
        "case": CASE,
        "file_name": "node7.zip",
        "grant_reason": REASON,
    }
    (ended,) = service.entries(action="bundle.read-ended")
    assert ended["named"] == opened["named"]
    rules = service.entries(action="tenant.registered")[0]["named"]
    assert rules == {
        "actor": ADMINISTRATOR.subject,
        "case": None,
        "file_name": None,
        "grant_reason": None,
    }


def test_what_was_redacted_or_erased_has_no_name_any_more(service: Service) -> None:
    bundle = service.complete(filename="node7.zip")
    service.grant()
    read(service, bundle)
    (given,) = service.entries(action="grant.given")
    why = {"reason": "The reason names a patient"}
    service.done("POST", f"/audit/entries/{given['id']}/redact", ADMINISTRATOR, json=why)
    service.done("POST", f"/bundles/{bundle}/erasures", OPERATOR, json={})
    service.tick()
    service.done("DELETE", f"/cases/{CASE}/assignments?subject={ENGINEER.subject}", CASE_SYSTEM)
    service.done("POST", f"/audit/actors/{given['actor']}/redact", ADMINISTRATOR, json=why)
    (opened,) = service.entries(action="bundle.opened")
    assert opened["named"] == {"actor": None, "case": CASE, "file_name": None, "grant_reason": None}


def test_entries_are_found_by_who_acted_as_their_issuer_calls_them(service: Service) -> None:
    bundle = service.complete()
    service.grant()
    read(service, bundle)
    found = service.entries(actor=ENGINEER.subject, action="bundle.opened")
    assert [entry["bundle"] for entry in found] == [bundle]
    assert found == service.entries(actor=found[0]["actor"], action="bundle.opened")
    exported = service.call("GET", f"/audit/export?actor={ENGINEER.subject}&action=grant.given", AUDITOR)
    assert len(exported.get_data(as_text=True).splitlines()) == 1


@pytest.mark.parametrize(
    "path", ["/audit/entries", "/audit/export", "/audit/readers", "/audit/unused-grants"]
)
def test_somebody_without_an_entry_that_one_may_see_is_not_found(service: Service, path: str) -> None:
    """An empty list would say that they did nothing. Whom another customer knows shows to no operator."""
    service.grant()
    case = {"case": CASE} if path == "/audit/readers" else {}
    for who, name in ((AUDITOR, "enginere"), (OPERATOR, "nobody"), (OTHER_OPERATOR, ENGINEER.subject)):
        if who is OTHER_OPERATOR and case:
            continue
        response = service.call("GET", path, who, query_string={"actor": name, **case})
        assert response.status_code == 404, who
        assert "actor" in response.get_json()["detail"] and name in response.get_json()["detail"]
    assert (
        service.call("GET", path, OPERATOR, query_string={"actor": ENGINEER.subject, **case}).status_code
        == 200
    )


def test_who_read_a_case_is_told_by_person_and_grant_latest_first(service: Service) -> None:
    service.assign(COLLEAGUE)
    one, other = service.complete(), service.complete(b"other " * 50)
    grant = service.grant()
    for bundle in (one, one, other):
        read(service, bundle)
    first_at = service.clock.now()
    service.advance(timedelta(minutes=5))
    second = service.grant(COLLEAGUE)
    read(service, other, COLLEAGUE)
    latest, earlier = items(service, "/audit/readers", case=CASE)
    assert (latest["actor"], latest["grant"], latest["reads"], latest["bundles"]) == (
        COLLEAGUE.subject, second, 1, 1,
    )  # fmt: skip
    assert (earlier["actor"], earlier["grant"], earlier["reads"], earlier["bundles"]) == (
        ENGINEER.subject, grant, 3, 2,
    )  # fmt: skip
    assert earlier["reason"] == REASON and earlier["actor_id"].startswith("act_")
    assert earlier["first_at"] <= earlier["last_at"] <= rfc3339(first_at)
    since = rfc3339(service.clock.now() - timedelta(minutes=1))
    assert [one["actor"] for one in items(service, "/audit/readers", case=CASE, since=since)] == [
        COLLEAGUE.subject
    ]
    assert [one["grant"] for one in items(service, "/audit/readers", case=CASE, until=since)] == [grant]
    mine = items(service, "/audit/readers", case=CASE, actor=ENGINEER.subject)
    assert [one["grant"] for one in mine] == [grant]
    assert items(service, "/audit/readers", OPERATOR, case=CASE) == items(
        service, "/audit/readers", case=CASE
    )


def test_readers_come_in_pages(service: Service) -> None:
    bundle = service.complete()
    grants = []
    for _ in range(5):
        grants.append(service.grant())
        read(service, bundle)
        service.done("POST", f"/grants/{grants[-1]}/release", ENGINEER)
        service.advance(timedelta(seconds=1))
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        query = {"case": CASE, "limit": "2", **cursor}
        page = service.done("GET", "/audit/readers", AUDITOR, query_string=query)
        seen += [one["grant"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == grants[::-1]


def test_a_refused_read_made_nobody_a_reader(service: Service) -> None:
    bundle = service.complete()
    assert service.call("GET", f"/bundles/{bundle}/content", ENGINEER).status_code == 403
    assert items(service, "/audit/readers", case=CASE) == []


def test_a_grant_that_is_over_and_that_nothing_was_read_under_is_named(service: Service) -> None:
    bundle = service.complete()
    used = service.grant()
    read(service, bundle)
    service.done("POST", f"/grants/{used}/release", ENGINEER)
    released = service.grant()
    service.done("POST", f"/grants/{released}/release", ENGINEER)
    expires = service.grant(minutes=30)
    assert [one["grant"] for one in items(service, "/audit/unused-grants")] == [released], "one is live still"
    service.advance(timedelta(minutes=31))
    latest, earlier = items(service, "/audit/unused-grants", case=CASE)
    assert [latest["grant"], earlier["grant"]] == [expires, released]
    assert (latest["case"], latest["actor"], latest["reason"]) == (CASE, ENGINEER.subject, REASON)
    assert (latest["end_cause"], earlier["end_cause"]) == ("expired", "released")
    assert latest["ended_at"] == latest["expires_at"]
    assert earlier["ended_at"] < earlier["expires_at"]
    assert items(service, "/audit/unused-grants", OTHER_OPERATOR) == []
    assert len(items(service, "/audit/unused-grants", OPERATOR)) == 2
    later = rfc3339(service.clock.now())
    assert items(service, "/audit/unused-grants", since=later) == []


@pytest.mark.parametrize("path", REPORTS)
@pytest.mark.parametrize("who", [ADMINISTRATOR, CASE_SYSTEM, ENGINEER, STAMP])
def test_reports_are_for_those_who_see_the_log_and_a_refusal_is_in_it(
    service: Service, who: Persona, path: str
) -> None:
    response = service.call("GET", path, who)
    assert (response.status_code, response.get_json()["reason"]) == (403, "role-missing")
    assert service.entries(action="audit.queried", outcome="refused")


def test_another_customers_case_has_no_readers_to_tell_of(service: Service) -> None:
    response = service.call("GET", f"/audit/readers?case={CASE}", OTHER_OPERATOR)
    assert (response.status_code, response.get_json()["detail"].startswith("there is no case")) == (404, True)


def test_asking_for_a_report_is_an_entry_with_what_was_asked_for(service: Service) -> None:
    service.complete()
    service.grant()
    service.done("GET", "/audit/unused-grants", AUDITOR)
    service.done("GET", f"/audit/readers?case={CASE}&actor={ENGINEER.subject}", OPERATOR)
    readers, unused = service.entries(action="audit.queried", outcome="success")[:2]
    assert readers["details"] == {"entries": 0, "report": "readers"}
    assert {name: value for name, value in readers["particulars"].items() if name.startswith("asked_")} == {
        "asked_case": CASE,
        "asked_actor": actor_id(service),
    }
    assert readers.get("tenant") is not None, "the customer sees that their own operator asked"
    assert unused["details"] == {"entries": 0, "report": "unused-grants"}


def actor_id(service: Service) -> str:
    """The engineer's, by the entry of their grant."""
    (granted,) = service.entries(action="grant.given")
    return str(granted["actor"])


@pytest.mark.parametrize(
    "path", ["/audit/entries?actor=", "/audit/readers?case=1&actor=", "/audit/export?actor="]
)
def test_whoever_is_asked_about_stands_in_no_entry_by_name(service: Service, path: str) -> None:
    """They may be forgotten, and what an auditor once asked would name them still."""
    service.complete()
    service.grant()
    for asked in (ENGINEER.subject, "nobody@example.com"):
        service.call("GET", path.replace("case=1", f"case={CASE}") + asked, AUDITOR)
    looks = audit_entries.c.action.in_(["audit.queried", "audit.exported", "request.failed"])
    with service.custody.records.read() as reads:
        held = reads.execute(select(audit_entries.c.particulars).where(looks)).scalars().all()
    assert len(held) >= 2
    assert [one for one in held if one and (ENGINEER.subject in one or "nobody@" in one)] == []


def test_a_redacted_entry_shows_the_number_of_its_case_and_no_other_name(service: Service) -> None:
    service.complete()
    (made,) = service.entries(action="upload.created")
    assert made["named"]["file_name"] and made["named"]["actor"]
    redacted = {"reason": "the file name names a patient"}
    service.done("POST", f"/audit/entries/{made['id']}/redact", ADMINISTRATOR, json=redacted)
    (made,) = service.entries(action="upload.created")
    assert made["named"] == {"actor": None, "case": CASE, "file_name": None, "grant_reason": None}
