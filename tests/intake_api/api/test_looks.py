"""Every look is an entry: the table of routes is whole, true, and the one in docs/auditors.md (P3)."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from audit.entry import Action
from audit.times import rfc3339
from intake_api.api import looks
from intake_api.api.routes.witness import witness_blueprint
from intake_api.blob.app import OPERATIONS
from intake_api.identity import development_blueprint
from retention.custody.counted_entries import MOST_LOOKED_AT
from tests.intake_api.blob.calling import sender
from tests.service import (
    ADMINISTRATOR,
    AUDITOR,
    CASE,
    ENGINEER,
    OPERATOR,
    STAMP,
    Persona,
    Service,
    collection,
    tus,
)

PAGE = Path(__file__).parents[3] / "docs" / "auditors.md"
DATA = b"what the rack said " * 300


def served(service: Service) -> set[tuple[str, str, str]]:
    """Method, path and endpoint of every route that any deployment has."""

    class Core:
        origins = ()

    other = Flask("other")
    other.register_blueprint(witness_blueprint(Core()), url_prefix="/witness")  # type: ignore[arg-type]
    other.register_blueprint(development_blueprint(service.issuer, bind="127.0.0.1"))
    rules = [*service.app.url_map.iter_rules(), *other.url_map.iter_rules()]
    return {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), rule.endpoint)
        for rule in rules
        for method in rule.methods or ()
        if rule.endpoint != "static"
        and not (method == "OPTIONS" and not rule.endpoint.startswith("uploads."))
    }


def test_every_route_has_a_row_and_no_row_is_of_nothing(service: Service) -> None:
    routes = served(service)
    for method, path, endpoint in routes:
        row = looks.row_of(endpoint, method)
        assert row.acts or row.look or row.why, f"{method} {path}"
    assert set(looks.ROWS) <= {(endpoint, method) for method, _path, endpoint in routes}


def test_a_route_without_a_row_does_not_start() -> None:
    app = Flask("new", static_folder=None)
    app.add_url_rule("/new", "new.route", lambda: "shown", methods=["GET"])
    with pytest.raises(RuntimeError, match="/new has no row"):
        looks.check(app)


def page_rows() -> dict[str, str]:
    """The table of the page: `METHOD /path` and what is entered."""
    return dict(re.findall(r"^\| `([A-Z]+ [^`]+)` \| (.+?) \|", PAGE.read_text(), flags=re.M))


def told(row: looks.Row) -> str:
    """A row in the page's words."""
    acts = ", ".join(f"`{action}`" for action in row.acts)
    look = f"`{row.look}` of {row.of}" if row.look else ""
    if acts and look:
        look += f" ({', '.join(map(str, sorted(row.statuses)))})"
    return "; ".join(filter(None, [acts, look])) or f"none: {row.why}"


def test_the_page_has_the_same_table(service: Service) -> None:
    wanted = {
        f"{method} {path}": told(looks.row_of(endpoint, method))
        for method, path, endpoint in served(service)
        if method != "HEAD" or (endpoint, method) in looks.ROWS
    }
    blobs = {
        f"{method} {'blob' if is_blob else 'container'}{f' comp={comp}' if comp else ''}": "`upload-link.used` "
        f"({operation.name})" if operation.run else f"`upload-link.refused` ({operation.name})"
        for (method, is_blob, comp), operation in OPERATIONS.items()
    }  # fmt: skip
    assert page_rows() == {**wanted, **blobs}


def looks_of(service: Service, action: Action) -> list[dict[str, Any]]:
    return service.entries(action=str(action))


