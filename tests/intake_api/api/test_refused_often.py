"""Who is refused again and again is asked to wait; what is allowed goes on, and nobody else notices."""

from __future__ import annotations

from datetime import timedelta

from intake_api.cli.cli_errors import REFUSED, ServiceProblem
from retention.custody.context import PATIENCE
from tests.service import (
    CASE,
    CASE_SYSTEM,
    COLLEAGUE,
    ENGINEER,
    OPERATOR,
    OTHER_STAMP,
    STAMP,
    Service,
    collection,
    proactive,
    tus,
)

REASON = {"reason": "looking into the failed update", "duration_minutes": 60}


def ask(service: Service, who: object = COLLEAGUE) -> tuple[int, str | None]:
    answer = service.call("POST", f"/cases/{CASE}/grants", who, json=REASON)  # type: ignore[arg-type]
    return answer.status_code, answer.headers.get("Retry-After")


def test_after_many_refusals_the_answer_is_to_wait(service: Service) -> None:
    assert {ask(service) for _ in range(PATIENCE)} == {(403, None)}
    assert ask(service) == (429, "60")
    problem = service.call("POST", f"/cases/{CASE}/grants", COLLEAGUE, json=REASON).get_json()
    assert (problem["type"], problem["reason"]) == ("/problems/too-many-refusals", "not-assigned")
    assert ServiceProblem(429, problem).exit_code == REFUSED
    service.advance(timedelta(minutes=1))
    assert ask(service) == (403, None)


def test_what_is_allowed_goes_on_meanwhile_for_the_same_person_and_for_others(service: Service) -> None:
    for _ in range(PATIENCE + 5):
        ask(service)
    assert ask(service, ENGINEER)[0] == 201
    body = {"subject": COLLEAGUE.subject}
    assert service.call("POST", f"/cases/{CASE}/assignments", CASE_SYSTEM, json=body).status_code == 204
    assert ask(service)[0] == 201


def test_a_sender_is_told_the_refusal_as_it_is(service: Service) -> None:
    service.done(
        "PUT",
        f"/stamps/{service.done('GET', '/stamps', OPERATOR)['items'][0]['id']}/proactive-consent",
        OPERATOR,
        json={"enabled": False},
    )
    begin = tus(4, collection(**proactive()))
    more = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    begun = {service.call("POST", "/uploads", STAMP, headers=begin).status_code for _ in range(PATIENCE + 5)}
    sent = {
        service.call("PATCH", "/uploads/bun_x", OTHER_STAMP, headers=more, data=b"x").status_code
        for _ in range(PATIENCE + 5)
    }
    assert (begun, sent) == ({403}, {404})


def test_the_log_has_two_entries_of_three_hundred_refusals_and_their_number(service: Service) -> None:
    for _ in range(300):
        ask(service)
    service.advance(timedelta(minutes=1))
    service.custody.write_counts()
    entries = service.entries(action="grant.given", outcome="refused")
    assert [entry.get("details", {}).get("count", 1) for entry in entries] == [299, 1]
