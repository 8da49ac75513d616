"""The log through the door: who sees what, and proofs that need no trust in the door."""

from __future__ import annotations

import base64
import csv
import io
import json
from datetime import timedelta

import pytest

from audit.times import rfc3339
from audit.tlog.checkpoint import Verifier, open_checkpoint
from audit.tlog.merkle import leaf_hash, verify_consistency
from audit.tlog.proofs import InclusionProof, verify_receipt_inclusion
from audit.tlog.tile_store import decode_entries
from tests.service import (
    ADMINISTRATOR,
    AUDITOR,
    CASE,
    CASE_SYSTEM,
    ENGINEER,
    OPERATOR,
    OTHER_OPERATOR,
    STAMP,
    Persona,
    Service,
)


def log_key(service: Service) -> Verifier:
    return Verifier.parse(service.done("GET", "/audit/keys")["log"])


def test_an_entry_is_shown_with_its_place_and_its_particulars(service: Service) -> None:
    service.grant()
    service.tick()
    (entry,) = service.entries(action="grant.given")
    assert {"v", "id", "at", "action", "outcome", "actor", "actor_kind", "tenant", "case", "subject", "details",
            "particulars", "named", "leaf_index", "redacted_at"} == set(entry)  # fmt: skip
    assert isinstance(entry["leaf_index"], int)
    assert entry["particulars"]["reason"] == "looking into the failed update"


def test_entries_are_found_by_every_condition(service: Service) -> None:
    bundle = service.complete()
    service.call("GET", f"/bundles/{bundle}/content", ENGINEER)
    refused = service.entries(bundle=bundle, outcome="refused")
    assert [entry["action"] for entry in refused] == ["bundle.opened"]
    assert service.entries(actor=refused[0]["actor"], action="bundle.opened") == refused
    at = service.clock.now()
    assert service.entries(case=CASE, until=rfc3339(at)) != []
    assert service.entries(case=CASE, since=rfc3339(at + timedelta(days=1))) == []


@pytest.mark.parametrize(
    "query", [{"action": "bundle.eaten"}, {"outcome": "maybe"}, {"since": "today"}, {"colour": "red"}]
)
def test_a_wrong_condition_is_named(service: Service, query: dict[str, str]) -> None:
    response = service.call("GET", "/audit/entries", AUDITOR, query_string=query)
    assert (response.status_code, set(response.get_json()["errors"])) == (422, set(query))


def test_the_customer_sees_every_access_to_their_own_cases(service: Service) -> None:
    bundle = service.complete()
    service.grant()
    service.call("GET", f"/bundles/{bundle}/content", ENGINEER)
    query = {"bundle": bundle, "limit": "200"}
    seen = service.done("GET", "/audit/entries", OPERATOR, query_string=query)["items"]
    assert {"bundle.opened", "bundle.read-ended"} <= {entry["action"] for entry in seen}
    assert service.done("GET", "/audit/entries", OTHER_OPERATOR, query_string=query)["items"] == []


@pytest.mark.parametrize("who", [ADMINISTRATOR, CASE_SYSTEM, ENGINEER, STAMP])
@pytest.mark.parametrize("path", ["/audit/entries", "/audit/export", "/audit/proofs/inclusion?entry=x"])
def test_nobody_else_sees_the_log_and_the_refusal_is_in_it(service: Service, who: Persona, path: str) -> None:
    response = service.call("GET", path, who)
    assert (response.status_code, response.get_json()["reason"]) == (403, "role-missing")
    action = "audit.exported" if "export" in path else "audit.queried"
    assert service.entries(action=action, outcome="refused")


def test_an_operator_of_no_registered_customer_sees_nothing(service: Service) -> None:
    stranger = Persona("stranger", OPERATOR.roles, "never-registered")
    assert service.call("GET", "/audit/entries", stranger).status_code == 403


