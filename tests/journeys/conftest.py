"""One served instance for each file of journeys: a fresh state folder, a free port, the real processes."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from tests.journeys.served import ADMINISTRATOR, CASE_SYSTEM, Sent, Served, start

OLGA = "operator:olga@contoso"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    service = start(tmp_path_factory.mktemp("served"))
    service.do("tenants", "register", "Contoso", "--directory", "contoso", who=ADMINISTRATOR)
    service.do("tenants", "register", "Fabrikam", "--directory", "fabrikam", who=ADMINISTRATOR)
    yield service
    service.stop()


@pytest.fixture(scope="module")
def keys(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service's keys, pinned."""
    path = tmp_path_factory.mktemp("pinned") / "keys.json"
    assert served.cli("audit", "keys", "-o", path).code == 0
    return path


@pytest.fixture(scope="module")
def stamp(served: Served) -> str:
    """A stamp of Contoso's, which sends as stamp:rack-1."""
    words = ("stamps", "register", "Rack 1", "--subject", "rack-1", "--proactive")
    return str(served.do(*words, who=OLGA)["id"])


@pytest.fixture
def case(served: Served) -> str:
    """An open case of Contoso's."""
    number = served.case_number()
    served.do("cases", "open", number, "--directory", "contoso", who=CASE_SYSTEM)
    return number


@pytest.fixture
def sent(served: Served, stamp: str, case: str, keys: Path, tmp_path: Path) -> Sent:
    """A bundle for `case`, received and verified."""
    members = {
        f"Storage/node-{n}.log": f"case {case}, node {n}: volume offline\n".encode() * (n * 5000)
        for n in (1, 2, 3)
    }
    file = tmp_path / "rack-1.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    answer = served.do("send", file, "--case", case, "--keys", keys, who="stamp:rack-1@contoso")
    return Sent(answer["bundle"], file, members)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    assert program, "Debian's chromium is needed: apt-get install chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def context(browser: Browser, served: Served) -> Iterator[BrowserContext]:
    """A browser of its own, whose pages may not break a rule of theirs."""
    made = browser.new_context(base_url=served.server, ignore_https_errors=True, timezone_id="Asia/Tokyo")
    made.set_default_timeout(20_000)
    expect.set_options(timeout=20_000)
    broken: list[str] = []
    made.on("console", lambda said: broken.append(said.text) if "Policy" in said.text else None)
    made.on("weberror", lambda error: broken.append(str(error.error)))
    yield made
    made.close()
    assert broken == []
