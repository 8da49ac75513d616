"""Reviews over HTTP: listed by state and age, shown in full, signed off or questioned, for auditors alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service import AUDITOR, CASE, ENGINEER, OPERATOR, Persona, Service

OTHER_AUDITOR = Persona("second-auditor", AUDITOR.roles)
WHY = "Why was all of it read?"


def over(service: Service) -> str:
    """A grant that was read under and is over."""
    bundle = service.complete(b"log " * 99)
    grant = service.grant()
    assert service.call("GET", f"/bundles/{bundle}/content", ENGINEER).status_code == 200
    service.done("POST", f"/grants/{grant}/release", ENGINEER)
    return grant


def listed(service: Service, **query: str) -> list[str]:
    found = service.done("GET", "/reviews", AUDITOR, query_string=query)
    return [one["grant"] for one in found["items"]]


def test_a_grant_is_shown_from_request_to_release_questioned_and_signed_off(service: Service) -> None:
    grant = over(service)
    path = f"/grants/{grant}/review"
    seen = service.done("GET", path, AUDITOR)
    assert {
        "state": "open",
        "reads": 1,
        "bytes": 396,
        "bundles": 1,
        "end_cause": "released",
    }.items() <= seen.items()
    assert seen["case"] == CASE and seen["engineer"] == ENGINEER.subject and seen["approval"] is None
    asked = service.done("POST", path, AUDITOR, json={"verdict": "questioned", "note": WHY})
    assert (asked["state"], asked["note"], asked["reviewer"]) == ("questioned", WHY, AUDITOR.subject)
    assert (listed(service), listed(service, state="questioned", case=CASE)) == ([], [grant])
    signed = service.done("POST", path, OTHER_AUDITOR, json={"verdict": "signed-off"})
    assert (signed["state"], signed["reviewer"], signed["note"]) == (
        "signed-off",
        OTHER_AUDITOR.subject,
        None,
    )
    again = service.call("POST", path, AUDITOR, json={"verdict": "questioned", "note": WHY})
    assert again.status_code == 409 and again.json is not None and again.json["reason"] == "signed-off"
    entries = [entry["action"] for entry in service.entries() if entry["action"].startswith("review.")]
    assert entries == ["review.signed-off", "review.questioned"]


def test_a_grant_by_approval_is_shown_with_it(service: Service) -> None:
    service.done("PUT", f"/cases/{CASE}/approval-policy", OPERATOR, json={"rule": "ask"})
    body = {"reason": "looking into the failed update", "duration_minutes": 60}
    asked = service.done("POST", f"/cases/{CASE}/grants", ENGINEER, json=body)
    given = service.done("POST", f"/approvals/{asked['id']}/approve", OPERATOR, json={"note": "as agreed"})
    service.done("POST", f"/approvals/{asked['id']}/withdraw", OPERATOR, json={})
    seen = service.done("GET", f"/grants/{given['grant']}/review", AUDITOR)
    assert (seen["approval"], seen["reads"], seen["end_cause"]) == (asked["id"], 0, "approval-withdrawn")
    assert (seen["approved_by"], seen["approval_note"]) == (OPERATOR.subject, "as agreed")
    assert seen["asked_at"] <= seen["approved_at"] <= seen["over_at"]


@pytest.mark.parametrize(
    "body", [{}, {"verdict": "fine"}, {"verdict": "questioned"}, {"verdict": "questioned", "note": "so"}]
)
def test_what_is_no_verdict_is_refused(service: Service, body: dict[str, Any]) -> None:
    answer = service.call("POST", f"/grants/{over(service)}/review", AUDITOR, json=body)
    assert answer.status_code == 422


@pytest.mark.parametrize("who", [ENGINEER, OPERATOR])
def test_reviews_are_for_auditors(service: Service, who: Persona) -> None:
    grant = over(service)
    assert service.call("GET", "/reviews", who).status_code == 403
    assert service.call("GET", f"/grants/{grant}/review", who).status_code == 403
    said = service.call("POST", f"/grants/{grant}/review", who, json={"verdict": "signed-off"})
    assert said.status_code == 403
    assert service.call("GET", "/grants/grn_nobody/review", AUDITOR).status_code == 404