def test_looking_is_an_entry_with_what_was_asked_for(service: Service) -> None:
    service.done("GET", "/audit/entries", AUDITOR, query_string={"case": CASE, "action": "case.opened"})
    service.call("GET", "/audit/export", AUDITOR, query_string={"format": "csv"})
    (queried,) = service.entries(action="audit.queried")
    (exported,) = service.entries(action="audit.exported")
    assert queried["details"] == {"entries": 1}
    asked = {name: value for name, value in queried["particulars"].items() if name.startswith("asked_")}
    assert asked == {"asked_case": CASE, "asked_action": "case.opened"}
    assert exported["details"] == {"format": "csv"}


def test_an_export_holds_what_the_pages_hold_oldest_first(service: Service) -> None:
    service.complete()
    until = {"until": rfc3339(service.clock.now())}
    listed = [entry["id"] for entry in service.entries(**until)]
    lines = (
        service.call("GET", "/audit/export", AUDITOR, query_string=until).get_data(as_text=True).splitlines()
    )
    assert [json.loads(line)["entry"]["id"] for line in lines] == listed[::-1]
    table = service.call("GET", "/audit/export", AUDITOR, query_string={**until, "format": "csv"})
    assert table.mimetype == "text/csv"
    assert [row["id"] for row in csv.DictReader(io.StringIO(table.get_data(as_text=True)))] == listed[::-1]
    events = service.call("GET", "/audit/export", AUDITOR, query_string={**until, "format": "ocsf"})
    assert len(events.get_data(as_text=True).splitlines()) == len(listed)
    response = service.call("GET", "/audit/export", AUDITOR, query_string={"format": "pdf"})
    assert set(response.get_json()["errors"]) == {"format"}


def test_an_operators_export_is_of_their_tenant_alone(service: Service) -> None:
    text = service.call("GET", "/audit/export", OTHER_OPERATOR).get_data(as_text=True)
    (tenant,) = service.done("GET", "/tenants", OTHER_OPERATOR)["items"]
    assert {json.loads(line)["entry"]["tenant"] for line in text.splitlines()} == {tenant["id"]}


def test_an_entry_is_proven_to_an_outsider(service: Service) -> None:
    service.tick()
    (entry,) = service.entries(action="case.opened", case=CASE)
    answer = service.done("GET", "/audit/proofs/inclusion", OPERATOR, query_string={"entry": entry["id"]})
    leaf = base64.b64decode(answer["leaf"])
    verify_receipt_inclusion(leaf, InclusionProof.parse(answer["proof"]), log_key(service))
    assert json.loads(leaf)["id"] == entry["id"]


def test_an_entry_is_not_proven_before_it_is_in_the_tree(service: Service) -> None:
    service.tick()
    service.grant()
    (entry,) = service.entries(action="grant.given")
    response = service.call("GET", "/audit/proofs/inclusion", AUDITOR, query_string={"entry": entry["id"]})
    assert (response.status_code, response.get_json()["reason"]) == (409, "not-sequenced")


def test_the_log_is_proven_to_have_only_grown(service: Service) -> None:
    service.tick()
    old = open_checkpoint(service.call("GET", "/audit/checkpoint").get_data(as_text=True), log_key(service))
    service.complete()
    new = open_checkpoint(service.call("GET", "/audit/checkpoint").get_data(as_text=True), log_key(service))
    query = {"from": old.size, "to": new.size}
    answer = service.done("GET", "/audit/proofs/consistency", STAMP, query_string=query)
    hashes = [base64.b64decode(hash_) for hash_ in answer["hashes"]]
    verify_consistency(old.size, new.size, hashes, old.root, new.root)


@pytest.mark.parametrize(
    "query", [{"from": 1, "to": 10**9}, {"from": -1, "to": 1}, {"to": 1}, {"from": "a", "to": 1}]
)
def test_a_proof_of_growth_that_cannot_be_is_refused(service: Service, query: dict[str, object]) -> None:
    service.tick()
    assert service.call("GET", "/audit/proofs/consistency", AUDITOR, query_string=query).status_code == 422


def test_tiles_hold_the_leaves_and_their_hashes(service: Service) -> None:
    service.tick()
    size = open_checkpoint(
        service.call("GET", "/audit/checkpoint").get_data(as_text=True), log_key(service)
    ).size
    hashes = service.call("GET", f"/audit/tile/0/000.p/{size}")
    assert "immutable" in hashes.headers["Cache-Control"]
    leaves = service.call("GET", f"/audit/tile/entries/000.p/{size}", AUDITOR)
    assert leaves.headers["Cache-Control"] == "no-store"
    expected = b"".join(leaf_hash(leaf) for leaf in decode_entries(leaves.data))
    assert (hashes.data, len(hashes.data)) == (expected, 32 * size)


