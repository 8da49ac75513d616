"""Approval of access over HTTP: asked (202), answered with a note, withdrawn; the policy; who sees what."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.service import AUDITOR, CASE, COLLEAGUE, ENGINEER, OPERATOR, OTHER_OPERATOR, Persona, Service

REASON = "looking into the failed update"
ASKED = {"reason": REASON, "duration_minutes": 60}


def choose(service: Service, rule: str, **more: int) -> dict[str, Any]:
    chosen: dict[str, Any] = service.done("PUT", "/approval-policy", OPERATOR, json={"rule": rule, **more})
    return chosen


def ask(service: Service, who: Persona = ENGINEER) -> dict[str, Any]:
    answer = service.call("POST", f"/cases/{CASE}/grants", who, json=ASKED)
    assert answer.status_code == 202, answer.get_data(as_text=True)
    assert answer.json is not None
    assert answer.headers["Location"].endswith(f"/approvals/{answer.json['id']}")
    return dict(answer.json)


def test_a_grant_is_asked_for_given_with_a_note_read_under_and_withdrawn(service: Service) -> None:
    bundle = service.complete()
    choose(service, "ask")
    asked = ask(service)
    assert {"state": "asked", "grant": None, "live": False, "duration_minutes": 60}.items() <= asked.items()
    refused = service.call("GET", f"/bundles/{bundle}/content", ENGINEER)
    assert refused.json is not None and refused.json["reason"] == "no-grant"
    path = f"/approvals/{asked['id']}"
    given = service.done("POST", f"{path}/approve", OPERATOR, json={"note": "until tonight"})
    assert (given["state"], given["note"], given["live"]) == ("given", "until tonight", True)
    assert given["answered_by"] == OPERATOR.subject
    assert service.call("GET", f"/bundles/{bundle}/content", ENGINEER).status_code == 200
    grant = service.done("GET", f"/grants/{given['grant']}", ENGINEER)
    assert (grant["live"], grant["engineer"], grant["reason"]) == (True, ENGINEER.subject, REASON)
    seen = service.done("GET", path, ENGINEER)
    assert (seen["note"], seen["answered_by"]) == ("until tonight", None), (
        "who answered is the customer's to know"
    )
    withdrawn = service.done("POST", f"{path}/withdraw", OPERATOR, json={})
    assert (withdrawn["state"], withdrawn["live"]) == ("withdrawn", False)
    assert service.call("GET", f"/bundles/{bundle}/content", ENGINEER).status_code == 403
    again = service.call("POST", f"{path}/approve", OPERATOR, json={})
    assert again.status_code == 409 and again.json is not None
    assert again.json["reason"] == "approval-withdrawn"


def test_a_request_is_listed_by_state_and_case_for_whom_it_concerns(service: Service) -> None:
    service.assign(COLLEAGUE)
    choose(service, "ask")
    mine, theirs = ask(service), ask(service, COLLEAGUE)
    service.done("POST", f"/approvals/{theirs['id']}/decline", OPERATOR, json={"note": "call us first"})

    def listed(who: Persona, **query: str) -> list[str]:
        return [one["id"] for one in service.done("GET", "/approvals", who, query_string=query)["items"]]

    assert listed(OPERATOR, state="asked") == [mine["id"]]
    assert listed(AUDITOR, case=CASE) == [theirs["id"], mine["id"]]
    assert listed(COLLEAGUE) == [theirs["id"]]
    assert listed(OTHER_OPERATOR) == []
    for path in (f"/approvals/{mine['id']}", f"/approvals/{mine['id']}/approve"):
        method = "POST" if path.endswith("approve") else "GET"
        assert service.call(method, path, OTHER_OPERATOR, json={}).status_code == 404
    assert service.call("GET", "/approvals?state=forgotten", OPERATOR).status_code == 422


def test_asking_twice_says_which_request_waits(service: Service) -> None:
    choose(service, "ask")
    asked = ask(service)
    again = service.call("POST", f"/cases/{CASE}/grants", ENGINEER, json=ASKED)
    assert again.status_code == 409 and again.json is not None
    assert (again.json["reason"], again.json["approval"]) == ("asked-already", asked["id"])
    service.done("POST", f"/approvals/{asked['id']}/withdraw", ENGINEER, json={})
    ask(service)


def test_a_request_lapses_by_the_clock(service: Service) -> None:
    choose(service, "ask")
    asked = ask(service)
    service.advance(timedelta(days=4))
    assert service.done("GET", f"/approvals/{asked['id']}", OPERATOR)["state"] == "lapsed"
    service.tick()
    assert [entry["subject"] for entry in service.entries(action="approval.lapsed")] == [asked["id"]]


def test_a_policy_is_chosen_by_the_customer_and_shown_to_who_sees_the_case(service: Service) -> None:
    usual = {"rule": "see", "long_minutes": 480, "of": "default", "set_at": None, "asks": None}
    assert service.done("GET", "/approval-policy", OPERATOR) == usual
    chosen = choose(service, "own-cases", long_minutes=30)
    assert (chosen["rule"], chosen["long_minutes"], chosen["of"]) == ("own-cases", 30, "customer")
    of_case = f"/cases/{CASE}/approval-policy"
    seen = service.done("GET", of_case, ENGINEER)
    assert (seen["rule"], seen["of"], seen["asks"]) == ("own-cases", "customer", "longer")
    ask(service)
    own = service.done("PUT", of_case, OPERATOR, json={"rule": "see"})
    assert (own["rule"], own["of"]) == ("see", "case")
    assert service.done("GET", of_case, ENGINEER)["asks"] == "never"
    service.done("PUT", of_case, OPERATOR, json={"rule": "inherited"})
    assert service.done("GET", of_case, OPERATOR)["of"] == "customer"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/approval-policy", {"rule": "never"}, "rule"),
        ("/approval-policy", {}, "rule"),
        ("/approval-policy", {"rule": "inherited"}, "rule"),
        ("/approval-policy", {"rule": "ask", "long_minutes": 60}, "long_minutes"),
        (f"/cases/{CASE}/approval-policy", {"rule": "own-cases", "long_minutes": 14}, "long_minutes"),
        (f"/cases/{CASE}/approval-policy", {"rule": "own-cases", "long_minutes": 1441}, "long_minutes"),
    ],
)
def test_a_policy_that_means_nothing_is_refused(
    service: Service, path: str, body: dict[str, Any], field: str
) -> None:
    answer = service.call("PUT", path, OPERATOR, json=body)
    assert answer.status_code == 422 and answer.json is not None
    assert field in answer.json["errors"]


@pytest.mark.parametrize("who", [ENGINEER, AUDITOR])
def test_nobody_else_chooses(service: Service, who: Persona) -> None:
    for path in ("/approval-policy", f"/cases/{CASE}/approval-policy"):
        assert service.call("PUT", path, who, json={"rule": "see"}).status_code == 403
    assert service.call("GET", "/approval-policy", who).status_code == 403