def ready(service: Service) -> dict[str, str]:
    """What the addresses need: ids of one of each."""
    bundle = service.complete(DATA)
    grant = service.grant()
    upload = service.call("POST", "/uploads", STAMP, headers=tus(10, collection())).headers["Location"]
    erased = service.complete(b"other")
    erasure = service.done("POST", f"/bundles/{erased}/erasures", OPERATOR, json={})
    service.tick()
    stamp = service.done("GET", "/stamps", ADMINISTRATOR)["items"][0]["id"]
    entry = service.entries(action="grant.given")[0]["id"]
    service.done("PUT", f"/cases/{CASE}/approval-policy", OPERATOR, json={"rule": "ask"})
    reason = {"reason": "Looking for the failed drive"}
    approval = service.done("POST", f"/cases/{CASE}/grants", ENGINEER, json=reason)["id"]
    hook = {"way": "webhook", "address": "https://hooks.example/"}
    return {
        "approval": approval,
        "receiver": service.done("POST", "/notice-receivers", OPERATOR, json=hook)["id"],
        "bundle": bundle,
        "grant": grant,
        "confirmation": erasure["confirmation"],
        "number": CASE,
        "stamp": stamp,
        "upload": upload,
        "entry": entry,
    }


CALLS: dict[str, tuple[str, str, Persona, int]] = {
    "tenants.index": ("GET", "/tenants", ADMINISTRATOR, 200),
    "stamps.index": ("GET", "/stamps", OPERATOR, 200),
    "stamps.show": ("GET", "/stamps/{stamp}", AUDITOR, 200),
    "stamps.proactive_consent": ("GET", "/stamps/{stamp}/proactive-consent", AUDITOR, 200),
    "cases.index": ("GET", "/cases", ENGINEER, 200),
    "cases.show": ("GET", "/cases/{number}", ENGINEER, 200),
    "upload_links.of_stamp": ("GET", "/stamps/{stamp}/upload-links", AUDITOR, 200),
    "upload_links.of_case": ("GET", "/cases/{number}/upload-links", OPERATOR, 200),
    "bundles.index": ("GET", "/bundles", ENGINEER, 200),
    "bundles.show": ("GET", "/bundles/{bundle}", ENGINEER, 200),
    "bundles.receipt": ("GET", "/bundles/{bundle}/receipt", OPERATOR, 200),
    "content.content": ("HEAD", "/bundles/{bundle}/content", ENGINEER, 200),
    "grants.index": ("GET", "/cases/{number}/grants", OPERATOR, 200),
    "grants.show": ("GET", "/grants/{grant}", ENGINEER, 200),
    "approvals.index": ("GET", "/approvals", OPERATOR, 200),
    "approvals.show": ("GET", "/approvals/{approval}", ENGINEER, 200),
    "approvals.policy": ("GET", "/approval-policy", OPERATOR, 200),
    "approvals.policy_of_case": ("GET", "/cases/{number}/approval-policy", ENGINEER, 200),
    "reviews.index": ("GET", "/reviews", AUDITOR, 200),
    "reviews.show": ("GET", "/grants/{grant}/review", AUDITOR, 200),
    "consents.index": ("GET", "/cases/{number}/consents", OPERATOR, 200),
    "erasures.index": ("GET", "/erasures", OPERATOR, 200),
    "erasures.show": ("GET", "/erasures/{confirmation}", OPERATOR, 200),
    "notices.index": ("GET", "/notice-receivers", OPERATOR, 200),
    "notices.sent": ("GET", "/notice-receivers/{receiver}/notices", AUDITOR, 200),
    "erasures.receipt": ("GET", "/erasures/{confirmation}/receipt", OPERATOR, 200),
    "uploads.offset": ("HEAD", "{upload}", STAMP, 200),
    "audit.entries_tile": ("GET", "/audit/tile/entries/000.p/{size}", AUDITOR, 200),
    "audit.inclusion": ("GET", "/audit/proofs/inclusion?entry={entry}", AUDITOR, 200),
}
MORE = {
    ("preflight.preflight", "POST"),
    ("upload_links.check", "POST"),
    ("content.content", "GET"),
    ("files.read", "GET"),
}
"""Tried by tests of their own; `files.read` in test_text.py, the portal's in tests/intake_api/portal."""


def test_every_look_of_the_table_is_tried_here() -> None:
    rows = {key for key, row in looks.ROWS.items() if row.look and not key[0].startswith("portal.")}
    assert rows - MORE == {(name, method) for name, (method, *_) in CALLS.items()}


