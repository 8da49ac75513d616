"""Health, readiness, the development issuer, and the document that describes it all."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert

from audit.tlog.tile_store import TilesUnavailableError
from intake_api.api.app import create_app
from intake_api.api.readiness import APART, CHECKS, LATE
from intake_api.tus.protocol import BODY_TYPE
from retention.custody.log_gate import LogGate
from retention.custody.timekeeping import MOST
from retention.domain.actor import CLOCK
from retention.envelope.format import KeyWrapperUnavailable
from retention.jobs.reconcile import waive_witness
from retention.objects.store_errors import StoreUnavailable
from retention.records.tables import trusted_time
from tests.service import AUDITOR, ENGINEER, OPERATOR, Service

DAY_US = 86_400_000_000
FINE = {"uploads": "ok", "destruction": "ok", "sequencing": "ok", "schema": "ok"}
OWN_DOCUMENT = "/openapi.json"


def test_a_healthy_service_is_ready(empty: Service) -> None:
    assert empty.done("GET", "/healthz") == {"status": "ok"}
    parts = ("database", "unaltered", "object_store", "key_store", "log", "key", "clock")
    checks = dict.fromkeys(parts, "ok")
    assert empty.done("GET", "/readyz") == {"status": "ok", "checks": checks, **FINE}


def test_a_clock_in_doubt_is_told_and_takes_nothing_out_of_service(empty: Service) -> None:
    doubted = insert(trusted_time).values(id=1, sure_at=empty.clock.now(), gap_us=91 * DAY_US, settled_us=0)
    empty.custody.records.write(lambda tx: tx.change(doubted))
    response = empty.call("GET", "/readyz")
    assert (response.status_code, response.get_json()["status"]) == (200, "ok")
    assert "7862400 s ahead of what is sure" in response.get_json()["destruction"]


@pytest.mark.parametrize("part", ["object_store", "key_store"])
def test_a_store_that_fails_is_named(empty: Service, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    def down() -> None:
        raise StoreUnavailable("secret path")

    store = {"object_store": empty.custody.objects, "key_store": empty.custody.keys}[part]
    monkeypatch.setattr(store, "check", down)
    response = empty.call("GET", "/readyz")
    assert response.status_code == 503
    assert {name for name, said in response.get_json()["checks"].items() if said != "ok"} == {part}
    assert "secret" not in response.get_data(as_text=True)
    assert empty.call("GET", "/healthz").status_code == 200


def test_a_missing_key_file_is_named(empty: Service) -> None:
    empty.settings.key_file.unlink()
    checks = empty.call("GET", "/readyz").get_json()["checks"]
    assert {name for name, said in checks.items() if said != "ok"} == {"key"}


def test_a_key_of_a_vault_that_cannot_be_used_is_called_that_and_not_a_file(
    empty: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disabled(_: object) -> str:
        raise KeyWrapperUnavailable(
            "the key https://vault.example/keys/k is disabled", "is disabled; enable it"
        )

    monkeypatch.setattr(type(empty.custody.wrapper), "current_kek_id", property(disabled))
    response = empty.call("GET", "/readyz")
    assert response.status_code == 503
    checks = response.get_json()["checks"]
    assert {name: said for name, said in checks.items() if said != "ok"} == {
        "key": "the key-encryption key is disabled; enable it"
    }
    assert "vault.example" not in response.get_data(as_text=True), "anybody may ask"


def test_a_process_whose_clock_is_too_far_from_the_others_is_not_ready(empty: Service) -> None:
    empty.services.clock_skew.apart = MOST + timedelta(seconds=2)
    response = empty.call("GET", "/readyz")
    checks = response.get_json()["checks"]
    assert (response.status_code, {name for name, said in checks.items() if said != "ok"}) == (503, {"clock"})
    assert "302 s ahead of the database server's" in checks["clock"]


@pytest.mark.parametrize("part", ["object_store", "key_store", "database"])
def test_a_part_that_does_not_respond_holds_nobody_up_and_one_thread(
    empty: Service, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """It is let go at the end of the test alone: a response that waited for it would never come."""
    back, asked = threading.Event(), []

    def hang() -> None:
        asked.append(1)
        back.wait(60)

    @contextmanager
    def hang_in_reading() -> Iterator[None]:
        hang()
        yield

    parts = empty.custody
    owner, name = {
        "object_store": (parts.objects, "check"),
        "key_store": (parts.keys, "check"),
        "database": (parts.records, "read"),
    }[part]
    monkeypatch.setattr(owner, name, hang_in_reading if part == "database" else hang)
    empty.door.readiness._seconds = 0  # each call looks anew
    try:
        before, hanging = threading.active_count(), []
        for _ in range(3):
            response = empty.call("GET", "/readyz")
            assert response.status_code == 503
            said = response.get_json()["checks"]
            assert said[part] == LATE
            if part != "database":  # much stands on it
                assert {name for name, one in said.items() if one != "ok"} == {part}
            hanging.append((len(asked), threading.active_count() - before))
        assert hanging[0] == hanging[1] == hanging[2], "what hangs is not asked again"
        assert hanging[0][1] <= len(CHECKS) + len(APART)
        assert empty.call("GET", "/healthz").status_code == 200
    finally:
        back.set()


def test_a_database_that_was_altered_is_named(empty: Service) -> None:
    with empty.custody.records.engine.begin() as connection:
        connection.exec_driver_sql("CREATE VIEW more AS SELECT 1")
    checks = empty.call("GET", "/readyz").get_json()["checks"]
    assert {name for name, said in checks.items() if said != "ok"} == {"unaltered"}


def test_a_service_whose_log_lost_an_opening_is_not_ready(empty: Service) -> None:
    empty.custody.openings.lost = 1
    checks = empty.call("GET", "/readyz").get_json()["checks"]
    assert {name for name, said in checks.items() if said != "ok"} == {"unaltered"}


def test_a_database_that_fails_is_named(empty: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def down() -> None:
        raise OSError("no database")

    monkeypatch.setattr(empty.custody.records, "read", down)
    checks = empty.call("GET", "/readyz").get_json()["checks"]
    assert {name for name, said in checks.items() if said != "ok"} == {"database"}


def test_a_log_whose_store_does_not_answer_is_named(empty: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(_path: str) -> bytes:
        raise TilesUnavailableError("the container")

    monkeypatch.setattr(empty.custody.tiles, "get", down)
    checks = empty.call("GET", "/readyz").get_json()["checks"]
    assert {name for name, said in checks.items() if said != "ok"} == {"log"}


def test_records_that_may_be_old_open_nothing_and_the_service_is_not_ready(empty: Service) -> None:
    """A witness that does not answer, at a start: only reading waits for it (P6)."""
    empty.set_up()
    bundle = empty.send()
    empty.tick()
    empty.grant()
    place = empty.settings.witness_folder
    place.mkdir(parents=True)
    place.rename(place.with_name("away"))
    place.write_text("whoever looks for something in it gets an error")
    started = Service(empty.settings.state.parent, settings=empty.settings)
    response = started.call("GET", "/readyz")
    assert response.status_code == 503
    why = response.get_json()["checks"].pop("log")
    assert "witness has not answered" in why
    assert "reconcile --without-witness" in why
    for address in (f"/bundles/{bundle}/content", f"/bundles/{bundle}/files"):
        refused = started.call("GET", address, ENGINEER)
        problem = refused.get_json()
        assert (refused.status_code, problem["reason"], problem["detail"]) == (503, "witness-away", why)
        assert refused.headers["Retry-After"]
    # Intake, the log and erasure go on.
    late = started.send()
    assert started.done("GET", "/audit/entries", AUDITOR)["items"]
    started.done("POST", f"/bundles/{late}/erasures", OPERATOR, json={})
    waive_witness(started.custody, CLOCK, "the bucket is down", timedelta(hours=1))
    gate = started.custody.gate
    assert isinstance(gate, LogGate)
    gate._asked_at = None  # two seconds later
    assert started.call("GET", f"/bundles/{bundle}/content", ENGINEER).status_code == 200
    started.close()


def test_many_who_ask_whether_it_is_ready_ask_the_parts_once(
    empty: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(empty.custody.objects, "check", lambda: asked.append(1))
    for _ in range(5):
        assert empty.call("GET", "/readyz").status_code == 200
    assert len(asked) == 1


def test_the_development_issuer_lets_in(empty: Service) -> None:
    form = {"subject": "administrator", "role": "CaseVault.Administrator"}
    token = empty.call("POST", "/development/token", data=form).get_json()["access_token"]
    assert empty.call("GET", "/tenants", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_without_a_development_issuer_there_is_no_way_to_it(empty: Service) -> None:
    app = create_app(replace(empty.door, development=None))
    assert app.test_client().post("/development/token", data={}).status_code == 404


def test_an_unknown_problem_has_no_page(empty: Service) -> None:
    assert empty.call("GET", "/problems/<script>").status_code == 404


def test_every_route_is_in_the_document(empty: Service) -> None:
    paths = empty.done("GET", OWN_DOCUMENT)["paths"]
    for rule in empty.app.url_map.iter_rules():
        if rule.rule == OWN_DOCUMENT or rule.rule.startswith("/development/"):
            continue
        if rule.endpoint.startswith("portal."):  # for people, not for clients
            continue
        path = re.sub(r"<(?:[a-z]+:)?([a-z_]+)>", r"{\1}", rule.rule)
        assert path in paths, path
        for method in (rule.methods or set()) - ({"HEAD"} if "GET" in (rule.methods or ()) else set()):
            operation = paths[path][method.lower()]
            assert operation["summary"], (method, path)
            assert any(code.startswith("2") for code in operation["responses"]), (method, path)


def test_the_document_is_consistent_in_itself(empty: Service) -> None:
    document = empty.done("GET", OWN_DOCUMENT)
    assert document["openapi"].startswith("3.1")
    text = empty.call("GET", OWN_DOCUMENT).get_data(as_text=True)
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', text):
        node = document
        for step in reference.split("/"):
            node = node[step]
    for path, item in document["paths"].items():
        named = set(re.findall(r"{([^}]+)}", path))
        for method, operation in item.items():
            if method == "parameters":
                continue
            declared = [*item.get("parameters", []), *operation.get("parameters", [])]
            assert named == {p["name"] for p in declared if p["in"] == "path"}, (path, method)
            assert all(p["required"] for p in declared if p["in"] == "path")


def test_the_document_says_which_routes_need_no_token_and_how_bytes_are_sent(empty: Service) -> None:
    document = empty.done("GET", OWN_DOCUMENT)
    assert document["security"] == [{"bearer": []}]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    open_ = {path for path, item in document["paths"].items() for method, op in item.items()
             if isinstance(op, dict) and op.get("security") == [] and method != "options"}  # fmt: skip
    asked_first = {path for path, item in document["paths"].items() if "options" in item}
    assert asked_first == {"/uploads", "/uploads/{bundle}"}, "tus: what this server speaks"
    assert open_ == {"/healthz", "/readyz", "/problems/{code}", "/audit/checkpoint",
                     "/audit/checkpoint.cosigned", "/audit/keys",
                     "/audit/tile/{level}/{place}"}  # fmt: skip
    assert BODY_TYPE in document["paths"]["/uploads/{bundle}"]["patch"]["requestBody"]["content"]
    content = document["paths"]["/bundles/{bundle}/content"]["get"]
    assert {"Range", "If-Range"} <= {parameter["name"] for parameter in content["parameters"]}
    assert {"200", "206"} <= set(content["responses"])


def test_errors_are_documented_as_problem_details(empty: Service) -> None:
    document = empty.done("GET", OWN_DOCUMENT)
    default = document["paths"]["/stamps"]["get"]["responses"]["default"]["$ref"].rsplit("/", 1)[1]
    told = document["components"]["responses"][default]["content"]
    assert set(told) == {"application/problem+json"}


def test_the_document_needs_no_token_and_tells_no_secret(empty: Service) -> None:
    text = empty.call("GET", OWN_DOCUMENT).get_data(as_text=True)
    assert str(empty.settings.state) not in text
    assert empty.call("GET", OWN_DOCUMENT, OPERATOR).get_data(as_text=True) == text