def test_leaves_are_for_auditors(service: Service) -> None:
    service.tick()
    assert service.call("GET", "/audit/tile/entries/000.p/1").status_code == 401
    assert service.call("GET", "/audit/tile/entries/000.p/1", OPERATOR).status_code == 403


@pytest.mark.parametrize(
    "place", ["0/..%2f..%2frecords.db", "0/../checkpoint", "0/0", "7/000", "0/000.p/0", "999/000"]
)
def test_a_tile_that_is_not_there_is_not_found(service: Service, place: str) -> None:
    service.tick()
    assert service.call("GET", f"/audit/tile/{place}").status_code == 404


def test_there_is_no_checkpoint_before_the_first_is_signed(empty: Service) -> None:
    assert empty.call("GET", "/audit/checkpoint").status_code == 404


WHY = {"reason": "They left and asked to be forgotten"}


def test_an_administrator_redacts_an_entry_and_everybody_sees_that_it_was(service: Service) -> None:
    service.grant()
    service.tick()
    (entry,) = service.entries(action="grant.given")
    path = f"/audit/entries/{entry['id']}/redact"
    for persona in (AUDITOR, OPERATOR, ENGINEER, CASE_SYSTEM):
        assert service.call("POST", path, persona, json=WHY).status_code == 403
    assert service.call("POST", path, ADMINISTRATOR, json={}).status_code == 422
    done = service.done("POST", path, ADMINISTRATOR, json=WHY)
    assert (done["redacted"], done["entries"]) == (entry["id"], 1)
    assert service.done("POST", path, ADMINISTRATOR, json=WHY)["entries"] == 0
    (after,) = service.entries(action="grant.given")
    assert (after["particulars"], after["redacted_at"]) == (None, done["at"])
    named = {"actor": None, "case": CASE, "file_name": None, "grant_reason": None}
    assert entry["named"]["grant_reason"] is not None
    assert after == {**entry, "particulars": None, "redacted_at": done["at"], "named": named}, (
        "the leaf is as it was"
    )
    (said,) = service.entries(action="entry.redacted", outcome="success")
    assert (said["subject"], said["particulars"]["reason"]) == (entry["id"], WHY["reason"])
    exported = service.call("GET", "/audit/export?format=jsonl&action=grant.given", AUDITOR).get_data(
        as_text=True
    )
    assert json.loads(exported)["redacted_at"] == done["at"] and "failed update" not in exported
    missing = service.call("POST", "/audit/entries/ent_none/redact", ADMINISTRATOR, json=WHY)
    assert missing.status_code == 404


def test_an_administrator_forgets_a_person_who_acts_no_more(service: Service) -> None:
    service.grant()
    service.tick()
    (granted,) = service.entries(action="grant.given")
    path = f"/audit/actors/{granted['actor']}/redact"
    still = service.call("POST", path, ADMINISTRATOR, json=WHY)
    assert (still.status_code, still.get_json()["reason"]) == (409, "still-acting")
    service.done("POST", f"/cases/{CASE}/close", CASE_SYSTEM)
    (assigned,) = service.entries(action="case.assigned")
    who = assigned["particulars"]["engineer"]
    service.done("DELETE", f"/cases/{CASE}/assignments", CASE_SYSTEM, query_string={"subject": who})
    assert service.done("POST", path, ADMINISTRATOR, json=WHY)["entries"] >= 2
    left = service.call("GET", "/audit/export", AUDITOR).get_data(as_text=True)
    beside = [json.loads(line)["particulars"] or {} for line in left.splitlines()]
    assert [told for told in beside if who in told.values()] == []
    assert service.call("GET", "/cases", ENGINEER).status_code == 200
    fresh = service.entries(action="actor.redacted")
    assert [entry["subject"] for entry in fresh] == [granted["actor"]]
