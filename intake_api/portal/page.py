"""A page: templates, texts, and how moments, sizes and ids are written in it.

Rules:
- Every text that a person reads stands in texts.toml, under a name; templates hold none. A value put into a text or a
  template is escaped: what a stamp, an issuer or a log says is never markup.
- A name that is not in the catalogue, or a value that a template lacks, is an error here, not a gap on the page.
- A page loads nothing from elsewhere and runs no script but the portal's own files (`POLICY`). It works without them,
  but for sending a file, which a browser alone cannot resume.
- Moments are shown in UTC; the script adds the viewer's own zone.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

from flask import Response, g, request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from audit.times import rfc3339
from intake_api.api.authentication import custody
from retention.domain.actor import Role

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'; form-action 'self'"
)
"""A browser also holds the redirect after a form to form-action: a page of its own leads to the issuer's sign-out."""
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
NAVIGATION: tuple[tuple[str, str, frozenset[Role]], ...] = (
    ("cases", "cases", frozenset({Role.SUPPORT_ENGINEER, Role.PARTNER_ENGINEER, Role.OPERATOR})),
    ("collections", "collections", frozenset({Role.OPERATOR})),
    ("stamps", "stamps", frozenset({Role.OPERATOR})),
    ("upload", "upload", frozenset({Role.OPERATOR})),
    ("erasures", "erasures", frozenset({Role.OPERATOR})),
    ("log", "log", frozenset({Role.AUDITOR, Role.OPERATOR})),
    (
        "approvals",
        "approvals",
        frozenset({Role.OPERATOR, Role.SUPPORT_ENGINEER, Role.PARTNER_ENGINEER, Role.AUDITOR}),
    ),
    (
        "notices",
        "notices",
        frozenset({Role.OPERATOR, Role.SUPPORT_ENGINEER, Role.PARTNER_ENGINEER, Role.AUDITOR}),
    ),
    ("reviews", "reviews", frozenset({Role.AUDITOR})),
    ("unused_grants", "unused-grants", frozenset({Role.AUDITOR, Role.OPERATOR})),
    ("check", "check", frozenset({Role.AUDITOR, Role.OPERATOR})),
)
"""The pages in the navigation: endpoint, name of the text, and the roles that see it."""


@cache
def texts() -> Mapping[str, str]:
    """Return the catalogue: name -> text."""
    read = tomllib.loads(files(__package__).joinpath("texts.toml").read_text(encoding="utf-8"))
    return {f"{group}.{name}": text for group, held in read.items() for name, text in held.items()}


def text(name: str, /, **values: object) -> Markup:
    """Return the text of this name, with the values put in, escaped. KeyError when there is no such text."""
    return Markup(escape(texts()[name]).format(**{key: escape(value) for key, value in values.items()}))  # noqa: S704


def count_text(name: str, count: int) -> Markup:
    """Return the text for so many: `name.one` or `name.many`."""
    return text(f"{name}-{'one' if count == 1 else 'many'}", count=f"{count:,}")


def moment(at: datetime | None) -> Markup:
    """Write a moment, in UTC; the script adds the viewer's own zone."""
    if at is None:
        return text("words.none")
    at = at.astimezone(UTC)
    shown = f"{at.day} {at:%b %Y, %H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(rfc3339(at), shown)


def size(number: int | None) -> Markup:
    """Write a size as people do, with the exact number beside it."""
    if number is None:
        return text("words.unknown")
    value, unit = float(number), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    shown = f"{value:,.0f}" if unit == 0 or value >= 100 else f"{value:.3g}"
    return Markup('<span title="{:,} bytes">{} {}</span>').format(number, shown, _UNITS[unit])


def span(length: timedelta) -> str:
    """Write a length of time in its two largest units."""
    minutes = max(round(length.total_seconds() / 60), 0)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    while len(parts) > 1 and not parts[0][0]:
        del parts[0]
    return " ".join(f"{number} {unit}" for number, unit in parts[:2] if number or len(parts) == 1) or "0 min"


@cache
def asset(name: str) -> tuple[bytes, str, str]:
    """Return a file of the portal's: content, media type, and a word that changes with it. KeyError, OSError."""
    content = files(__package__).joinpath("assets", name).read_bytes()
    return content, _TYPES[name.rpartition(".")[2]], hashlib.sha256(content).hexdigest()[:16]


def asset_address(name: str) -> str:
    """Return the address of a file of the portal's, which may be kept for ever."""
    return f"/portal/assets/{asset(name)[2]}/{name}"


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("intake_api.portal"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(moment=moment, size=size, span=span)
    made.globals.update(t=text, tn=count_text, asset=asset_address)
    return made


def show(template: str, status: int = 200, **values: Any) -> Response:
    """Make the page of this template."""
    actor, session = g.get("actor"), g.get("session")
    held = frozenset() if actor is None else actor.roles
    common = {
        "actor": actor,
        "who": None if session is None else (session.name or session.subject),
        "path": request.full_path.rstrip("?"),
        "navigation": [(page, name) for page, name, roles in NAVIGATION if held & roles],
        "roles": held,
        "Role": Role,
        "now": custody().clock.now(),
        "minute": timedelta(minutes=1),
    }
    body = _templates().get_template(template).render({**common, **values})
    response = Response(body, status, content_type="text/html; charset=utf-8")
    response.headers.update(_HEADERS)
    response.headers["Content-Security-Policy"] = POLICY
    return response
