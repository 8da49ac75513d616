"""Which requests the portal takes: whose session, from whose site, and what it says otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from intake_api.api import looks
from intake_api.identity import Caller, HttpsDocuments, SignIn, SignInClient, SignInSettings
from intake_api.identity.sign_in import LoggedOut
from intake_api.portal.blueprint import OPEN
from intake_api.portal.browser_session import COOKIE, _seal, new_secret
from retention.custody.access import portal_sessions
from retention.custody.access.portal_sessions import SignedIn
from retention.domain.actor import Actor, Role
from tests.service import CASE, ENGINEER, OPERATOR, Service, collection, pack

SAME = {"Sec-Fetch-Site": "same-origin"}
TUS = {"Tus-Resumable": "1.0.0"}
METADATA = pack(collection(stamp="").items()) + "," + pack([("last_modified", "1764489600000")])
HOST = "localhost"


@pytest.fixture
def browser(empty: Service) -> Any:
    """A browser without a session."""
    return empty.app.test_client()


def ask(browser: Any, method: str, path: str, headers: dict[str, str] | None = None, **form: str) -> Any:
    return browser.open(path, method=method, headers=headers, data=form or None, base_url="https://localhost")


def sign_in(browser: Any, subject: str = "ada", role: str = "CaseVault.Auditor", **form: str) -> Any:
    return ask(browser, "POST", "/portal/sign-in/person", SAME, subject=subject, role=role, **form)


def test_without_a_session_a_page_leads_to_the_sign_in_and_back(browser: Any) -> None:
    answer = ask(browser, "GET", "/portal/log?action=bundle.opened", SAME)
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/portal/sign-in?to=/portal/log%3Faction%3Dbundle.opened"


@pytest.mark.parametrize(
    "to", ["https://elsewhere.example/", "//elsewhere.example/portal/", "/tenants", "/portal/\\x"]
)
def test_nobody_is_sent_elsewhere_after_the_sign_in(browser: Any, to: str) -> None:
    assert sign_in(browser, to=to).headers["Location"] == "/portal/"


def test_the_cookie_is_of_this_host_alone_and_no_script_reads_it(browser: Any) -> None:
    (cookie,) = sign_in(browser).headers.getlist("Set-Cookie")
    assert cookie.startswith("__Host-casevault=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} == set(cookie.split("; ")[1:])


def test_a_session_that_somebody_set_is_not_the_one_after_the_sign_in(browser: Any) -> None:
    planted = "ab" * 32
    browser.set_cookie("__Host-casevault", planted, domain=HOST, secure=True)
    sign_in(browser)
    assert browser.get_cookie("__Host-casevault", domain=HOST).value != planted
    other = browser.application.test_client()
    other.set_cookie("__Host-casevault", planted, domain=HOST, secure=True)
    assert ask(other, "GET", "/portal/log", SAME).status_code == 303


def test_signing_in_again_ends_the_session_before(browser: Any) -> None:
    sign_in(browser)
    before = browser.get_cookie("__Host-casevault", domain=HOST).value
    sign_in(browser, subject="adele")
    other = browser.application.test_client()
    other.set_cookie("__Host-casevault", before, domain=HOST, secure=True)
    assert ask(other, "GET", "/portal/log", SAME).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {},
    ],
)
def test_a_post_that_another_site_began_is_refused(browser: Any, headers: dict[str, str]) -> None:
    sign_in(browser)
    answer = ask(browser, "POST", "/portal/sign-out", headers)
    assert answer.status_code == 403 and "another site" in answer.text
    assert ask(browser, "GET", "/portal/log", SAME).status_code == 200


@pytest.mark.parametrize("headers", [SAME, {"Origin": "https://localhost"}, {"Sec-Fetch-Site": "none"}])
def test_a_post_of_the_portals_own_page_is_taken(browser: Any, headers: dict[str, str]) -> None:
    sign_in(browser)
    assert ask(browser, "POST", "/portal/sign-out", headers).status_code == 303
    assert ask(browser, "GET", "/portal/log", SAME).status_code == 303


def test_a_link_in_a_mail_is_followed_and_an_image_elsewhere_is_not(browser: Any) -> None:
    sign_in(browser)
    cross = {"Sec-Fetch-Site": "cross-site"}
    followed = {**cross, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-User": "?1"}
    embedded = {**cross, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    framed = {**cross, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    codes = [
        ask(browser, "GET", "/portal/log", headers).status_code for headers in (followed, embedded, framed)
    ]
    assert codes == [200, 403, 403]


def test_a_problem_is_a_page_that_says_what_to_do(browser: Any) -> None:
    sign_in(browser)
    answer = ask(browser, "GET", "/portal/nowhere", SAME)
    assert answer.status_code == 404 and answer.content_type == "text/html; charset=utf-8"
    assert "there is no such page" in answer.text and "Request id:" in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("limit=0", "limit"),
        ("action=made.up", "action"),
        ("since=yesterday", "since"),
        ("colour=red", "colour"),
    ],
)
def test_a_filter_that_is_none_is_named(browser: Any, query: str, names: str) -> None:
    sign_in(browser)
    answer = ask(browser, "GET", f"/portal/log?{query}", SAME)
    assert answer.status_code == 422 and f"<b>{names}</b>" in answer.text


def test_an_auditors_page_is_refused_to_an_engineer_and_that_is_an_entry(
    browser: Any, empty: Service
) -> None:
    sign_in(browser, subject="alice", role="CaseVault.SupportEngineer")
    assert ask(browser, "GET", "/portal/log", SAME).status_code == 403
    assert ask(browser, "GET", "/portal/", SAME).headers["Location"] == "/portal/cases"


def test_a_role_without_pages_is_told_so(browser: Any) -> None:
    sign_in(browser, subject="adam", role="CaseVault.Administrator")
    answer = ask(browser, "GET", "/portal/", SAME)
    assert answer.status_code == 403 and "no pages for your role" in answer.text


def test_a_bearer_token_opens_no_page_and_a_cookie_opens_no_route(browser: Any, empty: Service) -> None:
    sign_in(browser)
    assert ask(browser, "GET", "/audit/entries", SAME).status_code == 401


def test_assets_may_be_kept_for_ever_under_their_own_address_alone(browser: Any) -> None:
    page = ask(browser, "GET", "/portal/sign-in", SAME).text
    address = page.partition('stylesheet" href="')[2].partition('"')[0]
    kept = ask(browser, "GET", address, SAME)
    assert kept.status_code == 200 and "immutable" in kept.headers["Cache-Control"]
    other = ask(browser, "GET", "/portal/assets/0/portal.css", SAME)
    assert other.headers["Cache-Control"] == "no-store"
    assert ask(browser, "GET", "/portal/assets/0/..%2fpage.py", SAME).status_code == 404


def test_every_page_but_the_way_in_needs_a_session(browser: Any) -> None:
    closed = [
        rule for rule in browser.application.url_map.iter_rules() if rule.endpoint.startswith("portal.")
    ]
    closed = [rule for rule in closed if rule.endpoint not in OPEN]
    assert len(closed) > 20
    for rule in closed:
        path = "/".join("x" if part.startswith("<") else part for part in rule.rule.split("/"))
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
            answer = ask(browser, method, path, SAME)
            assert answer.status_code == 303, (method, path)
            assert answer.headers["Location"].startswith("/portal/sign-in?to="), (method, path)


def test_every_look_at_a_page_is_an_entry(service: Service) -> None:
    bundle = service.complete()
    browser = service.app.test_client()
    sign_in(browser, OPERATOR.subject, "CaseVault.Operator", directory=str(OPERATOR.directory))
    begun = ask(browser, "POST", f"/portal/bundles/{service.complete(b'second' * 9)}/erase", SAME)
    confirmation = begun.headers["Location"].rpartition("/")[2]
    service.tick()
    known = {"number": CASE, "bundle": bundle, "confirmation": confirmation, "grant": service.grant()}
    hook = {"way": "webhook", "address": "https://hooks.example/"}
    known["receiver"] = service.done("POST", "/notice-receivers", OPERATOR, json=hook)["id"]
    auditors = service.app.test_client()
    sign_in(auditors)
    (oldest,) = (entry["id"] for entry in service.entries(bundle=bundle, action="bundle.verified"))
    rows = {key: row for key, row in looks.ROWS.items() if key[0].startswith("portal.") and row.look}
    for (endpoint, method), row in rows.items():
        if endpoint in ("portal.content", "portal.file"):
            continue  # they have tests of their own
        service.custody.write_counts(everything=True)
        before = {entry["id"] for entry in service.entries()}
        (rule,) = [rule for rule in service.app.url_map.iter_rules() if rule.endpoint == endpoint]
        path = rule.rule.replace("<", "{").replace(">", "}").format(**known)
        path += f"?entry={oldest}" if endpoint == "portal.proof_of_inclusion" else ""
        answer = ask(auditors if "review" in endpoint else browser, method, path, SAME | TUS)
        assert answer.status_code == 200, (path, answer.text)
        fresh = [entry for entry in service.entries() if entry["id"] not in before]
        of = [entry["details"].get("of") for entry in fresh if entry["action"] == row.look]
        assert row.of in of, (endpoint, fresh)


def test_a_bundles_content_goes_out_under_a_grant_alone(service: Service) -> None:
    bundle = service.complete(b"log " * 99)
    service.assign(ENGINEER)
    browser = service.app.test_client()
    sign_in(browser, ENGINEER.subject, "CaseVault.SupportEngineer")
    path = f"/portal/bundles/{bundle}/content"
    assert ask(browser, "GET", path, SAME).status_code == 403
    reason = {"reason": "Volume offline on node 2", "duration_minutes": "60"}
    assert ask(browser, "POST", f"/portal/cases/{CASE}/grants", SAME, **reason).status_code == 303
    answer = ask(browser, "GET", path, SAME)
    assert answer.status_code == 200 and answer.data == b"log " * 99
    part = ask(browser, "GET", path, {**SAME, "Range": "bytes=4-7"})
    assert part.status_code == 206 and part.data == b"log "


def test_who_sends_nothing_is_refused_in_the_words_that_the_script_reads(
    empty: Service, browser: Any
) -> None:
    sign_in(browser)
    told = ask(
        browser, "POST", "/portal/uploads", SAME | TUS | {"Upload-Length": "1", "Upload-Metadata": METADATA}
    )
    assert (told.status_code, told.mimetype) == (403, "application/problem+json")
    assert (told.json["reason"], empty.entries()[0]["action"]) == ("role-missing", "upload.created")


def test_an_upload_begun_in_a_page_is_the_page_s_own_address_and_needs_its_protocol(service: Service) -> None:
    browser = service.app.test_client()
    sign_in(browser, OPERATOR.subject, "CaseVault.Operator", directory=str(OPERATOR.directory))
    (stamp,) = service.done("GET", "/stamps", OPERATOR)["items"]
    announced = {"Upload-Length": "5", "Upload-Metadata": METADATA + "," + pack([("stamp", stamp["id"])])}
    assert ask(browser, "POST", "/portal/uploads", SAME | announced).status_code == 412
    begun = ask(browser, "POST", "/portal/uploads", SAME | TUS | announced)
    assert begun.status_code == 201, begun.text
    address = begun.headers["Location"]
    assert address.startswith("/portal/uploads/bun_")
    listed = ask(browser, "GET", "/portal/upload", SAME).text
    assert f'data-upload="{address.rpartition("/")[2]}"' in listed
    assert 'data-modified="1764489600000"' in listed
    body = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    sent = browser.patch(address, data=b"bytes", base_url="https://localhost", headers=SAME | TUS | body)
    assert (sent.status_code, sent.headers["Upload-Offset"]) == (204, "5")
    assert address.rpartition("/")[2] not in ask(browser, "GET", "/portal/upload", SAME).text


def test_asking_for_a_contents_head_is_a_look_too(service: Service) -> None:
    bundle = service.complete()
    browser = service.app.test_client()
    sign_in(browser, OPERATOR.subject, "CaseVault.Operator", directory=str(OPERATOR.directory))
    assert ask(browser, "HEAD", f"/portal/bundles/{bundle}/content", SAME).status_code == 200
    looked = [entry for entry in service.entries() if entry.get("details", {}).get("of") == "content"]
    assert [(entry["bundle"], entry["details"]["by"]) for entry in looked] == [(bundle, "HEAD")]


def test_an_export_without_a_form_is_one_of_lines(browser: Any) -> None:
    sign_in(browser)
    answer = ask(browser, "GET", "/portal/log/export", SAME)
    assert answer.status_code == 200 and "casevault-log.jsonl" in answer.headers["Content-Disposition"]


class Issuer:
    """An issuer's client that says what a test wants."""

    def __init__(self, said: LoggedOut | None = None) -> None:
        self.said = said

    def sign_out_address(self, _: object) -> str:
        return "https://issuer.example/end?client_id=portal"

    def read_logout(self, _: str) -> LoggedOut:
        assert self.said is not None
        return self.said


