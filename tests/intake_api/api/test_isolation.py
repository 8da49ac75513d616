"""Another customer's things answer exactly as things that do not exist."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from audit.times import rfc3339
from retention.domain.ids import Kind, new_confirmation, new_id
from tests.service import CASE, OPERATOR, OTHER_OPERATOR, Service

ROUTES = (
    ("GET", "/stamps/{stamp}"),
    ("DELETE", "/stamps/{stamp}"),
    ("PUT", "/stamps/{stamp}/proactive-consent"),
    ("GET", "/stamps/{stamp}/proactive-consent"),
    ("GET", "/stamps/{stamp}/upload-links"),
    ("POST", "/stamps/{stamp}/upload-links"),
    ("GET", "/cases/{case}/upload-links"),
    ("POST", "/cases/{case}/upload-links"),
    ("POST", "/upload-links/{link}/revoke"),
    ("GET", "/cases/{case}"),
    ("POST", "/cases/{case}/close"),
    ("POST", "/cases/{case}/reopen"),
    ("POST", "/cases/{case}/assignments"),
    ("POST", "/cases/{case}/erasures"),
    ("POST", "/cases/{case}/grants"),
    ("GET", "/cases/{case}/grants"),
    ("POST", "/cases/{case}/consents"),
    ("GET", "/cases/{case}/consents"),
    ("GET", "/bundles/{bundle}"),
    ("GET", "/bundles/{bundle}/content"),
    ("HEAD", "/bundles/{bundle}/content"),
    ("GET", "/bundles/{bundle}/files"),
    ("GET", "/bundles/{bundle}/files/a.log"),
    ("GET", "/bundles/{bundle}/receipt"),
    ("POST", "/bundles/{bundle}/claim"),
    ("POST", "/bundles/{bundle}/erasures"),
    ("POST", "/bundles/{bundle}/move"),
    ("POST", "/bundles/{bundle}/report"),
    ("POST", "/cases/{case}/report"),
    ("HEAD", "/uploads/{bundle}"),
    ("PATCH", "/uploads/{bundle}"),
    ("DELETE", "/uploads/{bundle}"),
    ("GET", "/grants/{grant}"),
    ("POST", "/grants/{grant}/release"),
    ("POST", "/grants/{grant}/revoke"),
    ("POST", "/consents/{consent}/revoke"),
    ("GET", "/erasures/{erasure}"),
    ("GET", "/erasures/{erasure}/receipt"),
    ("GET", "/audit/entries?case={case}"),
    ("GET", "/audit/export?case={case}"),
    ("GET", "/audit/proofs/inclusion?entry={entry}"),
)
BODIES: dict[str, Any] = {
    "assignments": {"subject": "engineer"},
    "proactive-consent": {"enabled": True},
    "grants": {"reason": "looking into the failed update"},
    "move": {"case": "260101000000002", "reason": "it came for the wrong case"},
    "report": {"reason": "holds a customer's password file"},
    "claim": {"case": "260101000000002"},
}


@pytest.fixture
def theirs(service: Service) -> dict[str, str]:
    """One of everything, of the first customer."""
    bundle = service.complete()
    (stamp,) = service.done("GET", "/stamps", OPERATOR)["items"]
    consent = service.done("POST", f"/cases/{CASE}/consents", OPERATOR, json=consented(service))
    erasure = service.done("POST", f"/bundles/{service.complete()}/erasures", OPERATOR, json={})
    grant = service.grant()
    later = rfc3339(service.clock.now() + timedelta(days=1))
    link = service.done("POST", f"/cases/{CASE}/upload-links", OPERATOR, json={"expires_at": later})
    service.tick()
    return {
        "stamp": stamp["id"],
        "case": CASE,
        "bundle": bundle,
        "grant": grant,
        "consent": consent["id"],
        "erasure": erasure["confirmation"],
        "link": link["id"],
        "entry": service.entries(bundle=bundle)[0]["id"],
    }


def consented(service: Service) -> dict[str, str]:
    return {"partner": "contoso", "expires_at": rfc3339(service.clock.now() + timedelta(days=30))}


def unknown() -> dict[str, str]:
    kinds = {"stamp": Kind.STAMP, "bundle": Kind.BUNDLE, "grant": Kind.GRANT, "consent": Kind.CONSENT,
             "entry": Kind.ENTRY, "link": Kind.UPLOAD_LINK}  # fmt: skip
    ids = {name: new_id(kind) for name, kind in kinds.items()}
    return {**ids, "case": "999999999999999", "erasure": new_confirmation()}


def test_another_customers_things_answer_as_if_they_did_not_exist(
    service: Service, theirs: dict[str, str]
) -> None:
    headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0"}
    link = {"expires_at": consented(service)["expires_at"], "trigger": "Urp.UpdateFailure"}
    bodies = {**BODIES, "consents": consented(service), "upload-links": link}
    for method, route in ROUTES:
        answers = []
        for ids in (theirs, unknown()):
            path = route.format(**ids)
            body: dict[str, Any] = {}
            if method in ("POST", "PUT"):
                body = {"json": bodies.get(route.rsplit("/", 1)[-1], {})}
            if method == "PATCH":
                body = {"data": b"0", "content_type": "application/offset+octet-stream"}
            response = service.call(method, path, OTHER_OPERATOR, headers=headers, **body)
            text = response.get_data(as_text=True)
            for name in (*ids.values(), response.headers["X-Request-Id"]):
                text = text.replace(name, "-")
            answers.append((response.status_code, text, sorted(response.headers.keys())))
        assert answers[0] == answers[1], (method, route)
        assert answers[0][0] == 404, (method, route, answers[0])


def test_lists_hold_nothing_of_another_customer(service: Service, theirs: dict[str, str]) -> None:
    assert service.done("GET", "/bundles", OTHER_OPERATOR)["items"] == []
    assert service.done("GET", "/erasures", OTHER_OPERATOR)["items"] == []
    assert theirs["stamp"] not in {s["id"] for s in service.done("GET", "/stamps", OTHER_OPERATOR)["items"]}
    assert CASE not in {case["number"] for case in service.done("GET", "/cases", OTHER_OPERATOR)["items"]}
    entries = service.done("GET", "/audit/entries", OTHER_OPERATOR, query_string={"limit": "200"})["items"]
    (tenant,) = service.done("GET", "/tenants", OTHER_OPERATOR)["items"]
    assert entries and {entry["tenant"] for entry in entries} == {tenant["id"]}
