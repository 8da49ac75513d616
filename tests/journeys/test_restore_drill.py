"""The restore drill: a back-up from before is restored, and what was erased stays unreadable and ends erased (P7)."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient

from audit.mirror.store_local import LocalMirrorStore
from tests.azurite.conftest import azurite_port as azurite_port
from tests.azurite.conftest import connection_string
from tests.azurite.conftest import node_modules as node_modules
from tests.azurite.conftest import service as service
from tests.journeys.installed import Installed, OnAzure, OneMachine, serving
from tests.journeys.served import ADMINISTRATOR, AUDITOR, CASE_SYSTEM, Served

OLGA, ALICE, RACK = "operator:olga@contoso", "engineer:alice", "stamp:rack-1@contoso"
CASE = "123456789012345"


@pytest.fixture(params=["one machine", "azure"])
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installed]:
    settings = {"CASEVAULT_WITNESS_FOLDER": str(tmp_path / "elsewhere")}
    if request.param == "one machine":
        yield OneMachine(tmp_path, settings)
        return
    port: int = request.getfixturevalue("azurite_port")
    account: BlobServiceClient = request.getfixturevalue("service")
    made = OnAzure(tmp_path, settings, account, connection_string(port), f"drill-{time.time_ns()}")
    yield made
    made.remove()


def until(what: Callable[[], Any]) -> Any:
    for _ in range(1200):
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError("it does not happen")


def until_witnessed(served: Served, installed: Installed) -> None:
    size = served.until_sequenced()
    served.pass_time(timedelta(minutes=2))
    until(lambda: (LocalMirrorStore(installed.folder / "elsewhere").newest() or 0) >= size)


def send(served: Served, keys: Path, name: str, *more: str) -> str:
    file = keys.with_name(name)
    file.write_bytes(f"PLAINTEXT of {name}\n".encode() * 5000)
    return str(served.do("send", file, "--case", CASE, "--keys", keys, *more, who=RACK)["bundle"])


def states(served: Served) -> dict[str, str]:
    found = served.do("collections", "--case", CASE, "--limit", 0, who=OLGA)
    return {one["id"]: one["state"] for one in found}


def actions(served: Served, action: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = served.do("audit", "entries", "--action", action, "--limit", 0, who=AUDITOR)
    return found


def test_the_drill(installed: Installed, tmp_path: Path) -> None:
    keys, kept_checkpoint, receipt = (tmp_path / name for name in ("keys.json", "last.txt", "receipt.json"))
    out = tmp_path / "out.log"

    with serving(installed.folder, **installed.settings) as served:
        served.do("tenants", "register", "Contoso", "--directory", "contoso", who=ADMINISTRATOR)
        assert served.cli("audit", "keys", "-o", keys).code == 0
        served.do("stamps", "register", "Rack 1", "--subject", "rack-1", "--proactive", who=OLGA)
        served.do("cases", "open", CASE, "--directory", "contoso", who=CASE_SYSTEM)
        assert served.cli("cases", "assign", CASE, "alice", who=CASE_SYSTEM).code == 0
        goes, stays = send(served, keys, "goes.log"), send(served, keys, "stays.log")
        served.do("grant", CASE, "--reason", "crash dump analysis of node 7", who=ALICE)
        assert served.cli("fetch", goes, "-o", out, who=ALICE).code == 0
        until_witnessed(served, installed)
    installed.back_up()

    with serving(installed.folder, **installed.settings) as served:
        words = ("erase", "--bundle", goes, "--yes", "--receipt", receipt, "--keys", keys)
        assert served.do(*words, who=OLGA)["state"] == "proven"
        late = send(served, keys, "late.log")
        until_witnessed(served, installed)
        verify = ("audit", "verify", "--keys", keys, "--checkpoint", kept_checkpoint)
        assert served.cli(*verify, who=AUDITOR).code == 0
    installed.restore()

    with serving(installed.folder, **installed.settings) as served:
        until(lambda: actions(served, "log.adopted"))
        # Never readable in between: the record came back, the key did not, and the old grant did not either.
        assert served.cli("fetch", goes, "-o", tmp_path / "again.log", who=ALICE).code != 0
        served.do("grant", CASE, "--reason", "after the restore, node 7 again", who=ALICE)
        assert served.cli("fetch", goes, "-o", tmp_path / "again.log", who=ALICE).code != 0
        assert not (tmp_path / "again.log").exists()
        assert served.cli("fetch", stays, "-o", tmp_path / "stays.copy", who=ALICE).code == 0
        assert (tmp_path / "stays.copy").read_bytes() == keys.with_name("stays.log").read_bytes()
        until(lambda: states(served) == {goes: "erased", stays: "complete"})

        # The auditor sees what happened, in the one log that never forked.
        (adopted,) = actions(served, "log.adopted")
        assert adopted["details"]["from"] < adopted["details"]["to"]
        erased = [each for each in actions(served, "bundle.erased") if each["bundle"] == goes]
        assert {each["details"]["cause"] for each in erased} == {"customer-request", "restored"}
        assert served.cli(*verify, "--witness", tmp_path / "elsewhere", who=AUDITOR).code == 0
        assert served.cli("receipts", "verify", receipt, "--keys", keys).code == 0

        # What came after the back-up has no record: named, and erased when the administrator says so.
        here = ("reconcile", "--state", served.state, "--development")
        assert served.do(*here)["unrecorded"] == [late]
        assert served.do(*here, "--erase-unrecorded")["erased"] == 1
        again = served.cli(*here)
        assert (again.code, again.err) == (0, "")
        (told,) = [each for each in actions(served, "bundle.erased") if each["bundle"] == late]
        assert (told["details"]["cause"], told["actor_kind"]) == ("unrecorded", "administrator")

        # 90 days after the case closes nothing is left, and nothing is overdue.
        served.do("cases", "close", CASE, who=CASE_SYSTEM)
        served.pass_time(timedelta(days=90))
        until(lambda: states(served) == {goes: "erased", stays: "erased"})
        until_witnessed(served, installed)
        overdue = served.cli("audit", "overdue", "--keys", keys, "--at", "+100d", who=AUDITOR)
        assert (overdue.code, overdue.out) == (0, ""), overdue.err
        good = served.cli(*verify, "--witness", tmp_path / "elsewhere", "--json", who=AUDITOR)
        assert good.code == 0 and json.loads(good.out)["witness"]["kept"] > adopted["details"]["to"]
        recorded = served.cli("audit", "verify", "--state", served.state, "--witness")
        assert recorded.code == 0, recorded.err


def test_tiles_of_before_and_a_witness_that_is_away(tmp_path: Path) -> None:
    """Tiles come back by themselves; reading waits for the witness, or for a decision that the log tells of."""
    witness = tmp_path / "elsewhere"
    installed = OneMachine(tmp_path, {"CASEVAULT_WITNESS_FOLDER": str(witness)})
    keys, out = tmp_path / "keys.json", tmp_path / "out.log"
    state = tmp_path / "state"
    with serving(installed.folder, **installed.settings) as served:
        served.do("tenants", "register", "Contoso", "--directory", "contoso", who=ADMINISTRATOR)
        assert served.cli("audit", "keys", "-o", keys).code == 0
        served.do("stamps", "register", "Rack 1", "--subject", "rack-1", "--proactive", who=OLGA)
        served.do("cases", "open", CASE, "--directory", "contoso", who=CASE_SYSTEM)
        assert served.cli("cases", "assign", CASE, "alice", who=CASE_SYSTEM).code == 0
        until_witnessed(served, installed)
    shutil.copytree(state / "log", tmp_path / "log-copy")

    with serving(installed.folder, **installed.settings) as served:
        bundle = send(served, keys, "kept.log")
        until_witnessed(served, installed)
    shutil.rmtree(state / "log")
    (tmp_path / "log-copy").rename(state / "log")

    with serving(installed.folder, **installed.settings) as served:
        (rebuilt,) = until(lambda: actions(served, "tiles.rebuilt"))
        assert rebuilt["details"]["from"] < rebuilt["details"]["to"]
        until_witnessed(served, installed)
        assert served.cli("audit", "verify", "--keys", keys, "--witness", witness, who=AUDITOR).code == 0

    witness.rename(tmp_path / "away")
    witness.write_text("no folder: whoever looks into it gets an error")
    with serving(installed.folder, ready=False, **installed.settings) as served:
        served.do("grant", CASE, "--reason", "crash dump analysis of node 7", who=ALICE)
        shut = served.cli("fetch", bundle, "-o", out, who=ALICE)
        assert shut.code == 1
        assert "witness has not answered" in shut.err
        late = send(served, keys, "late.log", "--no-wait")  # intake goes on; its receipt waits for the log
        here = (
            "reconcile",
            "--state",
            state,
            "--development",
            "--without-witness",
            "--reason",
            "disk away, ticket 7",
        )
        assert served.do(*here)["without_witness_until"]
        until(lambda: served.cli("fetch", bundle, "-o", out, who=ALICE).code == 0)
        (waived,) = actions(served, "witness.waived")
        assert (waived["actor_kind"], waived["outcome"]) == ("administrator", "success")
        witness.unlink()
        (tmp_path / "away").rename(witness)
        until(lambda: actions(served, "witness.resumed"))
        until(lambda: served.cli("receipts", "show", late, who=RACK).code == 0)
        until_witnessed(served, installed)
        assert served.cli("audit", "verify", "--keys", keys, "--witness", witness, who=AUDITOR).code == 0
