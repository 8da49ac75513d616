"""A customer's operator sends bundles from a page in a real browser, and hands out links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.journeys.conftest import OLGA
from tests.journeys.portal import signed_in
from tests.journeys.served import ADMINISTRATOR, CASE_SYSTEM, Served, free_port, start

pytestmark = pytest.mark.browser
REASON = "Volume offline on node 2 since 02:10"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    service = start(tmp_path_factory.mktemp("sending"), CASEVAULT_BLOB_LISTEN=f"127.0.0.1:{free_port()}")
    service.do("tenants", "register", "Contoso", "--directory", "contoso", who=ADMINISTRATOR)
    service.do("stamps", "register", "Rack 1", "--subject", "rack-1", who=OLGA)
    yield service
    service.stop()


def _until_complete(page: Page) -> None:
    """Look again until the bundle is read back."""
    for _ in range(100):
        if page.get_by_text("complete", exact=True).is_visible():
            return
        page.wait_for_timeout(200)
        page.reload()
    raise AssertionError(page.content())


def _filled(page: Page, case: str, *files: Path) -> None:
    page.get_by_label("Case", exact=True).fill(case)
    page.get_by_label("Files: choose them").set_input_files(list(files))
    page.get_by_role("button", name="Send", exact=True).click()


def test_an_operator_sends_files_from_a_page_and_finds_them_received(
    context: BrowserContext, served: Served, case: str, tmp_path: Path
) -> None:
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    small, empty = tmp_path / "Küche.zip", tmp_path / "empty.log"
    small.write_bytes(bytes(range(256)) * 9000)
    empty.write_bytes(b"")
    page = signed_in(context, "olga", "Operator", "contoso", to=f"/portal/upload?case={case}")
    _filled(page, case, small, empty)
    expect(page.get_by_text("Sent.")).to_have_count(2)
    page.get_by_role("listitem").filter(has_text="Küche.zip").get_by_role("link").click()
    page.wait_for_url("**/portal/bundles/*")
    _until_complete(page)
    bundle = page.url.rpartition("/")[2]
    served.do("grant", case, "--reason", REASON, who="engineer:alice")
    fetched = served.cli("fetch", bundle, "-o", "-", who="engineer:alice")
    assert fetched.raw == small.read_bytes()


def test_an_upload_goes_on_after_a_lost_line_a_pause_and_a_reload(
    context: BrowserContext, served: Served, case: str, tmp_path: Path
) -> None:
    file = tmp_path / "dump.zip"
    file.write_bytes(bytes(range(256)) * (600 * 1024))  # 150 MiB, in three requests
    page = signed_in(context, "olga", "Operator", "contoso", to="/portal/upload")
    cut: list[int] = []

    def lose(route: Route) -> None:
        cut.append(1)
        if len(cut) == 2:
            route.abort("connectionreset")
        elif (
            len(cut) < 5
        ):  # after the first part, the lost one, a question, and the second part: nothing comes
            route.continue_()

    page.route(re.compile(r"/portal/uploads/bun"), lose)
    _filled(page, case, file)
    sending = page.get_by_role("listitem").filter(has_text="dump.zip")
    expect(sending).to_contain_text("134 MB of 157 MB")  # it went on by itself after the line that was lost
    assert len(cut) >= 4
    sending.get_by_role("button", name="Pause").click()
    expect(sending).to_contain_text("Paused")
    page.unroute_all(behavior="ignoreErrors")

    page.reload()
    again = page.get_by_label("Choose dump.zip again")
    other = tmp_path / "other.zip"
    other.write_bytes(b"other")
    again.set_input_files(other)
    expect(page.get_by_text("This is another file")).to_be_visible()
    sent: list[int] = []
    page.on("request", lambda asked: sent.append(1) if asked.method == "PATCH" else None)
    again.set_input_files(file)
    expect(page.get_by_text("Sent.")).to_be_visible()
    assert len(sent) == 1, "what had arrived is not sent again"
    page.get_by_role("link", name="Look at the bundle").click()
    page.wait_for_url("**/portal/bundles/*")
    _until_complete(page)


def test_what_cannot_be_sent_says_why_and_what_is_given_up_is_erased(
    context: BrowserContext, served: Served, case: str, tmp_path: Path
) -> None:
    file = tmp_path / "logs.zip"
    file.write_bytes(bytes(100_000))
    page = signed_in(context, "olga", "Operator", "contoso", to="/portal/upload")
    _filled(page, "999999999999999", file)
    expect(page.get_by_role("listitem").filter(has_text="logs.zip")).to_contain_text("case")
    page.reload()

    def hold(route: Route) -> None:
        if route.request.method != "PATCH":
            route.continue_()

    page.route(re.compile(r"/portal/uploads/bun"), hold)
    _filled(page, case, file)
    sending = page.get_by_role("listitem").filter(has_text="logs.zip")
    expect(sending).to_contain_text("of 100 kB")
    with page.expect_response(lambda told: told.request.method == "DELETE") as ended:
        sending.get_by_role("button", name="Give up").click()
    assert ended.value.status == 204
    expect(sending).to_contain_text("Given up")
    page.unroute_all(behavior="ignoreErrors")
    page.reload()
    expect(page.get_by_text("Nothing is waiting to be completed")).to_be_visible()


def test_an_operator_hands_out_a_link_that_sends_and_revokes_it(
    context: BrowserContext, served: Served, case: str, tmp_path: Path
) -> None:
    page = signed_in(context, "olga", "Operator", "contoso", to=f"/portal/links?case={case}")
    page.get_by_role("button", name="Issue").click()
    address = page.get_by_role("textbox", name="Address", exact=True).input_value()
    file = tmp_path / "logs.zip"
    file.write_bytes(bytes(5000))
    assert served.cli("send", str(file), "--link", address).code == 0
    page.get_by_role("button", name="Revoke it now").click()
    expect(page.get_by_role("cell", name="revoked")).to_be_visible()
    assert address not in page.content()
    refused = served.cli("send", str(file), "--link", address)
    assert refused.code != 0
    assert "revoked" in refused.error


def test_an_upload_that_is_paused_and_resumed_while_it_waits_goes_on_once(
    context: BrowserContext, served: Served, case: str, tmp_path: Path
) -> None:
    file = tmp_path / "logs.zip"
    file.write_bytes(bytes(100_000))
    page = signed_in(context, "olga", "Operator", "contoso", to="/portal/upload")
    asked: list[str] = []

    def lose(route: Route) -> None:  # and hold the question where to go on
        asked.append(route.request.method)
        if route.request.method == "PATCH":
            route.abort("connectionreset")

    page.route(re.compile(r"/portal/uploads/bun"), lose)
    _filled(page, case, file)
    sending = page.get_by_role("listitem").filter(has_text="logs.zip")
    expect(sending).to_contain_text("The line was lost")
    sending.locator(".pause").evaluate("button => { button.click(); button.click() }")
    page.wait_for_timeout(1500)
    assert asked == ["PATCH", "HEAD"]
    page.unroute_all(behavior="ignoreErrors")