def signed_in_by(service: Service, issuer: Issuer | SignInClient) -> None:
    service.app.extensions["casevault"] = replace(service.door, sign_in=issuer)  # type: ignore[arg-type]


def test_the_way_to_the_issuers_sign_out_is_a_page_and_no_forms_redirect(
    empty: Service, browser: Any
) -> None:
    """A browser would hold a redirect there to the page's form-action, and stop it."""
    sign_in(browser)
    signed_in_by(empty, Issuer())
    answer = ask(browser, "POST", "/portal/sign-out", SAME)
    assert answer.status_code == 200
    assert 'content="0; url=https://issuer.example/end?client_id=portal"' in answer.text
    assert ask(browser, "GET", "/portal/log", SAME).status_code == 303


def test_whom_the_issuer_signs_out_is_out_at_once(empty: Service, browser: Any) -> None:
    sign_in(browser)
    signed_in_by(empty, Issuer(LoggedOut(subject="somebody-else", issuer_session=None)))
    assert ask(browser, "POST", "/portal/back-channel-logout", logout_token="x").status_code == 200
    assert ask(browser, "GET", "/portal/log", SAME).status_code == 200
    signed_in_by(empty, Issuer(LoggedOut(subject="ada", issuer_session=None)))
    assert ask(browser, "POST", "/portal/back-channel-logout", logout_token="x").status_code == 200
    assert ask(browser, "GET", "/portal/log", SAME).status_code == 303


