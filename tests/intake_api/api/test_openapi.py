"""/openapi.json is a valid document, and what it says is what the service does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from intake_api.api.authentication import PUBLIC
from tests.service import (
    ADMINISTRATOR,
    AUDITOR,
    CASE,
    CASE_SYSTEM,
    ENGINEER,
    OPERATOR,
    STAMP,
    Persona,
    Service,
    collection,
)

Document = dict[str, Any]


@pytest.fixture
def document(service: Service) -> Document:
    return dict(service.done("GET", "/openapi.json"))


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, told in document["paths"].items():
        for method, operation in told.items():
            if method != "parameters":
                yield method, path, operation


def named(document: Document, where: str) -> Document:
    return {f"{method} {path}": operation for method, path, operation in operations(document)}[where]


def test_it_is_valid(document: Document) -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_a_default_is_of_its_own_schema(document: Document) -> None:
    checked = 0

    def look(schema: Any) -> None:
        nonlocal checked
        if isinstance(schema, list):
            for one in schema:
                look(one)
        if not isinstance(schema, dict):
            return
        if "default" in schema and not isinstance(schema["default"], dict):
            OAS31Validator(schema).validate(schema["default"])
            checked += 1
        for one in schema.values():
            look(one)

    look(document["components"]["schemas"])
    look([operation.get("parameters", []) for _, _, operation in operations(document)])
    assert checked >= 5


def test_each_operation_has_a_name_of_its_own_and_says_whether_it_needs_a_token(document: Document) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    public = {
        operation["operationId"]
        for _, _, operation in operations(document)
        if operation.get("security") == []
    }
    served = {name.replace(".", "_") for name in PUBLIC if not name.startswith(("api-docs", "witness"))}
    assert public == served
    assert document["security"] == [{"bearer": []}]


def test_every_response_with_a_body_says_what_it_is(document: Document) -> None:
    silent = [
        f"{method} {path}"
        for method, path, operation in operations(document)
        for status, response in operation["responses"].items()
        if method == "get" and status == "200" and not response.get("content")
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("where", "parameter"),
    [
        ("get /bundles/{bundle}/content", "Range"),
        ("get /bundles/{bundle}/content", "If-Range"),
        ("get /bundles/{bundle}/files", "inside"),
        ("get /bundles/{bundle}/files", "cursor"),
        ("post /uploads", "Upload-Metadata"),
    ],
)
def test_what_a_caller_may_send_is_declared(document: Document, where: str, parameter: str) -> None:
    assert parameter in {one["name"] for one in named(document, where)["parameters"]}


def test_what_comes_is_what_is_declared(service: Service, document: Document) -> None:
    bundle = service.complete()
    grant = service.grant()
    service.call("GET", f"/bundles/{bundle}/content", ENGINEER)
    consent = {"partner": "contoso", "expires_at": "2099-01-01T00:00:00Z"}
    service.call("POST", f"/cases/{CASE}/consents", OPERATOR, json=consent)
    erased = service.send(b"another one", filename="other.zip")
    erasure = service.done("POST", f"/bundles/{erased}/erasures", OPERATOR, json={})
    service.tick()
    asked: list[tuple[str, str, Persona | None, str]] = [
        ("/tenants", "/tenants", ADMINISTRATOR, "200"),
        ("/stamps", "/stamps", OPERATOR, "200"),
        ("/cases", "/cases", OPERATOR, "200"),
        (f"/cases/{CASE}", "/cases/{number}", CASE_SYSTEM, "200"),
        (f"/cases/{CASE}/grants", "/cases/{number}/grants", OPERATOR, "200"),
        (f"/cases/{CASE}/consents", "/cases/{number}/consents", OPERATOR, "200"),
        ("/bundles", "/bundles", OPERATOR, "200"),
        (f"/bundles/{bundle}", "/bundles/{bundle}", OPERATOR, "200"),
        (f"/bundles/{erased}", "/bundles/{bundle}", OPERATOR, "200"),
        (f"/bundles/{bundle}/receipt", "/bundles/{bundle}/receipt", OPERATOR, "200"),
        (f"/grants/{grant}", "/grants/{grant}", ENGINEER, "200"),
        ("/erasures", "/erasures", OPERATOR, "200"),
        (f"/erasures/{erasure['confirmation']}", "/erasures/{confirmation}", OPERATOR, "200"),
        (f"/erasures/{erasure['confirmation']}/receipt", "/erasures/{confirmation}/receipt", OPERATOR, "200"),
        ("/audit/entries?limit=200", "/audit/entries", AUDITOR, "200"),
        ("/audit/keys", "/audit/keys", None, "200"),
        ("/healthz", "/healthz", None, "200"),
        ("/readyz", "/readyz", None, "200"),
        ("/bundles/bun_none", "/bundles/{bundle}", OPERATOR, "default"),
        ("/bundles?limit=0", "/bundles", OPERATOR, "default"),
        ("/bundles", "/bundles", None, "default"),
    ]
    for path, declared, who, status in asked:
        response = named(document, f"get {declared}")["responses"][status]
        if "$ref" in response:
            response = document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
        (schema,) = [one["schema"] for one in response["content"].values()]
        got = service.call("GET", path, who)
        whole = {**schema, "components": document["components"]}
        problems = [error.message for error in OAS31Validator(whole).iter_errors(got.get_json())]
        assert problems == [], (path, got.get_json())


def test_a_declared_upload_is_taken_as_declared(service: Service, document: Document) -> None:
    body = {**collection(), "size": 4}
    schema = {"$ref": "#/components/schemas/Preflight", "components": document["components"]}
    assert list(OAS31Validator(schema).iter_errors(body)) == []
    assert service.call("POST", "/uploads/preflight", STAMP, json=body).status_code == 200
