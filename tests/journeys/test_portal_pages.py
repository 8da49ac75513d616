"""Every page of the portal as its people meet it: what a screen reader, a keyboard and a phone need, in light and dark.

Checked by axe-core: nothing of any severity may be wrong. The scripts are held to their JSDoc types by TypeScript.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from intake_api.portal import page as portal_page
from tests.journeys.conftest import OLGA
from tests.journeys.portal import signed_in
from tests.journeys.served import ADMINISTRATOR, CASE_SYSTEM, Served, free_port, start
from tests.retention.archive.making import zip_of
from tests.retention.event_logs.making import Made, log_of
from tests.servers.installing import npm_packages

pytestmark = pytest.mark.browser
HERE = Path(__file__).parent / "pages"
REASON = "Volume offline on node 2 since 02:10"
LOG = "".join(
    f"2026-03-01T02:{n // 60:02}:{n % 60:02}Z {'ERROR' if n % 7 == 0 else 'INFO'} line {n}\n"
    for n in range(600)
)


@dataclass(frozen=True)
class Held:
    """What there is to look at."""

    case: str
    bundle: str
    grant: str
    confirmation: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    service = start(tmp_path_factory.mktemp("pages"), CASEVAULT_BLOB_LISTEN=f"127.0.0.1:{free_port()}")
    yield service
    service.stop()


@pytest.fixture(scope="module")
def held(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Held:
    """A case with a bundle, one that was erased, a grant that is over, one that lives, and one asked for."""
    do, folder = served.do, tmp_path_factory.mktemp("sent")
    do("tenants", "register", "Contoso", "--directory", "contoso", who=ADMINISTRATOR)
    do("stamps", "register", "Rack 1", "--subject", "rack-1", "--proactive", who=OLGA)
    case = served.case_number()
    do("cases", "open", case, "--directory", "contoso", who=CASE_SYSTEM)
    for engineer in ("alice", "bob"):
        do("cases", "assign", case, engineer, who=CASE_SYSTEM)
    sent = []
    for name in ("logs", "more"):
        file = folder / f"{name}.zip"
        file.write_bytes(
            zip_of(
                {
                    "node-1/agent.log": LOG.encode(),
                    "inner.zip": zip_of({"deep.log": LOG.encode()}),
                    "System.evtx": log_of([Made(n, level=2 + n % 3) for n in range(1, 30)]) + b"cut",
                }
            )
        )
        sent.append(do("send", file, "--case", case, who="stamp:rack-1@contoso")["bundle"])
    over = do("grant", case, "--reason", REASON, who="engineer:alice")["id"]
    assert served.cli("fetch", sent[0], "-o", "-", who="engineer:alice").code == 0
    do("release", over, who="engineer:alice")
    do("grant", case, "--reason", REASON, "--hours", "8", who="engineer:alice")
    do("consent", case, "--partner", "oem", "--days", "9", who=OLGA)
    do("links", "issue", "--case", case, "--days", "7", who=OLGA)
    erased = do("erase", "--bundle", sent[1], "--yes", who=OLGA)
    do("approvals", "policy", "--rule", "ask", who=OLGA)
    do("grant", case, "--reason", REASON, who="engineer:bob")
    served.until_sequenced()
    return Held(case, sent[0], over, erased["confirmation"])


ALICE, OPERATOR, ADA = (
    ("alice", "SupportEngineer", ""),
    ("olga", "Operator", "contoso"),
    ("ada", "Auditor", ""),
)
PAGES: tuple[tuple[tuple[str, str, str], tuple[str, ...]], ...] = (
    (
        ALICE,
        (
            "cases",
            "cases/{case}",
            "bundles/{bundle}",
            "bundles/{bundle}/files",
            "bundles/{bundle}/files?inside=inner.zip",
            "bundles/{bundle}/lines/node-1/agent.log",
            "bundles/{bundle}/lines/node-1/agent.log?line=700",
            "bundles/{bundle}/events/System.evtx",
            "bundles/{bundle}/events/System.evtx?place=0",
            "approvals",
            "notices",
            "sessions",
            "cases/000000000000000",
        ),
    ),
    (
        OPERATOR,
        (
            "cases",
            "cases/{case}",
            "bundles/{bundle}",
            "bundles/{bundle}/erase",
            "cases/{case}/erase",
            "collections",
            "collections?status=erased",
            "upload?case={case}",
            "links?case={case}",
            "stamps",
            "erasures",
            "erasures/{confirmation}",
            "approvals",
            "approvals?case={case}",
            "notices",
            "log",
            "readers?case={case}",
            "unused-grants",
            "check",
            "check?erasure={confirmation}",
        ),
    ),
    (
        ADA,
        (
            "log",
            "log?outcome=refused",
            "readers?case={case}",
            "unused-grants",
            "reviews",
            "grants/{grant}/review",
            "approvals",
        ),
    ),
)


@pytest.fixture(scope="module")
def axe() -> str:
    return (npm_packages(HERE) / "axe-core" / "axe.min.js").read_text()


def _wrong(page: Page, axe: str) -> list[str]:
    """What axe finds, as lines: the rule, and each place."""
    page.evaluate(axe)
    found: dict[str, Any] = page.evaluate("() => axe.run(document)")
    assert len(found["passes"]) > 15, f"axe looked at next to nothing of {page.url}"
    return [
        f"{page.url} {one['id']} ({one['impact']}): {place['html'][:120]} {place['failureSummary']}"
        for one in found["violations"]
        for place in one["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("who", "pages"), PAGES, ids=[who[0] for who, _ in PAGES])
def test_nothing_is_wrong_with_any_page(
    context: BrowserContext,
    held: Held,
    axe: str,
    who: tuple[str, str, str],
    pages: tuple[str, ...],
    scheme: Any,
) -> None:
    page = signed_in(context, *who)
    page.emulate_media(color_scheme=scheme)
    wrong: list[str] = []
    for path in pages:
        page.goto("/portal/" + path.format(**vars(held)))
        wrong += _wrong(page, axe)
    assert wrong == []


def test_nothing_is_wrong_with_the_way_in_and_with_a_search(
    context: BrowserContext, held: Held, axe: str
) -> None:
    page = context.new_page()
    page.goto("/portal/sign-in")
    wrong = _wrong(page, axe)
    page.evaluate("() => document.documentElement.removeAttribute('lang')")
    assert any("html-has-lang" in one for one in _wrong(page, axe)), "a fault would be found"
    page.close()
    page = signed_in(context, *ALICE, to=f"/portal/bundles/{held.bundle}/files")
    page.get_by_role("searchbox").or_(page.get_by_label("Search for")).first.fill("ERROR")
    page.get_by_role("button", name="Search").click()
    page.wait_for_load_state()
    assert page.get_by_text("agent.log").count() > 0
    assert wrong + _wrong(page, axe) == []


@pytest.mark.parametrize(("who", "pages"), PAGES, ids=[who[0] for who, _ in PAGES])
def test_no_page_is_wider_than_a_phone(
    browser: Browser, served: Served, held: Held, who: tuple[str, str, str], pages: tuple[str, ...]
) -> None:
    """Tables scroll in their own box; the page itself does not."""
    context = browser.new_context(
        base_url=served.server, ignore_https_errors=True, viewport={"width": 360, "height": 740}
    )
    page = signed_in(context, *who)
    wide = []
    for path in pages:
        page.goto("/portal/" + path.format(**vars(held)))
        width = page.evaluate("() => document.documentElement.scrollWidth")
        if width > 360:
            wide.append((path, width))
    context.close()
    assert wide == [], "\n".join(str(one) for one in wide)


def test_every_page_has_been_looked_at() -> None:
    """A new page in the navigation cannot be forgotten here."""
    looked = {path.partition("?")[0] for _, pages in PAGES for path in pages}
    assert {name.replace("_", "-") for name, _, _ in portal_page.NAVIGATION} <= looked


def test_the_scripts_keep_to_their_types() -> None:
    tsc = npm_packages(HERE) / ".bin" / "tsc"
    ran = subprocess.run([tsc, "-p", HERE], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
