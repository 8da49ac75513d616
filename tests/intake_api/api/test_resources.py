"""Tenants, stamps, cases, bundles, grants, consents and erasures, call by call."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from werkzeug.test import TestResponse

from audit.times import rfc3339
from intake_api.cli.commands.access import COLLECTION
from retention.custody.context import Limits
from retention.custody.uploads import completion
from retention.domain.bundle import STATUSES
from retention.domain.receipt import check
from retention.jobs.sweep import begin_due, sweep
from retention.records.tables import bundles
from tests.service import (
    ADMINISTRATOR,
    AUDITOR,
    CASE,
    CASE_SYSTEM,
    COLLEAGUE,
    DIRECTORY,
    ENGINEER,
    OFFSET_BYTES,
    OPERATOR,
    OTHER_OPERATOR,
    PARTNER,
    STAMP,
    Persona,
    Service,
    collection,
    proactive,
    tus,
)

REASON = "looking into the failed update"


def pages(service: Service, path: str, who: Persona, **query: str) -> list[dict[str, Any]]:
    """Every item of a list, one to a page."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        asked = {"limit": "1", **query, **cursor}
        answer = service.done("GET", path, who, query_string=asked)
        assert len(answer["items"]) <= 1
        found += answer["items"]
        if answer["next"] is None:
            return found
        cursor = {"cursor": answer["next"]}


def test_the_administrator_registers_customers(empty: Service) -> None:
    body = {"name": "Contoso", "directory": "d-1"}
    tenant = empty.done("POST", "/tenants", ADMINISTRATOR, json=body)
    assert set(tenant) == {"id", "name", "directory", "registered_at"}
    assert empty.done("GET", "/tenants", ADMINISTRATOR)["items"] == [tenant]
    assert empty.call("POST", "/tenants", ADMINISTRATOR, json=body).status_code == 409
    operator = replace(OPERATOR, directory="d-1")
    assert empty.call("POST", "/tenants", operator, json=body).get_json()["reason"] == "role-missing"


def test_an_operator_registers_and_deregisters_stamps(service: Service) -> None:
    body = {"name": "two", "subject": "stamp-two"}
    stamp = service.done("POST", "/stamps", OPERATOR, json=body)
    assert set(stamp) == {"id", "name", "subject", "proactive", "registered_at", "deregistered_at"}
    assert (stamp["proactive"], stamp["deregistered_at"]) == (False, None)
    assert service.done("GET", f"/stamps/{stamp['id']}", OPERATOR) == stamp
    assert pages(service, "/stamps", OPERATOR)[0]["id"] == stamp["id"]
    assert service.call("POST", "/stamps", OPERATOR, json=body).status_code == 409
    gone = service.done("DELETE", f"/stamps/{stamp['id']}", OPERATOR)
    assert gone["deregistered_at"] is not None
    assert service.done("DELETE", f"/stamps/{stamp['id']}", OPERATOR) == gone


def test_the_consent_to_proactive_collection_keeps_its_history(service: Service) -> None:
    (stamp,) = service.done("GET", "/stamps", OPERATOR)["items"]
    path = f"/stamps/{stamp['id']}/proactive-consent"
    assert service.done("PUT", path, OPERATOR, json={"enabled": False})["proactive"] is False
    items = service.done("GET", path, OPERATOR)["items"]
    assert [item["enabled"] for item in items] == [False, True]
    assert all(item["actor"].startswith("act_") and item["set_at"] for item in items)


def test_a_case_is_opened_closed_and_reopened_with_its_deadline(service: Service) -> None:
    number = "260101000000009"
    opened_at = rfc3339(service.clock.now() - timedelta(days=2))
    body = {"number": number, "directory": DIRECTORY, "opened_at": opened_at}
    case = service.done("POST", "/cases", CASE_SYSTEM, json=body)
    assert (case["number"], case["state"], case["opened_at"]) == (number, "open", opened_at)
    closed_at = service.clock.now() - timedelta(days=1)
    closed = service.done(
        "POST", f"/cases/{number}/close", CASE_SYSTEM, json={"closed_at": rfc3339(closed_at)}
    )
    assert closed["state"] == "closed"
    shown = service.done("GET", f"/cases/{number}", OPERATOR)
    assert [event["kind"] for event in shown["history"]] == ["opened", "closed"]
    assert shown["deadline"] == rfc3339(closed_at + timedelta(days=90))
    service.done("POST", f"/cases/{number}/reopen", CASE_SYSTEM)
    assert service.done("GET", f"/cases/{number}", OPERATOR)["deadline"] is None
    assert [c["number"] for c in pages(service, "/cases", OPERATOR)] == [CASE, number]


