"""One served instance for each file of journeys: a fresh state folder, a free port, the real processes."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

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
