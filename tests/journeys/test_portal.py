"""The portal in a real browser: three people do their work there, from their sign-in on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from tests.journeys.portal import signed_in
from tests.journeys.served import CASE_SYSTEM, Sent, Served

pytestmark = pytest.mark.browser
REASON = "Volume offline on node 2 since 02:10"


def test_an_engineer_grants_herself_access_downloads_and_releases(
    context: BrowserContext, served: Served, sent: Sent, case: str
) -> None:
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    page = signed_in(context, "alice", "SupportEngineer", to=f"/portal/cases/{case}")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Case {case}")
    page.get_by_label("Why do you need").fill(REASON)
    page.get_by_label("For how long").select_option("2 hours")
    page.get_by_role("button", name="Grant access").click()
    expect(page.get_by_text("You can read this case's bundles until")).to_be_visible()
    expect(page.locator("[data-until]")).to_have_text(re.compile(r"^1 h 59 min$"))

    page.get_by_role("region", name="Bundles").get_by_role("link").first.click()
    expect(page.get_by_text("complete", exact=True)).to_be_visible()
    with page.expect_download() as fetched:
        page.get_by_role("link", name="Download the bundle").click()
    assert Path(fetched.value.path()).read_bytes() == sent.file.read_bytes()

    page.goto(f"/portal/cases/{case}")
    page.get_by_role("button", name="Release it now").click()
    expect(page.get_by_role("button", name="Grant access")).to_be_visible()
    served.until_sequenced()
    listed = served.do("audit", "entries", "--case", case, "--limit", 0, who="auditor:ada")
    done = [entry["action"] for entry in listed]
    assert {"grant.given", "bundle.opened", "bundle.read-ended", "grant.released"} <= set(done)


def test_a_reason_that_is_none_is_refused_in_words(
    context: BrowserContext, served: Served, sent: Sent, case: str
) -> None:
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    page = signed_in(context, "alice", "SupportEngineer", to=f"/portal/cases/{case}")
    page.get_by_label("Why do you need").fill("aaaaaaaaaaaa")
    page.get_by_role("button", name="Grant access").click()
    expect(page.get_by_role("alert")).to_contain_text("reason")
    expect(page.get_by_text("Request id:")).to_be_visible()


def test_an_operator_sees_who_has_access_revokes_it_and_erases_the_case(
    context: BrowserContext, browser: Browser, served: Served, sent: Sent, case: str
) -> None:
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    served.do("grant", case, "--reason", REASON, "--hours", "2", who="engineer:alice")
    page = signed_in(context, "olga", "Operator", "contoso")
    page.get_by_role("link", name="Collections").click()
    expect(page.get_by_role("link", name=case)).to_be_visible()
    page.goto(f"/portal/cases/{case}")
    row = page.get_by_role("row", name=re.compile(REASON))
    expect(row).to_contain_text("alice")
    row.get_by_role("button", name="Revoke it").click()
    expect(page.get_by_role("row", name=re.compile(REASON))).to_contain_text("revoked")

    page.get_by_role("link", name="Erase this case's data").click()
    expect(page.get_by_text("It cannot be undone")).to_be_visible()
    page.get_by_role("button", name="Erase it for good").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Erasure")
    receipt = page.get_by_role("link", name="Download the receipt")
    for _ in range(150):
        if receipt.is_visible():
            break
        page.wait_for_timeout(200)
        page.reload()
    for _ in range(150):  # its signature follows the tree
        answered = context.request.get(f"{page.url}/receipt")
        if answered.ok:
            break
        page.wait_for_timeout(200)
    handed = json.loads(answered.body())
    assert handed["receipt"]["bundles"] and handed["note"]
    page.goto(f"/portal/bundles/{sent.bundle}")
    expect(page.get_by_text("Only this record is left")).to_be_visible()


def test_an_auditor_asks_who_read_a_case_and_takes_the_answer_away(
    context: BrowserContext, served: Served, sent: Sent, case: str
) -> None:
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    served.do("grant", case, "--reason", REASON, "--hours", "2", who="engineer:alice")
    assert served.cli("fetch", sent.bundle, "-o", "-", who="engineer:alice").code == 0
    page = signed_in(context, "ada", "Auditor")
    page.get_by_role("link", name="Who read a case").click()
    page.get_by_label("Case number").fill(case)
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("row", name=re.compile("alice"))).to_contain_text(REASON)
    page.get_by_role("link", name="Log", exact=True).click()
    page.get_by_role("textbox", name="Case").fill(case)
    page.get_by_label("What was done").select_option("bundle.opened")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    with page.expect_download() as fetched:
        page.get_by_role("link", name="jsonl").click()
    (line,) = Path(fetched.value.path()).read_text().splitlines()
    assert sent.bundle in line and "bundle.opened" in line


def test_who_signs_out_is_out_in_every_tab(context: BrowserContext, served: Served) -> None:
    page = signed_in(context, "ada", "Auditor")
    other = context.new_page()
    other.goto("/portal/log")
    expect(other.get_by_role("heading", level=1)).to_have_text("Log")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    other.reload()
    expect(other.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_a_link_to_a_page_leads_there_after_the_sign_in(context: BrowserContext, case: str) -> None:
    page = signed_in(context, "olga", "Operator", "contoso", to=f"/portal/cases/{case}")
    assert page.url.endswith(f"/portal/cases/{case}")


def test_what_a_customer_typed_is_never_markup(context: BrowserContext, served: Served, case: str) -> None:
    served.cli("cases", "assign", case, "mallory", who=CASE_SYSTEM)
    hostile = "<img src=x onerror=document.title='owned'> volume offline"
    served.do("grant", case, "--reason", hostile, "--hours", "2", who="engineer:mallory")
    page = signed_in(context, "olga", "Operator", "contoso", to=f"/portal/cases/{case}")
    expect(page.get_by_text(hostile)).to_be_visible()
    assert page.title() == f"Case {case} · casevault"


def test_a_post_that_another_site_makes_is_refused(context: BrowserContext, served: Served) -> None:
    page = signed_in(context, "ada", "Auditor")
    form = f"<form method=post action={served.server}/portal/sign-out><button>go</button></form>"
    context.route(
        "https://elsewhere.example/", lambda route: route.fulfill(body=form, content_type="text/html")
    )
    page.goto("https://elsewhere.example/")
    page.get_by_role("button").click()
    # The browser keeps the cookie to itself there (SameSite), and the service refuses what another site began.
    expect(page.get_by_role("alert")).to_contain_text("another site")
    page.goto("/portal/log")
    expect(page.get_by_role("heading", level=1)).to_have_text("Log")


@pytest.mark.parametrize(
    ("role", "first"), [("SupportEngineer", "Cases"), ("Operator", "Cases"), ("Auditor", "Log")]
)
def test_each_person_has_pages_of_their_own(context: BrowserContext, role: str, first: str) -> None:
    page = signed_in(context, "sam", role, "contoso")
    expect(page.get_by_role("heading", level=1)).to_have_text(first)
    expect(page.locator("time small").first.or_(page.locator(".empty").first)).to_be_attached()


def test_first_pages_are_small(context: BrowserContext) -> None:
    """Over the wire with everything that they load: under 50 kB."""
    page, loaded = context.new_page(), []
    page.on("response", lambda response: loaded.append(len(response.body())))
    page.goto("/portal/sign-in", wait_until="networkidle")
    assert len(loaded) >= 3 and sum(loaded) < 50_000


def test_a_customer_is_asked_approves_and_withdraws_what_is_read(
    context: BrowserContext, browser: Browser, served: Served, sent: Sent, case: str
) -> None:
    """Asked, given, read, withdrawn: by two people in two browsers, and by nobody without the other."""
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    olga = signed_in(context, "olga", "Operator", "contoso", to=f"/portal/cases/{case}")
    olga.get_by_text("When you want to be asked").click()
    olga.get_by_label("Ask us").select_option("for every grant")
    olga.get_by_role("button", name="Choose this").click()
    expect(olga.get_by_text("When you want to be asked: for every grant")).to_be_visible()

    other = browser.new_context(base_url=served.server, ignore_https_errors=True)
    alice = signed_in(other, "alice", "SupportEngineer", to=f"/portal/cases/{case}")
    expect(alice.get_by_text("The customer wants to be asked")).to_be_visible()
    alice.get_by_label("Why do you need").fill(REASON)
    alice.get_by_label("For how long").select_option("2 hours")
    alice.get_by_role("button", name="Ask for access").click()
    expect(alice.get_by_text("You have asked for access")).to_be_visible()
    content = f"/portal/bundles/{sent.bundle}/content"
    assert other.request.get(content).status == 403

    olga.get_by_role("link", name="Approvals", exact=True).click()
    row = olga.get_by_role("region", name="Waiting for an answer").get_by_role("row", name=re.compile(REASON))
    row.get_by_label("Note to the engineer").fill("until tonight only")
    row.get_by_role("button", name="Approve").click()
    history = olga.get_by_role("region", name="All requests").get_by_role("row", name=re.compile(REASON))
    expect(history).to_contain_text("approved")
    expect(history).to_contain_text("until tonight only")

    alice.reload()
    expect(alice.get_by_text("You can read this case's bundles until")).to_be_visible()
    expect(alice.locator("[data-until]")).to_have_text(re.compile(r"^1 h 5\d min$"))
    assert other.request.get(content).body() == sent.file.read_bytes()

    history.get_by_role("button", name="Withdraw: access ends now").click()
    expect(olga.get_by_role("region", name="All requests")).to_contain_text("withdrawn")
    assert other.request.get(content).status == 403
    alice.goto("/portal/approvals")
    expect(alice.get_by_role("region", name="All requests")).to_contain_text("withdrawn")
    other.close()


def test_an_engineer_withdraws_a_request_and_a_customer_declines_one_in_words(
    context: BrowserContext, served: Served, case: str
) -> None:
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    served.do("approvals", "policy", "--case", case, "--rule", "ask", who="operator:olga@contoso")
    alice = signed_in(context, "alice", "SupportEngineer", to=f"/portal/cases/{case}")
    for _ in range(2):
        alice.get_by_label("Why do you need").fill(REASON)
        alice.get_by_role("button", name="Ask for access").click()
        alice.get_by_role("button", name="Withdraw the request").click()
        expect(alice.get_by_role("button", name="Ask for access")).to_be_visible()
    served.do("grant", case, "--reason", REASON, "--hours", "2", who="engineer:alice")
    (asked,) = served.do("approvals", "list", "--state", "asked", "--case", case, who="engineer:alice")
    note = "<b>call us</b> first"
    served.do("approvals", "decline", asked["id"], "--note", note, who="operator:olga@contoso")
    alice.goto("/portal/approvals")
    expect(alice.get_by_role("region", name="All requests")).to_contain_text(note)
    expect(alice.get_by_text("No request is waiting.")).to_be_visible()


def test_an_auditor_questions_a_grant_and_another_signs_it_off(
    context: BrowserContext, browser: Browser, served: Served, sent: Sent, case: str
) -> None:
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    grant = served.do("grant", case, "--reason", REASON, "--hours", "2", who="engineer:alice")["id"]
    assert served.cli("fetch", sent.bundle, "-o", "-", who="engineer:alice").code == 0
    early = served.cli("reviews", "sign-off", grant, who="auditor:ada")
    assert early.code != 0 and "it can be reviewed when it is over" in early.err
    served.do("release", grant, who="engineer:alice")

    ada = signed_in(context, "ada", "Auditor")
    ada.get_by_role("link", name="Reviews").click()
    ada.get_by_label("Case").fill(case)
    ada.get_by_role("button", name="Show").click()
    ada.get_by_role("row", name=re.compile(REASON)).get_by_role("link", name="Look at it").click()
    expect(ada.get_by_role("heading", level=1)).to_have_text(f"Access of alice to case {case}")
    expect(ada.locator("dl")).to_contain_text("Handed over")
    ada.get_by_role("button", name="Question it").click()
    expect(ada.get_by_role("alert")).to_contain_text("say what is in question")
    ada.go_back()
    ada.get_by_label("Note").fill("<b>Why</b> was all of it read?")
    ada.get_by_role("button", name="Question it").click()
    expect(ada.get_by_text("<b>Why</b> was all of it read?")).to_be_visible()

    (asked,) = served.do("reviews", "list", "--state", "questioned", "--case", case, who="auditor:adele")
    assert asked["grant"] == grant and asked["reviewer"] == "ada"
    signed = served.do("reviews", "sign-off", grant, "--note", "the case says why", who="auditor:adele")
    assert signed["state"] == "signed-off" and signed["reads"] >= 1
    assert signed["bytes"] >= sent.file.stat().st_size
    ada.reload()
    expect(ada.get_by_text("signed off", exact=True)).to_be_visible()
    expect(ada.get_by_role("button", name="Sign it off")).to_have_count(0)
    refused = served.cli("reviews", "list", who="operator:olga@contoso")
    assert refused.code != 0 and "CaseVault.Auditor" in refused.err


def test_an_engineer_finds_a_line_inside_a_bundle(
    context: BrowserContext, served: Served, sent: Sent, case: str
) -> None:
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    page = signed_in(context, "alice", "SupportEngineer", to=f"/portal/cases/{case}")
    page.get_by_label("Why do you need").fill(REASON)
    page.get_by_role("button", name="Grant access").click()
    page.get_by_role("region", name="Bundles").get_by_role("link").first.click()
    page.get_by_role("link", name="Look inside").click()
    expect(page.get_by_role("region", name="Files")).to_be_visible()
    page.get_by_role("region", name="Files").get_by_role("link").first.click()
    expect(page.get_by_role("region", name="Lines")).to_be_visible()
    page.get_by_label("Search for").fill("volume offline")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("status")).to_have_text(
        "200 lines found. There may be more: these are the first."
    )
    page.get_by_role("region", name="Lines found").get_by_role("link").first.click()
    expect(page.locator("#L1")).to_contain_text("volume offline")


def _saved(page: Page, link: str, place: Path) -> Path:
    with page.expect_download() as fetched:
        page.get_by_role("link", name=link).click()
    fetched.value.save_as(place)
    return place


def test_an_operator_checks_a_receipt_in_the_page_also_when_the_service_is_away(
    context: BrowserContext, served: Served, sent: Sent, case: str, keys: Path, tmp_path: Path
) -> None:
    page = signed_in(context, "olga", "Operator", "contoso", to=f"/portal/bundles/{sent.bundle}")
    receipt = _saved(page, "Receipt of its intake", tmp_path / "receipt.json")
    page.goto("/portal/check")
    page.get_by_label("A receipt, or the proof").set_input_files(receipt)
    expect(page.get_by_text("Nothing was checked")).to_be_visible()
    page.get_by_label("Pin the keys of a file").set_input_files(keys)
    expect(page.get_by_text("Pinned in this browser")).to_be_visible()
    context.set_offline(True)
    page.get_by_label("A receipt, or the proof").set_input_files(receipt)
    expect(page.get_by_text("Good: the receipt is signed by the pinned key")).to_be_visible()
    expect(page.get_by_text(sent.bundle)).to_be_visible()
    changed = tmp_path / "changed.json"
    told = json.loads(receipt.read_text())
    told["receipt"]["case"] = case[:-1] + "x"
    changed.write_text(json.dumps(told))
    page.get_by_label("A receipt, or the proof").set_input_files(changed)
    expect(page.get_by_text("Not good: the signature is for another text")).to_be_visible()
    expect(page.get_by_text(sent.bundle)).to_have_count(0)
    context.set_offline(False)


def test_a_verdict_is_of_what_was_chosen_last_under_the_keys_that_are_pinned(
    context: BrowserContext, served: Served, sent: Sent, keys: Path, tmp_path: Path
) -> None:
    page = signed_in(context, "olga", "Operator", "contoso", to=f"/portal/bundles/{sent.bundle}")
    _saved(page, "Receipt of its intake", tmp_path / "receipt.json")
    page.goto("/portal/check")
    page.get_by_label("Pin the keys of a file").set_input_files(keys)
    expect(page.get_by_text("Pinned in this browser")).to_be_visible()
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[]")
    late: list[Route] = []
    page.route("**/portal/bundles/*/receipt", lambda route: late.append(route))
    with page.expect_request("**/portal/bundles/*/receipt"):
        page.goto(f"/portal/check?bundle={sent.bundle}")
    page.get_by_label("A receipt, or the proof").set_input_files(wrong)
    expect(page.get_by_text("Not good: this is no receipt")).to_be_visible()
    with page.expect_request_finished(lambda asked: asked.url.endswith("/receipt")):
        late[0].continue_()
    page.unroute_all()
    page.wait_for_timeout(500)
    expect(page.get_by_text("Good: the receipt")).to_have_count(0)
    page.get_by_label("A receipt, or the proof").set_input_files(tmp_path / "receipt.json")
    expect(page.get_by_text("Good: the receipt")).to_be_visible()
    page.get_by_role("button", name="Forget them").click()
    expect(page.get_by_text("Good: the receipt")).to_have_count(0)


def test_an_auditor_checks_an_entry_and_that_the_log_only_grew(
    context: BrowserContext, served: Served, sent: Sent, case: str, keys: Path
) -> None:
    served.until_sequenced()
    page = signed_in(context, "ada", "Auditor", to=f"/portal/log?case={case}")
    page.get_by_role("row", name=re.compile("bundle.verified")).get_by_role("link").last.click()
    expect(page.get_by_text("Nothing was checked")).to_be_visible()
    page.get_by_role("button", name="Pin what the service says now").click()
    expect(page.get_by_text("Pinned in this browser")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Good: this is entry")).to_be_visible()
    expect(page.get_by_text(sent.bundle)).to_be_visible()
    expect(page.get_by_text("This browser will remember the log's tree")).to_be_visible()
    served.do("cases", "open", served.case_number(), "--directory", "contoso", who=CASE_SYSTEM)
    served.until_sequenced()
    page.reload()
    expect(page.get_by_text("The log goes on from the tree")).to_be_visible()
    changed = (
        "() => { const t = JSON.parse(localStorage['casevault-newest-tree']); t.root = 'A'.repeat(43) + '='; "
    )
    page.evaluate(changed + "localStorage['casevault-newest-tree'] = JSON.stringify(t) }")
    page.reload()
    expect(page.get_by_text("NOT good: the log does not go on")).to_be_visible()