def test_engineers_are_assigned_and_taken_off(service: Service) -> None:
    assignments = service.done("GET", f"/cases/{CASE}", CASE_SYSTEM)["assignments"]
    assert [(a["subject"], a["issuer"], a["unassigned_at"]) for a in assignments] == [
        ("engineer", service.door.issuer, None)
    ]
    grant = service.grant()
    response = service.call(
        "DELETE", f"/cases/{CASE}/assignments", CASE_SYSTEM, query_string={"subject": "engineer"}
    )
    assert (response.status_code, response.data) == (204, b"")
    assert service.call("GET", f"/cases/{CASE}", ENGINEER).status_code == 404
    ended = service.done("GET", f"/grants/{grant}", ENGINEER)
    assert (ended["live"], ended["end_cause"]) == (False, "unassigned")


def test_a_bundle_is_put_in_one_piece(service: Service) -> None:
    query = {name: value for name, value in collection().items() if name != "filename"}
    response = service.call("PUT", "/bundles/My%20logs.zip", STAMP, data=b"0123456789", query_string=query)
    bundle = response.get_json()
    assert response.status_code == 201
    assert response.headers["Location"] == f"/bundles/{bundle['id']}"
    assert (bundle["file_name"], bundle["size"], bundle["state"]) == ("My logs.zip", 10, "received")
    assert bundle["roles"] == ["Compute", "Storage"]
    part = {"Content-Range": "bytes 0-9/20"}
    refused = service.call("PUT", "/bundles/a.zip", STAMP, data=b"0123", query_string=query, headers=part)
    assert refused.status_code == 400


def test_a_put_without_a_length_or_with_too_much_is_refused(service: Service) -> None:
    query = {name: value for name, value in collection().items() if name != "filename"}
    assert service.call("PUT", "/bundles/a.zip", STAMP, query_string=query).status_code == 411
    huge = {"CONTENT_LENGTH": str(1 << 50)}
    response = service.call("PUT", "/bundles/a.zip", STAMP, query_string=query, environ_overrides=huge)
    assert response.status_code == 413
    assert pages(service, "/bundles", OPERATOR) == []


def test_bundles_are_listed_by_what_is_asked_for(service: Service) -> None:
    complete = service.complete()
    unclaimed = service.send(**proactive())
    (stamp,) = service.done("GET", "/stamps", OPERATOR)["items"]

    def found(**query: str) -> set[str]:
        return {bundle["id"] for bundle in pages(service, "/bundles", OPERATOR, **query)}

    assert found() == {complete, unclaimed}
    assert found(case=CASE) == {complete}
    assert found(stamp=stamp["id"]) == {complete, unclaimed}
    assert found(stamp="stp_other") == set()
    assert found(type="proactive") == {unclaimed}
    assert found(status="in-progress") == {unclaimed}
    assert found(status="complete") == {complete}
    assert found(unclaimed="1") == {unclaimed}


def test_bundles_are_listed_by_every_state_that_is_shown(service: Service) -> None:
    """What `casevault collections` shows under Status is what --status and `status` take, and gives those alone."""
    held = {state: service.complete(state.encode() * 9) for state in ("complete", "damaged", "erased")}
    service.done("POST", f"/bundles/{held['erased']}/erasures", OPERATOR, json={})
    held["erasing"] = service.complete(b"to go")
    service.done("POST", f"/bundles/{held['erasing']}/erasures", OPERATOR, json={})
    held["in-progress"] = service.send()
    with service.custody.records.read() as reads:
        row = reads.execute(select(bundles).where(bundles.c.id == held["damaged"])).one()
    completion.record_damage(service.custody, row, "seal-broken")
    assert set(held) == set(STATUSES)
    for status, bundle in held.items():
        found = pages(service, "/bundles", OPERATOR, status=status)
        assert [one["id"] for one in found] == [bundle], status
        (state,) = {_status(found[0])}
        assert state.replace(" ", "-") == status


def _status(item: dict[str, Any]) -> str:
    column = dict(COLLECTION)["Status"]
    assert callable(column)
    return str(column(item))


def test_a_bundle_shows_its_collection_and_its_custody(service: Service) -> None:
    bundle = service.done("GET", f"/bundles/{service.complete()}", OPERATOR)
    assert set(bundle) == {
        "id", "case", "stamp", "type", "status", "state", "logs_start", "logs_end", "time_collected", "trigger",
        "roles", "file_name", "size", "offset", "created_at", "expires_at", "received_at", "verified_at", "sha256",
        "due_at", "erased_at", "erased_cause", "link", "blob_name", "metadata", "client_encrypted",
    }  # fmt: skip
    assert (bundle["case"], bundle["status"], bundle["state"]) == (CASE, "complete", "complete")


