"""Names from outside: no control character reaches a store, on either database, and one person has one spelling."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from audit.times import rfc3339
from retention.config import Settings
from retention.domain.actor import Role
from tests.servers.postgres import shared_server
from tests.service import (
    ADMINISTRATOR,
    AUDITOR,
    CASE,
    CASE_SYSTEM,
    ENGINEER,
    OFFSET_BYTES,
    OPERATOR,
    PARTNER,
    STAMP,
    Persona,
    Service,
    collection,
    tus,
)

CONTROLS = ("\x00", "\x01", "\n", "\x1f", "\x7f", "\x85", "\x9f")


@pytest.fixture(params=["sqlite", "postgres"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """A service on each database: PostgreSQL takes no NUL, SQLite does."""
    if request.param == "sqlite":
        with Service(tmp_path) as service:
            yield service
        return
    database = shared_server().new_database()
    url = shared_server().url(database)
    with Service(
        tmp_path, settings=Settings(state=tmp_path / "s", development=True, database_url=url)
    ) as service:
        yield service
    shared_server().drop(database)


def test_a_control_character_in_an_address_is_refused_alike_by_every_route(anywhere: Service) -> None:
    rules = [rule for rule in anywhere.app.url_map.iter_rules() if rule.arguments - {"level"}]
    assert len(rules) > 30
    for rule in rules:
        for wrong in CONTROLS[:2] if "path" in rule.rule else CONTROLS:
            path = "/".join(
                quote(f"a{wrong}b", safe="") if part.startswith("<") and "level" not in part else part
                for part in rule.rule.replace("<int:level>", "0").split("/")
            )
            for method in sorted((rule.methods or set()) - {"OPTIONS"}):
                answer = anywhere.call(method, path, AUDITOR)
                assert answer.status_code == 400, (method, path, answer.status_code)
                if rule.endpoint.startswith("portal."):
                    assert method == "HEAD" or "the address contains control characters" in answer.text
                elif method != "HEAD":
                    assert answer.get_json()["type"] == "/problems/malformed"


@pytest.mark.parametrize("list_", ["/bundles", "/cases", "/stamps", "/tenants", "/erasures"])
@pytest.mark.parametrize("place", ["0|a\x00b", "0|a\nb", "0|", "0|a|b", "1_0|a", "\u0661|a", "9" * 30 + "|a"])
def test_a_cursor_that_we_never_gave_is_refused(anywhere: Service, list_: str, place: str) -> None:
    cursor = base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")
    answer = anywhere.call("GET", list_, AUDITOR, query_string={"cursor": cursor})
    assert (answer.status_code, sorted(answer.get_json()["errors"])) == (422, ["cursor"])


@pytest.mark.parametrize("claim", ["subject", "directory", "partner"])
@pytest.mark.parametrize("wrong", [*CONTROLS, "\ud800"])
def test_a_token_whose_names_hold_control_characters_is_refused(
    anywhere: Service, claim: str, wrong: str
) -> None:
    who = replace(Persona("x", (Role.AUDITOR,), "d", "p"), **{claim: f"a{wrong}b"})
    answer = anywhere.call("GET", "/cases", who)
    assert (answer.status_code, answer.get_json()["reason"]) == (401, "malformed")


ODD = ("\u202e", "\u2066", "\u200f", "\u061c", "\u2028", "\u2029")
"""Overrides, isolates and marks of direction; separators of lines and paragraphs."""


@pytest.mark.parametrize("odd", ODD)
def test_reasons_and_names_read_as_they_were_written(service: Service, odd: str) -> None:
    bundle = service.complete()
    reason = {"reason": f"the customer asked for it{odd} twice"}
    asked: list[tuple[str, Persona, dict[str, object]]] = [
        (f"/cases/{CASE}/grants", ENGINEER, reason),
        (f"/bundles/{bundle}/erasures", ENGINEER, reason),
        (f"/bundles/{bundle}/report", ENGINEER, reason),
        (f"/bundles/{bundle}/move", ENGINEER, {**reason, "case": CASE}),
        ("/tenants", ADMINISTRATOR, {"name": f"Con{odd}toso", "directory": "d"}),
        ("/tenants", ADMINISTRATOR, {"name": "Contoso", "directory": f"d{odd}"}),
        ("/stamps", OPERATOR, {"name": f"ra{odd}ck", "subject": "s"}),
        ("/cases", CASE_SYSTEM, {"number": f"1{odd}2", "directory": "directory-one"}),
    ]

    def acts() -> list[str]:
        done = service.entries(outcome="success")
        return [e["action"] for e in done if e["action"] != "audit.queried"]

    before = acts()
    for path, who, body in asked:
        answer = service.call("POST", path, who, json=body)
        assert answer.status_code == 422, (path, answer.get_data(as_text=True))
    named = {**tus(4, collection(filename=f"a{odd}gpj.zip")), "Content-Type": OFFSET_BYTES}
    assert service.call("POST", "/uploads", STAMP, headers=named, data=b"data").status_code == 422
    assert acts() == before


def test_what_is_not_latin_is_no_oddity(service: Service) -> None:
    for reason in ("الرجاء التحقق من السجلات", "לקוח ביקש לבדוק את הדיסק", "نمی\u200cخواهم ببینم چه شد"):
        service.done("POST", f"/cases/{CASE}/grants", ENGINEER, json={"reason": reason})


@pytest.mark.parametrize("odd", [*ODD, "\n", "\x1b"])
def test_a_name_that_would_deceive_is_spelled_out_and_keeps_nobody_out(service: Service, odd: str) -> None:
    who, name = service.issuer, f"Zoe{odd}eoZ"
    token = who.token("zoe", (Role.AUDITOR,), name=name)
    answer = service.call("GET", "/stamps", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    (entry,) = [e for e in service.entries() if e["particulars"].get("subject") == "zoe"]
    assert entry["particulars"]["name"] == f"Zoe{odd.encode('unicode_escape').decode()}eoZ"


def spelled(form: str, text: str) -> str:
    return unicodedata.normalize(form, text)  # type: ignore[arg-type]


@pytest.mark.parametrize(("registered", "used"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_who_is_written_in_two_ways_is_one_and_the_same(
    anywhere: Service, registered: str, used: str
) -> None:
    """Directory, operator, stamp, engineer, partner: each made known in one form, and acting in the other."""
    home, rack, zoe, oem = "b\u00fccher", "rack-\u00e9", "zo\u00eb", "\u00f6em"
    known = {name: spelled(registered, name) for name in (home, rack, zoe, oem)}
    acts = {name: spelled(used, name) for name in (home, rack, zoe, oem)}
    assert known != acts
    operator = Persona("olga", OPERATOR.roles, acts[home])
    anywhere.done("POST", "/tenants", ADMINISTRATOR, json={"name": "B", "directory": known[home]})
    again = anywhere.call("POST", "/tenants", ADMINISTRATOR, json={"name": "B", "directory": acts[home]})
    assert again.status_code == 409
    anywhere.done("POST", "/stamps", operator, json={"name": "r", "subject": known[rack]})
    anywhere.done("POST", "/cases", CASE_SYSTEM, json={"number": CASE, "directory": acts[home]})
    sender = Persona(acts[rack], STAMP.roles, acts[home])
    bundle = anywhere.send(who=sender)
    anywhere.tick()
    for subject in (known[zoe], known["zo\u00eb"]):
        anywhere.done("POST", f"/cases/{CASE}/assignments", CASE_SYSTEM, json={"subject": subject})
    engineer = Persona(acts[zoe], ENGINEER.roles)
    anywhere.grant(engineer)
    assert anywhere.call("GET", f"/bundles/{bundle}/content", engineer).status_code == 200
    pat = Persona("pat", PARTNER.roles, partner=acts[oem])
    anywhere.assign(pat)
    later = rfc3339(anywhere.clock.now() + timedelta(days=1))
    consent = {"partner": known[oem], "expires_at": later}
    anywhere.done("POST", f"/cases/{CASE}/consents", operator, json=consent)
    anywhere.grant(pat)
    assert anywhere.call("GET", f"/bundles/{bundle}/content", pat).status_code == 200
    anywhere.done("DELETE", f"/cases/{CASE}/assignments", CASE_SYSTEM, query_string={"subject": acts[zoe]})
    assert anywhere.call("GET", f"/bundles/{bundle}/content", engineer).status_code == 404
    headers = {**tus(4, collection()), "Content-Type": OFFSET_BYTES}
    assert anywhere.call("POST", "/uploads", sender, headers=headers, data=b"more").status_code == 201