def test_a_sign_in_that_fails_is_an_entry(empty: Service, browser: Any) -> None:
    signed_in_by(empty, Issuer())
    answer = ask(browser, "GET", "/portal/callback?code=x&state=y", SAME)
    assert answer.status_code == 403 and "not begun in this browser" in answer.text
    (refused,) = [entry for entry in empty.entries() if entry["action"] == "caller.refused"]
    assert refused["reason"] == "sign-in-failed"


def _ada(service: Service) -> Actor:
    issuer, roles = service.issuer.settings().issuer, frozenset({Role.AUDITOR})
    unsaid: dict[str, Any] = {"directory": None, "partner": None, "name": None, "particulars": {}}
    return service.services.directory.resolve(issuer=issuer, subject="ada", roles=roles, **unsaid)


def _session_to_renew(service: Service, browser: Any) -> None:
    """A session of ada's whose token's time is over."""
    secret, subject = new_secret(), "ada"
    roles, now = frozenset({Role.AUDITOR}), service.clock.now()
    caller = Caller(issuer=service.issuer.settings().issuer, subject=subject, roles=roles, expires=now)
    actor = _ada(service)
    told = SignIn(caller=caller, refresh_token="refresh", id_token="id", issuer_session=None)
    said = SignedIn(roles=roles, directory=None, partner=None, renew_at=now, sealed=_seal(secret, told))
    portal_sessions.begin(service.custody, actor, secret, said)
    browser.set_cookie(COOKIE, secret.hex(), domain=HOST, secure=True)