def test_an_unclaimed_bundle_is_claimed_once(service: Service) -> None:
    bundle = service.send(**proactive())
    claimed = service.done("POST", f"/bundles/{bundle}/claim", ENGINEER, json={"case": CASE})
    assert (claimed["case"], claimed["due_at"]) == (CASE, None)
    response = service.call("POST", f"/bundles/{bundle}/claim", ENGINEER, json={"case": CASE})
    assert (response.status_code, response.get_json()["reason"]) == (409, "claimed")


def test_a_misfiled_bundle_is_moved_by_an_engineer_of_both_cases(service: Service) -> None:
    bundle, number = service.complete(), "260101000000008"
    service.done("POST", "/cases", CASE_SYSTEM, json={"number": number, "directory": DIRECTORY})
    body = {"case": number, "reason": "it came for the wrong case"}
    path = f"/bundles/{bundle}/move"
    assert service.call("POST", path, ENGINEER, json=body).status_code == 404
    service.assign(ENGINEER, number)
    assert service.done("POST", path, ENGINEER, json=body)["case"] == number
    again = service.call("POST", path, ENGINEER, json=body)
    assert (again.status_code, again.get_json()["reason"]) == (409, "same-case")
    assert service.call("POST", path, ENGINEER, json={"case": CASE}).status_code == 422
    (moved,) = service.entries(action="bundle.moved", outcome="success")
    assert (moved["bundle"], moved["particulars"]["reason"]) == (bundle, body["reason"])


def test_sensitive_data_is_reported_and_gone_with_a_receipt(service: Service) -> None:
    bundle, rest = service.complete(), service.complete()
    body = {"reason": "holds a customer's password file"}
    response = service.call("POST", f"/bundles/{bundle}/report", ENGINEER, json=body)
    reported = response.get_json()
    assert (response.status_code, reported["cause"], reported["scope"]) == (202, "sensitive-data", "bundle")
    service.tick()
    document = service.done("GET", f"/erasures/{reported['confirmation']}/receipt", ENGINEER)
    keys = service.services.receipt_signer.verifier, service.services.log_signer.verifier
    assert check(document, *keys).fields["cause"] == "sensitive-data"
    assert service.done("GET", f"/bundles/{rest}", OPERATOR)["state"] == "complete"
    whole = service.done("POST", f"/cases/{CASE}/report", ENGINEER, json=body)
    assert whole["scope"] == "case"
    assert service.call("POST", f"/cases/{CASE}/report", ENGINEER, json={}).status_code == 422


def test_an_engineer_finds_the_clocks_erasure_that_their_report_hastened(service: Service) -> None:
    bundle = service.complete()
    service.done("POST", f"/cases/{CASE}/close", CASE_SYSTEM)
    service.advance(timedelta(days=90))
    begin_due(service.custody)
    body = {"reason": "holds a customer's password file"}
    reported = service.done("POST", f"/bundles/{bundle}/report", ENGINEER, json=body)
    assert reported["cause"] == "deadline"
    assert service.done("GET", f"/erasures/{reported['confirmation']}", ENGINEER)["state"] == "pending"


def test_an_abandoned_upload_is_erased_like_anything_else_with_a_receipt(service: Service) -> None:
    headers = {**tus(10, collection()), "Content-Type": OFFSET_BYTES}
    location = service.call("POST", "/uploads", STAMP, headers=headers, data=b"0123").headers["Location"]
    bundle = location.rsplit("/", 1)[1]
    assert service.custody.objects.remains(bundle)
    service.advance(timedelta(days=7))
    service.tick()
    assert service.custody.objects.remains(bundle) == [] == service.custody.keys.remains(bundle)
    stone = service.done("GET", f"/bundles/{bundle}", OPERATOR)
    assert (stone["state"], stone["erased_cause"]) == ("erased", "upload-expired")
    (erasure,) = pages(service, "/erasures", OPERATOR)
    document = service.done("GET", f"/erasures/{erasure['confirmation']}/receipt", OPERATOR)
    keys = service.services.receipt_signer.verifier, service.services.log_signer.verifier
    listed = check(document, *keys).fields["bundles"]
    assert [(item["bundle"], item["size"]) for item in listed] == [(bundle, 4)]


def preflight(service: Service, size: int, **changes: str) -> TestResponse:
    return service.call("POST", "/uploads/preflight", STAMP, json={**collection(**changes), "size": size})


