"""Who is let in, and what is written of who is not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from intake_api.identity import KeysUnavailable
from retention.domain.actor import Role
from tests.service import AUDITOR, ENGINEER, OPERATOR, Persona, Service

PUBLIC = ("/healthz", "/readyz", "/openapi.json", "/problems/refused", "/audit/keys", "/audit/checkpoint")


def refusals(service: Service) -> list[dict[str, Any]]:
    return [entry for entry in service.entries(action="caller.refused") if entry["actor"] == "act_unknown"]


@pytest.mark.parametrize("path", PUBLIC)
def test_public_addresses_need_no_token(service: Service, path: str) -> None:
    service.tick()
    assert service.call("GET", path).status_code == 200


def test_every_other_route_demands_a_token(service: Service) -> None:
    public = {"/healthz", "/readyz", "/openapi.json", "/problems/<code>", "/audit/keys", "/audit/checkpoint",
              "/audit/checkpoint.cosigned", "/audit/tile/<int:level>/<path:place>"}  # fmt: skip
    closed = [rule for rule in service.app.url_map.iter_rules() if not rule.rule.startswith("/development/")]
    closed = [rule for rule in closed if not rule.endpoint.startswith("portal.")]  # tests/intake_api/portal
    assert public <= {rule.rule for rule in closed}
    for rule in closed:
        path = rule.rule.replace("<int:level>", "0").replace("<path:", "<")
        path = "/".join("x" if part.startswith("<") else part for part in path.split("/"))
        for method in rule.methods or ():
            status = service.call(method, path).status_code
            asked_first = method == "OPTIONS"  # what a page's browser asks has no token, and tells nothing
            assert (status != 401) == (rule.rule in public or asked_first), (method, rule.rule, status)


def test_no_token_is_answered_without_an_error_code(empty: Service) -> None:
    response = empty.call("GET", "/stamps")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="casevault"'
    assert response.get_json()["reason"] == "missing"


def test_a_bad_token_is_answered_with_why_and_never_repeated(empty: Service) -> None:
    token = empty.bearer(OPERATOR)["Authorization"]
    response = empty.call("GET", "/stamps", headers={"Authorization": token[:-8] + "AAAAAAAA"})
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    assert response.get_json()["reason"] == "bad-signature"
    assert token[20:60] not in response.get_data(as_text=True) + str(response.headers)


def test_an_expired_token_is_refused(empty: Service) -> None:
    header = empty.bearer(OPERATOR)
    empty.advance(timedelta(hours=2))
    assert empty.call("GET", "/stamps", headers=header).get_json()["reason"] == "expired"


def test_keys_that_cannot_be_had_are_no_refusal(empty: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(_header: str | None) -> None:
        raise KeysUnavailable

    monkeypatch.setattr(empty.door.verifier, "verify", down)
    response = empty.call("GET", "/stamps", headers={"Authorization": "Bearer a.b.c"})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    monkeypatch.undo()
    assert refusals(empty) == []


def test_a_refused_caller_is_an_entry_with_the_address_beside_it(empty: Service) -> None:
    response = empty.call("GET", "/stamps")
    (entry,) = refusals(empty)
    assert (entry["outcome"], entry["reason"], entry["details"]) == ("refused", "missing", {"count": 1})
    assert entry["particulars"] == {"ip": "127.0.0.1", "request_id": response.headers["X-Request-Id"]}


def test_a_flood_of_refusals_is_one_entry_a_minute_with_its_count(empty: Service) -> None:
    for _ in range(50):
        empty.call("GET", "/stamps")
    assert [entry["details"]["count"] for entry in refusals(empty)] == [1]
    empty.advance(timedelta(minutes=1))
    empty.call("GET", "/stamps")
    assert sorted(entry["details"]["count"] for entry in refusals(empty)) == [1, 1, 49]


def test_other_reasons_and_other_addresses_are_counted_apart(empty: Service) -> None:
    for address in ("192.0.2.1", "192.0.2.2"):
        for header in ({}, {"Authorization": "Bearer x"}):
            empty.call("GET", "/stamps", headers=header, environ_overrides={"REMOTE_ADDR": address})
    found = {(entry["particulars"]["ip"], entry["reason"]) for entry in refusals(empty)}
    assert found == {(ip, why) for ip in ("192.0.2.1", "192.0.2.2") for why in ("missing", "malformed")}


def test_a_flood_from_everywhere_is_bounded_too(empty: Service) -> None:
    for n in range(400):
        empty.call("GET", "/stamps", environ_overrides={"REMOTE_ADDR": f"192.0.{n // 250}.{n % 250}"})
    empty.advance(timedelta(minutes=2))
    empty.call("GET", "/stamps")
    logged = []
    cursor: dict[str, str] = {}
    while True:
        query = {"action": "caller.refused", "limit": "200", **cursor}
        page = empty.done("GET", "/audit/entries", AUDITOR, query_string=query)
        logged += page["items"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert len(logged) <= 260
    assert sum(entry["details"]["count"] for entry in logged) == 401


def test_an_act_carries_address_and_request_id_beside_its_entry(service: Service) -> None:
    response = service.call("POST", "/stamps", OPERATOR, json={"name": "two", "subject": "stamp-two"})
    entry = service.entries(action="stamp.registered")[0]
    assert entry["particulars"]["request_id"] == response.headers["X-Request-Id"]
    assert entry["particulars"]["ip"] == "127.0.0.1"
    assert entry["particulars"]["subject"] == "operator"


def test_a_callers_own_request_id_is_not_taken(empty: Service) -> None:
    response = empty.call("GET", "/healthz", headers={"X-Request-Id": "mine"})
    assert response.headers["X-Request-Id"] != "mine"


def test_a_good_token_without_a_role_of_ours_is_refused_and_entered_as_who_it_is(service: Service) -> None:
    nobody = Persona("nina", ())
    response = service.call("GET", "/stamps", nobody)
    assert (response.status_code, response.get_json()["reason"]) == (403, "no-role")
    challenge = response.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="casevault", error="insufficient_scope"')
    (entry,) = service.entries(action="caller.refused")
    assert entry["reason"] == "no-role" and entry["particulars"]["subject"] == "nina"
    assert entry["actor"].startswith("act_") and entry["actor"] != "act_unknown"
    service.done("GET", "/stamps", nobody.with_roles(Role.AUDITOR))
    known = [e["actor"] for e in service.entries() if e["particulars"].get("subject") == "nina"]
    assert len(known) > 1 and set(known) == {entry["actor"]}


def test_nobody_can_claim_to_be_the_clock(empty: Service) -> None:
    response = empty.call("GET", "/stamps", ENGINEER.with_roles(Role.CLOCK))
    assert (response.status_code, response.get_json()["reason"]) == (403, "no-role")