def test_nobody_goes_on_with_what_they_had_while_the_issuer_is_away(empty: Service, browser: Any) -> None:
    """A role that was taken away counts for no longer than its token, although the issuer cannot be asked."""
    _session_to_renew(empty, browser)
    issuer, documents = "https://127.0.0.1:1", HttpsDocuments()
    settings = SignInSettings(
        client_id="portal", client_secret=None, redirect="https://p/", signed_out="https://p/"
    )
    client = SignInClient(settings, issuer, documents, empty.door.verifier, empty.clock)
    signed_in_by(empty, client)
    for _ in range(4):
        answer = ask(browser, "GET", "/portal/log", SAME)
        assert answer.status_code == 503 and "cannot be asked now" in answer.text


def test_a_session_that_ends_while_the_issuer_is_asked_is_over(empty: Service, browser: Any) -> None:
    _session_to_renew(empty, browser)

    class Slow(Issuer):
        def renew(self, _refresh: str, subject: str) -> SignIn:
            assert portal_sessions.end_by_issuer(empty.custody, _ada(empty), None) == 1
            later = empty.clock.now() + timedelta(hours=1)
            caller = Caller(issuer="", subject=subject, roles=frozenset({Role.AUDITOR}), expires=later)
            return SignIn(caller=caller, refresh_token="new", id_token=None, issuer_session=None)

    signed_in_by(empty, Slow())
    assert ask(browser, "GET", "/portal/log", SAME).status_code == 303
