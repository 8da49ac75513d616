"""flask-smorest's blueprint, typed, with a stricter reader: unknown fields are errors.

`takes` reads and validates an argument, `gives` writes the response; both document it in the OpenAPI document, where an
operation is named after its endpoint, and one that needs no token says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, NoReturn, Protocol, TypeVar

import marshmallow as ma
from flask import Request, Response, jsonify
from flask_smorest import Blueprint as SmorestBlueprint  # type: ignore[import-untyped]
from webargs import core
from webargs.flaskparser import FlaskParser

from intake_api.api.authentication import PUBLIC
from intake_api.http.call_refused import CallRefused
from retention.domain.faults import Invalid

F = TypeVar("F", bound=Callable[..., Any])
MOST_ERRORS = 50
"""Most errors in one response: a body of a megabyte can be wrong in half a million places."""
Shape = type[ma.Schema] | Mapping[str, Any]


class _MemberTwice(Exception):
    """A member name that occurs twice: which of the two counts cannot be guessed (RFC 8259 section 4)."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise _MemberTwice(next(name for name in names if names.count(name) > 1))
    return members


class Decorator(Protocol):
    """A decorator that keeps its function's type."""

    def __call__(self, function: F, /) -> F: ...


class _StrictParser(FlaskParser):
    DEFAULT_UNKNOWN_BY_LOCATION = {"json": ma.RAISE, "query": ma.RAISE}  # noqa: RUF012 - webargs' own name

    def load_querystring(self, req: Request, schema: ma.Schema) -> Any:
        if twice := {name: "Give it once." for name, values in req.args.lists() if len(values) > 1}:
            raise invalid(twice)
        return super().load_querystring(req, schema)

    def _raw_load_json(self, req: Request) -> Any:
        if not req.content_length:
            return core.missing
        if not core.is_json(req.mimetype):
            raise CallRefused("unsupported-media-type", "send a JSON body, as application/json")
        try:
            return json.loads(req.get_data(cache=True).decode(), object_pairs_hook=_members)
        except _MemberTwice as twice:
            detail = f"an object in the body has the member {str(twice)[:64]!r} twice: send it once"
            raise CallRefused("malformed", detail, reason="member-twice") from None
        except (ValueError, RecursionError):  # not JSON, not UTF-8, or a number or nesting past all bounds
            raise CallRefused("malformed", "the body is not JSON in UTF-8") from None

    def handle_error(self, error: ma.ValidationError, req: Request, schema: ma.Schema, **_: Any) -> NoReturn:
        raise invalid(error.messages) from None


def invalid(messages: Any) -> Invalid:
    """Turn marshmallow's nested messages into one sentence per field."""
    errors = dict(islice(_flat("", messages), MOST_ERRORS))
    return Invalid(
        "the request is not acceptable: " + "; ".join(f"{k}: {v}" for k, v in errors.items()), errors
    )


def _flat(prefix: str, messages: Any) -> Iterator[tuple[str, str]]:
    if isinstance(messages, Mapping):
        for name, value in messages.items():
            yield from _flat(_joined(prefix, str(name)), value)
        return
    text = " ".join(str(message) for message in messages) if isinstance(messages, list) else str(messages)
    yield prefix or "body", text


def _joined(prefix: str, name: str) -> str:
    if name in ("json", "query", "_schema"):
        return prefix or ("body" if name == "_schema" else "")
    return f"{prefix}.{name}"[:128] if prefix else name[:64]


class Blueprint(SmorestBlueprint):  # type: ignore[misc]
    """A resource's routes."""

    ARGUMENTS_PARSER = _StrictParser()

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._prepare_doc_cbks.append(self._completed)
        self._with_head: set[str] = set()

    def on(self, method: str, rule: str, *, also: tuple[str, ...] = (), **doc: Any) -> Decorator:
        """Serve `rule` for `method`. The function's name is the endpoint's."""
        routed = super().route(rule, methods=[method, *also])

        def decorate(function: F) -> F:
            if "HEAD" in also:
                self._with_head.add(f"{self.name}_{function.__name__}")
            named = {"operationId": f"{self.name}_{function.__name__}"}
            public: dict[str, Any] = {"security": []} if f"{self.name}.{function.__name__}" in PUBLIC else {}
            documented: F = routed(self.doc(**named, **public, **doc)(function))
            return documented

        return decorate

    def _completed(
        self, doc: dict[str, Any], told: dict[str, Any], *, method: str, **_: Any
    ) -> dict[str, Any]:
        """Add what is documented by hand to what the schemas say, and keep operation names unique."""
        by_hand = told.get("manual_doc", {})
        if more := by_hand.pop("parameters", []):
            doc.setdefault("parameters", []).extend(more)
        if method == "head" and by_hand["operationId"] in self._with_head:
            by_hand["operationId"] += "_head"
        return doc

    def takes(self, schema: type[ma.Schema], location: str = "json") -> Decorator:
        """Pass a dict read by `schema` as the first argument after the path's own."""
        return super().arguments(schema, location=location)  # type: ignore[no-any-return]

    def gives(
        self,
        status: int,
        schema: Shape | None = None,
        *,
        described: type[ma.Schema] | None = None,
        **documented: Any,
    ) -> Decorator:
        """Write the response by `schema`, with `status`; `described` only documents one that is sent as it is."""
        made: Decorator = super().response(status, schema, **documented)
        if described is None:
            return made
        content = {"application/json": {"schema": described}}
        by_hand = self.doc(responses={status: {"content": content}})
        return lambda function: by_hand(made(function))

    def gives_also(self, status: int, schema: type[ma.Schema], description: str) -> Decorator:
        """Document another response that the function can make, by `also`."""
        made: Decorator = super().alt_response(status, schema=schema, description=description)
        return made

    def also(
        self, status: int, schema: type[ma.Schema], value: Any, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Write the response of `gives_also`."""
        response: Response = jsonify(schema().dump(value))
        response.status_code = status
        response.headers.update(headers or {})
        return response