def test_a_preflight_says_whether_a_collection_would_be_accepted_and_makes_nothing(tmp_path: Path) -> None:
    with Service(tmp_path, limits=Limits(max_bundle_size=100, stamp_quota=90, case_quota=60)) as service:
        service.set_up()
        service.send(b"x" * 50)
        answer = preflight(service, 10)
        assert answer.get_json() == {"accepted": True, "max_size": 100, "stamp_left": 40, "case_left": 10}
        over = preflight(service, 11).get_json()
        assert (over["status"], over["type"], over["reason"], over["left"]) == (
            413,
            "/problems/quota-exceeded",
            "case-quota",
            10,
        )
        with_bytes = service.call("POST", "/uploads", STAMP, headers=tus(11, collection()))
        assert (with_bytes.status_code, with_bytes.get_json()["left"]) == (413, 10)
        assert preflight(service, 101).get_json()["limit"] == 100
        assert preflight(service, 0).get_json()["accepted"] is True  # an empty bundle is one
        assert set(preflight(service, -1).get_json()["errors"]) == {"size"}
        assert preflight(service, 1, case="999999999999999").status_code == 404
        assert set(preflight(service, 1, type="odd").get_json()["errors"]) == {"type"}
        assert len(service.done("GET", "/bundles", OPERATOR)["items"]) == 1
        service.done("POST", f"/cases/{CASE}/close", CASE_SYSTEM)
        service.advance(timedelta(days=90))
        assert preflight(service, 1).get_json()["reason"] == "case-past-deadline"


def test_an_intake_receipt_is_checked_offline(service: Service) -> None:
    bundle = service.send()
    assert service.call("GET", f"/bundles/{bundle}/receipt", OPERATOR).status_code == 404
    service.tick()
    document = service.done("GET", f"/bundles/{bundle}/receipt", OPERATOR)
    keys = service.services.receipt_signer.verifier, service.services.log_signer.verifier
    assert check(document, *keys).fields["bundle"] == bundle


def test_a_receipt_waits_for_the_tree(service: Service) -> None:
    bundle = service.send()
    sweep(service.custody)
    response = service.call("GET", f"/bundles/{bundle}/receipt", OPERATOR)
    assert (response.status_code, response.get_json()["reason"]) == (409, "not-sequenced")


def test_a_grant_is_given_shown_and_released(service: Service) -> None:
    body = {"reason": REASON}
    grant = service.done("POST", f"/cases/{CASE}/grants", ENGINEER, json=body)
    assert set(grant) == {
        "id", "case", "engineer", "reason", "granted_at", "expires_at", "ended_at", "end_cause", "consent", "live",
    }  # fmt: skip
    assert (grant["case"], grant["engineer"], grant["live"]) == (CASE, "engineer", True)
    assert service.done("GET", f"/grants/{grant['id']}", OPERATOR) == grant
    assert pages(service, f"/cases/{CASE}/grants", ENGINEER) == [grant]
    released = service.done("POST", f"/grants/{grant['id']}/release", ENGINEER)
    assert (released["live"], released["end_cause"]) == (False, "released")


def test_the_customer_revokes_a_grant_to_their_case(service: Service) -> None:
    grant = service.grant()
    assert service.call("POST", f"/grants/{grant}/revoke", ENGINEER).status_code == 403
    assert service.call("POST", f"/grants/{grant}/release", OPERATOR).status_code == 403
    assert service.done("POST", f"/grants/{grant}/revoke", OPERATOR)["end_cause"] == "revoked"


@pytest.mark.parametrize(
    ("who", "body", "reason"),
    [
        (COLLEAGUE, {"reason": REASON}, "not-assigned"),
        (ENGINEER, {"reason": "."}, "reason-missing"),
        (ENGINEER, {"reason": REASON, "duration_minutes": 14}, "duration-out-of-range"),
        (ENGINEER, {"reason": REASON, "duration_minutes": 1441}, "duration-out-of-range"),
    ],
)
def test_a_grant_that_is_not_given_is_told_why(
    service: Service, who: Persona, body: dict[str, Any], reason: str
) -> None:
    response = service.call("POST", f"/cases/{CASE}/grants", who, json=body)
    assert (response.status_code, response.get_json()["reason"]) == (403, reason)


