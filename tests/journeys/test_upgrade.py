"""A newer version starts beside the one that runs, on PostgreSQL, Blob Storage and a vault, as rolling revisions do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from retention.records.migrate import newest_version
from tests.azurite.conftest import azurite_port, node_modules
from tests.journeys.test_many_machines import CONTENT, bundle_at, until
from tests.servers.azure import LocalAzure, local_azure
from tests.servers.issuer import LocalIssuer
from tests.servers.machines import ROOT, Machine, casevault, environment_of, machine
from tests.servers.postgres import shared_server
from tests.service import (
    ADMINISTRATOR,
    AUDITOR,
    CASE,
    CASE_SYSTEM,
    DIRECTORY,
    ENGINEER,
    OFFSET_BYTES,
    OPERATOR,
    STAMP,
    collection,
    tus,
)

__all__ = ["azurite_port", "node_modules"]
LATER = "9999"
_STEP = f"""import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{LATER}", "{newest_version()}", None, None


def upgrade() -> None:
    op.add_column("bundles", sa.Column("added_later", sa.String()))


def downgrade() -> None:
    op.drop_column("bundles", "added_later")
"""


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """This program, and a step more: a column that the one before does not know."""
    folder = tmp_path / "newer"
    for package in ("audit", "retention", "intake_api"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    tables = folder / "retention" / "records" / "tables.py"
    known = 'Column("claimed_until", Moment),\n'  # first in bundles
    assert known in tables.read_text()
    tables.write_text(tables.read_text().replace(known, known + '    Column("added_later", String),\n', 1))
    (folder / "retention" / "records" / "migrations" / "versions" / f"{LATER}_later.py").write_text(_STEP)
    return folder


@pytest.fixture
def azure(azurite_port: int, tmp_path: Path) -> Iterator[LocalAzure]:
    (tmp_path / "azure").mkdir()
    with local_azure(tmp_path / "azure", azurite_port, shared_server()) as azure:
        yield azure


def send(at: Machine) -> str:
    head = {**tus(len(CONTENT), collection()), "Content-Type": OFFSET_BYTES}
    sent = at.call("POST", "/uploads", STAMP, headers=head, data=CONTENT)
    assert sent.status_code == 201, sent.text
    return sent.headers["Location"].rsplit("/", 1)[1]


def set_up(at: Machine) -> None:
    at.done("POST", "/tenants", ADMINISTRATOR, json={"name": DIRECTORY, "directory": DIRECTORY})
    at.done("POST", "/stamps", OPERATOR, json={"name": "rack", "subject": STAMP.subject, "proactive": True})
    at.done("POST", "/cases", CASE_SYSTEM, json={"number": CASE, "directory": DIRECTORY})
    at.done("POST", f"/cases/{CASE}/assignments", CASE_SYSTEM, json={"subject": ENGINEER.subject})
    at.done("POST", f"/cases/{CASE}/grants", ENGINEER, json={"reason": "looking into the failed update"})


def content(at: Machine, bundle: str) -> Any:
    return at.call("GET", f"/bundles/{bundle}/content", ENGINEER)


def test_the_older_version_takes_uploads_and_opens_nothing_until_the_newer_one_has_taken_over(
    azure: LocalAzure, newer: Path, tmp_path: Path
) -> None:
    shared, by_newer = azure.environment, {"PYTHONPATH": str(newer)}
    made = casevault("init", environ=environment_of(shared, CASEVAULT_STATE=str(tmp_path / "none")))
    assert made.returncode == 0, made.stderr
    with ExitStack() as stack:
        issuer = stack.enter_context(closing(LocalIssuer(tmp_path)))
        old = stack.enter_context(machine(tmp_path / "old", shared, issuer))
        set_up(old)
        first = send(old)
        bundle_at(old, first, "complete")
        assert content(old, first).content == CONTENT

        init = [sys.executable, "-m", "intake_api.cli", "init"]
        environ = environment_of(shared, CASEVAULT_STATE=str(tmp_path / "none"), **by_newer)
        upgraded = subprocess.run(
            init, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )
        assert upgraded.returncode == 0, upgraded.stderr

        refused = until(lambda: content(old, first), lambda answer: answer.status_code == 503)
        assert refused.json()["reason"] == "newer-schema" and LATER in refused.json()["detail"]
        told = until(lambda: old.call("GET", "/readyz").json(), lambda said: said["schema"] != "ok")
        assert told["status"] == "ok", "it is sent uploads still"
        second = send(old)
        bundle_at(old, second, "complete")

        new = stack.enter_context(machine(tmp_path / "new", shared, issuer, **by_newer))
        assert content(new, second).content == CONTENT
        assert old.stop() == 0
        third = send(new)
        bundle_at(new, third, "complete")
        assert content(new, third).content == CONTENT
        altered = new.done("GET", "/audit/entries", AUDITOR, params={"action": "database.altered"})
        assert altered["items"] == [], "it was the service's own administrator"
