"""A customer's operator sends bundles from a page, and hands out upload links for others to send through.

Rules:
- The page's script speaks tus to the same views as any client (`api.routes.uploads`), under the session instead of a
  token. What came is kept by the service: a line that is lost, a page that is closed or a browser that dies costs what
  was under way, and any browser goes on with the same file.
- The page shows only uploads that such a page began (`FROM_PAGE`): a stamp's own go on without anybody.
- A link's address is shown in the response to the one who issued or renewed it, and kept nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from flask import Response, redirect, request

from intake_api.api.authentication import caller, custody
from intake_api.api.routes import bundles, upload_links, uploads
from intake_api.portal import forms, page
from intake_api.schemas.bundles import BundleQuery
from intake_api.schemas.fields import PageQuery
from intake_api.schemas.upload_links import NewCaseLink, NewStampLink, Renewal
from intake_api.tus import protocol
from retention.custody.access import manage_links, manage_stamps
from retention.domain.bundle import BundleState
from retention.domain.upload_link import ASSUMED_WINDOW

FROM_PAGE = "last_modified"
"""The key of Upload-Metadata that only the page's script sends: by it, name and size, a file is known again."""
_MOST_PAGES = 10
_SUGGESTED = timedelta(days=7)
"""How long a link is suggested to live."""


def upload() -> Response:
    """Show what can be sent, and what was begun in a page and is not complete."""
    unfinished = [
        {"row": row, "modified": modified}
        for row in _in_progress()
        if row.state == BundleState.RECEIVING and (modified := _modified(row.upload_metadata)) is not None
    ]
    now = custody().clock.now()
    return page.show(
        "upload.html",
        stamps=_registered(),
        unfinished=unfinished,
        asked=request.args,
        logs_end=now,
        logs_start=now - ASSUMED_WINDOW,
        most=custody().limits.max_bundle_size,
    )


def links() -> Response:
    """Show the links of a stamp or a case, and issue new ones."""
    return _show_links(request.args)


def issue_link() -> Response:
    """Issue a link for a stamp or a case; its address is shown this once."""
    form = request.form
    given = {"expires_at": forms.day(form.get("expires_on", "")), "ip": form.get("ip", "")}
    if case := form.get("case", "").strip():
        asked = forms.read(NewCaseLink, {**given, "stamp": form.get("stamp", "")})
        issued = upload_links.issued_for_case(asked, case)
    else:
        asked = forms.read(NewStampLink, {**given, "trigger": form.get("trigger", "")})
        issued = upload_links.issued_for_stamp(asked, form.get("stamp", ""))
    return _show_links(form, issued)


def renew_link(link: str) -> Response:
    """Extend a link; its new address is shown this once."""
    asked = forms.read(Renewal, {"expires_at": forms.day(request.form.get("expires_on", ""))})
    return _show_links(request.form, upload_links.renewed(asked, link))


def revoke_link(link: str) -> Response:
    """End a link at once."""
    manage_links.revoke_link(custody(), caller(), link)
    of = {name: request.form[name] for name in ("case", "stamp") if request.form.get(name)}
    return redirect(f"/portal/links?{urlencode(of)}", 303)  # type: ignore[return-value]


def _show_links(of: Mapping[str, str], issued: Mapping[str, Any] | None = None) -> Response:
    case, stamp = of.get("case", "").strip(), of.get("stamp", "").strip()
    asked = forms.read(PageQuery, {"cursor": request.args.get("cursor", "")})
    found = None
    if case:
        found = manage_links.list_case_links(custody(), caller(), case, asked["cursor"], asked["limit"])
    elif stamp:
        found = manage_links.list_stamp_links(custody(), caller(), stamp, asked["cursor"], asked["limit"])
    return page.show(
        "links.html",
        case=case,
        stamp=stamp,
        found=found,
        filters=urlencode({"case": case} if case else {"stamp": stamp}),
        issued=issued,
        stamps=_registered(),
        triggers=sorted(custody().triggers.titles.items()),
        until=custody().clock.now() + _SUGGESTED,
    )


def _in_progress() -> Iterator[Any]:
    """Yield what is in progress, newest first: stamps may be sending much more than pages do."""
    cursor = ""
    for _ in range(_MOST_PAGES):
        found = bundles.listed(
            forms.read(BundleQuery, {"status": "in-progress", "cursor": cursor}, limit=200)
        )
        yield from found.items
        if (cursor := found.next or "") == "":
            return


def _registered() -> dict[str, str]:
    every = manage_stamps.list_stamps(custody(), caller(), None, 200).items
    return {stamp.id: stamp.name for stamp in every if stamp.deregistered_at is None}


def _modified(metadata: str | None) -> str | None:
    return protocol.parse_metadata(metadata or "", (FROM_PAGE,)).get(FROM_PAGE)


def _spoken(view: Callable[..., Response]) -> Callable[..., Response]:
    """Let the page's script speak tus to one of the API's views, at the portal's own address."""

    def speak(**named: str) -> Response:
        protocol.check_version(request.headers.get("Tus-Resumable"))
        response = view(**named)
        response.headers["Tus-Resumable"] = protocol.VERSION
        if (made := response.headers.get("Location")) is not None:
            response.headers["Location"] = f"/portal/uploads/{made.rpartition('/')[2]}"
        return response

    return speak


ROUTES: tuple[tuple[str, str, str, Any], ...] = (
    ("GET", "/upload", "upload", upload),
    ("POST", "/uploads", "upload_create", _spoken(uploads.create)),
    ("HEAD", "/uploads/<bundle>", "upload_offset", _spoken(uploads.offset)),
    ("PATCH", "/uploads/<bundle>", "upload_go_on", _spoken(uploads.go_on)),
    ("DELETE", "/uploads/<bundle>", "upload_terminate", _spoken(uploads.terminate)),
    ("GET", "/links", "links", links),
    ("POST", "/links", "issue_link", issue_link),
    ("POST", "/links/<link>/renew", "renew_link", renew_link),
    ("POST", "/links/<link>/revoke", "revoke_link", revoke_link),
)
SPOKEN = frozenset(f"portal.{name}" for method, _, name, _ in ROUTES if name.startswith("upload_"))
"""The endpoints of the script, which reads problem details instead of pages."""