def test_every_look_is_an_entry_by_who_looked_about_what(service: Service) -> None:
    known = ready(service)
    known["size"] = str(service.services.sequencer.run_once().size)  # type: ignore[union-attr]
    for endpoint, (method, path, who, status) in CALLS.items():
        row = looks.row_of(endpoint, method)
        assert row.look is not None
        before = {entry["id"] for entry in looks_of(service, row.look)}
        headers = {"Tus-Resumable": "1.0.0"} if endpoint == "uploads.offset" else {}
        service.custody.write_counts(everything=True)
        answer = service.call(method, path.format(**known), who, headers=headers)
        assert answer.status_code == status, (endpoint, answer.get_data(as_text=True))
        fresh = [entry for entry in looks_of(service, row.look) if entry["id"] not in before]
        mine = [entry for entry in fresh if entry["particulars"].get("subject") == who.subject]
        mine = [entry for entry in mine if entry["details"]["of"] == row.of]
        assert mine, endpoint
        ids = {entry.get(name) for entry in mine for name in ("case", "bundle", "subject")}
        if "{bundle}" in path:
            assert known["bundle"] in ids
        if "{grant}" in path:
            assert known["grant"] in ids
        if "{number}" in path and endpoint != "upload_links.of_case":
            assert ids - {None}, endpoint


def test_a_preflight_and_a_pasted_link_are_looks(service: Service) -> None:
    sender(service)
    body = {**collection(), "size": 5}
    service.done("POST", "/uploads/preflight", STAMP, json=body)
    terms = {"expires_at": rfc3339(service.clock.now() + timedelta(days=1))}
    link = service.done("POST", f"/cases/{CASE}/upload-links", OPERATOR, json=terms)
    service.done("POST", "/upload-links/check", OPERATOR, json={"url": link["url"]})
    found = {entry["details"]["of"] for entry in looks_of(service, Action.RECORD_SHOWN)}
    assert {"preflight", "upload-link"} <= found


def test_a_304_is_a_look_and_opens_nothing(service: Service) -> None:
    bundle = service.complete(DATA)
    service.grant()
    etag = service.call("HEAD", f"/bundles/{bundle}/content", ENGINEER).headers["ETag"]
    service.custody.write_counts(everything=True)
    head = {"If-None-Match": etag}
    assert service.call("GET", f"/bundles/{bundle}/content", ENGINEER, headers=head).status_code == 304
    head_look, not_modified = sorted(looks_of(service, Action.RECORD_SHOWN), key=lambda each: each["at"])[-2:]
    assert head_look["details"] == {"of": "content", "by": "HEAD"}
    assert not_modified["details"] == {"of": "content"}
    assert not_modified["bundle"] == bundle
    assert service.entries(action="bundle.opened") == []


@pytest.mark.parametrize("status", [409, 410, 416])
def test_what_is_not_shown_but_whose_state_is_told_is_an_entry(service: Service, status: int) -> None:
    service.grant()
    if status == 409:
        bundle = service.send(DATA)
        answer = service.call("HEAD", f"/bundles/{bundle}/content", ENGINEER)
    else:
        bundle = service.complete(DATA)
        if status == 410:
            service.done("POST", f"/bundles/{bundle}/erasures", OPERATOR, json={})
        head = {"Range": "bytes=999999-"} if status == 416 else {}
        answer = service.call("GET", f"/bundles/{bundle}/content", ENGINEER, headers=head)
    assert answer.status_code == status
    entry = service.entries(action="request.failed")[0]
    assert (entry["outcome"], entry["details"]["status"]) == ("failed", status)
    assert entry["particulars"]["asked"].startswith(bundle)


def test_an_erasure_that_is_asked_for_again_is_an_entry(service: Service) -> None:
    bundle = service.complete(DATA)
    first = service.done("POST", f"/bundles/{bundle}/erasures", OPERATOR, json={})
    again = service.done("POST", f"/bundles/{bundle}/erasures", OPERATOR, json={})
    assert first["confirmation"] == again["confirmation"]
    repeated, asked = service.entries(action="erasure.requested")
    assert repeated["details"]["repeated"] == "customer-request"
    assert repeated["subject"] == asked["subject"]