def test_a_partner_reads_under_the_customers_consent_until_it_is_revoked(service: Service) -> None:
    bundle, other = service.complete(b"for the partner"), service.complete(b"not for the partner")
    service.assign(PARTNER)
    asked = {"reason": REASON, "duration_minutes": 60}
    refused = service.call("POST", f"/cases/{CASE}/grants", PARTNER, json=asked)
    assert refused.get_json()["reason"] == "no-consent"
    until = service.clock.now() + timedelta(days=3)
    body = {"partner": "contoso", "expires_at": rfc3339(until), "bundles": [bundle]}
    consent = service.done("POST", f"/cases/{CASE}/consents", OPERATOR, json=body)
    assert (consent["bundles"], consent["live"], consent["revoked_at"]) == ([bundle], True, None)
    assert pages(service, f"/cases/{CASE}/consents", PARTNER) == [consent]
    grant = service.done("POST", f"/cases/{CASE}/grants", PARTNER, json=asked)
    assert grant["consent"] == consent["id"]
    assert service.call("GET", f"/bundles/{bundle}/content", PARTNER).data == b"for the partner"
    assert service.call("GET", f"/bundles/{other}/content", PARTNER).status_code == 404
    assert service.done("POST", f"/consents/{consent['id']}/revoke", OPERATOR)["live"] is False
    assert service.call("GET", f"/bundles/{bundle}/content", PARTNER).status_code == 404
    assert service.done("GET", f"/grants/{grant['id']}", OPERATOR)["end_cause"] == "consent-revoked"


def test_a_consent_for_a_whole_case_names_no_bundles(service: Service) -> None:
    body = {"partner": "contoso", "expires_at": rfc3339(service.clock.now() + timedelta(days=1))}
    assert service.done("POST", f"/cases/{CASE}/consents", OPERATOR, json=body)["bundles"] is None
    over = {**body, "expires_at": rfc3339(service.clock.now())}
    response = service.call("POST", f"/cases/{CASE}/consents", OPERATOR, json=over)
    assert set(response.get_json()["errors"]) == {"expires_at"}


def test_an_erasure_is_confirmed_at_once_and_proven_soon(service: Service) -> None:
    bundle = service.complete()
    response = service.call("POST", f"/bundles/{bundle}/erasures", OPERATOR, json={})
    erasure = response.get_json()
    path = f"/erasures/{erasure['confirmation']}"
    assert response.status_code == 202
    assert (erasure["state"], erasure["scope"], erasure["case"]) == ("pending", "bundle", CASE)
    assert service.call("GET", f"{path}/receipt", OPERATOR).status_code == 404
    service.tick()
    proven = service.done("GET", path, OPERATOR)
    assert (proven["state"], bool(proven["proven_at"])) == ("proven", True)
    document = service.done("GET", f"{path}/receipt", OPERATOR)
    keys = service.services.receipt_signer.verifier, service.services.log_signer.verifier
    assert check(document, *keys).fields["confirmation"] == erasure["confirmation"]
    assert pages(service, "/erasures", OPERATOR) == [proven]


def test_a_case_is_erased_by_an_engineer_for_the_customer_with_a_reason(service: Service) -> None:
    service.complete()
    refused = service.call("POST", f"/cases/{CASE}/erasures", ENGINEER, json={})
    assert refused.get_json()["reason"] == "reason-missing"
    body = {"reason": "the customer asked on the telephone"}
    erasure = service.done("POST", f"/cases/{CASE}/erasures", ENGINEER, json=body)
    assert (erasure["scope"], erasure["cause"]) == ("case", "engineer-for-customer")
    again = service.done("POST", f"/cases/{CASE}/erasures", OPERATOR)
    assert again["confirmation"] == erasure["confirmation"]


def test_a_misheard_confirmation_number_is_told_apart(service: Service) -> None:
    response = service.call("GET", "/erasures/1234-5678-9012-3456", OPERATOR)
    assert response.status_code == 404 and "digit" in response.get_json()["detail"]


def test_a_cursor_of_another_making_is_refused(service: Service) -> None:
    for path, who in (("/stamps", OPERATOR), ("/cases", OPERATOR), ("/audit/entries", AUDITOR)):
        response = service.call("GET", path, who, query_string={"cursor": "made-up"})
        assert (response.status_code, set(response.get_json()["errors"])) == (422, {"cursor"})


@pytest.mark.parametrize("limit", ["0", "201", "x", "-1"])
def test_a_page_has_one_to_two_hundred_items(service: Service, limit: str) -> None:
    response = service.call("GET", "/stamps", OTHER_OPERATOR, query_string={"limit": limit})
    assert (response.status_code, set(response.get_json()["errors"])) == (422, {"limit"})


def test_a_query_parameter_that_is_given_twice_is_refused(service: Service) -> None:
    response = service.call("GET", "/audit/entries?outcome=refused&outcome=success", OPERATOR)
    assert response.status_code == 422
    assert response.get_json()["errors"] == {"outcome": "Give it once."}
