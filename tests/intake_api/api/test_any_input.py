"""Whatever is sent to any route, in any role, is answered in order: no input makes an internal error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service import (
    ADMINISTRATOR,
    AUDITOR,
    CASE,
    CASE_SYSTEM,
    ENGINEER,
    OPERATOR,
    PARTNER,
    STAMP,
    Persona,
    Service,
)

WHO = (ADMINISTRATOR, AUDITOR, CASE_SYSTEM, ENGINEER, OPERATOR, PARTNER, STAMP)
_text = st.text(st.characters(exclude_categories=()), max_size=20)
_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text | st.just("2026-11-19T08:00:00Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=5,
)
_header = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30)
_sent_headers = st.fixed_dictionaries(
    {"Tus-Resumable": st.just("1.0.0")},
    optional={
        "Upload-Length": _header | st.just("10"),
        "Upload-Offset": _header | st.just("0"),
        "Upload-Metadata": _header,
        "Content-Type": _header | st.just("application/offset+octet-stream"),
        "Range": _header | _header.map("bytes={}".format),
        "If-Range": _header,
        "If-None-Match": _header,
        "X-HTTP-Method-Override": _header,
    },
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service")) as service:
        service.set_up()
        yield service


def operations(service: Service) -> list[tuple[str, str, dict[str, Any]]]:
    paths = service.done("GET", "/openapi.json")["paths"]
    return [
        (method.upper(), path, operation)
        for path, item in sorted(paths.items())
        for method, operation in sorted(item.items())
        if method != "parameters"
    ]


def body_fields(service: Service, operation: dict[str, Any]) -> list[str]:
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    schemas = service.done("GET", "/openapi.json")["components"]["schemas"]
    return sorted(schemas[schema["$ref"].rsplit("/", 1)[1]]["properties"]) if "$ref" in schema else []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_input_makes_an_internal_error(shared: Service, data: st.DataObject) -> None:
    method, path, operation = data.draw(st.sampled_from(operations(shared)))
    who: Persona = data.draw(st.sampled_from(WHO))
    segment = st.just(CASE) | _text.filter(bool)
    filled = re.sub(
        r"{\w+}", lambda _: quote(data.draw(segment), safe="", errors="surrogatepass") or "x", path
    )
    fields = body_fields(shared, operation)
    body: dict[str, Any] = {}
    if fields:
        body["json"] = data.draw(st.dictionaries(st.sampled_from(fields), _value) | _value)
    names = [p["name"] for p in operation.get("parameters", []) if p["in"] == "query"]
    if names:
        plain = _text.map(lambda text: text.encode("utf-8", "replace").decode())
        body["query_string"] = data.draw(st.dictionaries(st.sampled_from(names), plain))
    response = shared.call(method, filled, who, headers=data.draw(_sent_headers), **body)
    assert response.status_code < 500, (method, filled, response.get_data(as_text=True))


@pytest.mark.parametrize(
    "raw", [b"[" * 100_000, b'{"name": ' + b"1" * 5000 + b"}", b"\x00", b"null", b'"x"', b"{}"]
)
def test_a_body_past_all_bounds_is_refused(shared: Service, raw: bytes) -> None:
    response = shared.call("POST", "/tenants", ADMINISTRATOR, data=raw, content_type="application/json")
    assert response.status_code in (400, 422)


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"x"', b"7"])
def test_a_preflight_that_is_no_object_is_refused(shared: Service, raw: bytes) -> None:
    response = shared.call("POST", "/uploads/preflight", STAMP, data=raw, content_type="application/json")
    assert response.status_code in (400, 422)