def test_who_polls_adds_two_entries_in_ten_minutes(service: Service) -> None:
    for _ in range(200):
        service.done("GET", "/cases", ENGINEER)
    service.advance(timedelta(minutes=10))
    service.custody.write_counts()
    listed = [e for e in looks_of(service, Action.RECORDS_LISTED) if e["details"]["of"] == "cases"]
    mine = [entry for entry in listed if entry["particulars"]["subject"] == ENGINEER.subject]
    assert [entry["details"].get("count", 1) for entry in mine] == [199, 1]


def test_a_mirror_that_reads_a_thousand_tiles_adds_two_entries_with_first_and_last(service: Service) -> None:
    service.tick()
    size = service.services.sequencer.run_once().size  # type: ignore[union-attr]
    for _ in range(50):
        path = f"/audit/tile/entries/000.p/{size}"
        assert service.call("GET", path, AUDITOR).status_code == 200
    service.custody.write_counts(everything=True)
    shown = looks_of(service, Action.LEAVES_SHOWN)
    assert [entry["details"].get("count", 1) for entry in shown] == [49, 1]
    assert shown[0]["particulars"]["asked"] == f"000.p/{size}"


def test_a_look_that_cannot_be_entered_is_not_shown(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.call("GET", f"/cases/{CASE}", OPERATOR)
    service.custody.write_counts(everything=True)

    def broken(*_: object) -> None:
        raise OSError(28, "the log cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr("retention.records.unit_of_work.append.append_rows", broken)
        answer = service.call("GET", f"/cases/{CASE}", OPERATOR)
    assert answer.status_code == 507
    assert CASE not in answer.get_data(as_text=True).replace(f"/cases/{CASE}", "")


def test_what_one_person_looks_at_is_bounded(service: Service) -> None:
    about = looks.ROWS["bundles.show", "GET"]
    assert about.look is Action.RECORD_SHOWN
    from retention.custody.context import entry
    from retention.custody.counted_entries import Counts
    from tests.retention.custody.world import START

    counts, actor = Counts(), service.services.directory.resolve(
        issuer="i", subject="s", roles=frozenset(AUDITOR.roles), directory=None, partner=None, name=None,
        particulars={},
    )  # fmt: skip
    for n in range(3 * MOST_LOOKED_AT):
        look = entry(actor, Action.RECORD_SHOWN, START, bundle=f"bun_{n}", details={"of": "bundle"})
        counts.looks.note(service.custody.records, look, actor.id)
    shown = [entry for entry in looks_of(service, Action.RECORD_SHOWN) if entry["actor"] == actor.id]
    assert len(shown) == MOST_LOOKED_AT
    many = [e for e in looks_of(service, Action.RECORDS_LISTED) if e["actor"] == actor.id]
    assert [entry["details"] for entry in many] == [{"of": "many"}]


def test_what_a_file_inside_a_bundle_is_called_stands_in_no_entry_that_outlives_it(service: Service) -> None:
    """Of a file that is not there, and of an erased bundle: the name would not go with the bundle (see `proving`)."""
    bundle = service.complete(b"not an archive")
    service.grant()
    path = f"/bundles/{bundle}/files"
    assert service.call("GET", f"{path}/patient-list.txt", ENGINEER).status_code in (404, 422)
    service.done("POST", f"/bundles/{bundle}/erasures", OPERATOR, json={})
    service.tick()
    for asked in (f"{path}/patient-list.txt", f"{path}?inside=patient-list.zip"):
        assert service.call("GET", asked, ENGINEER).status_code == 410
    service.services.custody.counts.flush(service.custody.records, service.clock.now(), everything=True)
    told = looks_of(service, Action.REQUEST_FAILED)
    assert bundle in str(told)
    assert "patient-list" not in str(told)


def test_an_act_asked_for_again_is_a_look(service: Service) -> None:
    """It changes nothing, and shows who had access, why and until when."""
    grant = service.grant()
    path = f"/grants/{grant}/release"
    service.done("POST", path, ENGINEER)
    assert looks_of(service, Action.RECORD_SHOWN) == []
    service.done("POST", path, ENGINEER)
    service.done("POST", f"/grants/{grant}/revoke", OPERATOR)
    found = [(entry["actor_kind"], entry["subject"]) for entry in looks_of(service, Action.RECORD_SHOWN)]
    assert sorted(found) == [("engineer", grant), ("operator", grant)]
