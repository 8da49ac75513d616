"""The ways in that `casevault send` chooses from: by a link in blocks, by a token over one connection or several.

Each goes on after a crash; through a link, any machine goes on with what another began.
"""

from __future__ import annotations

import dataclasses
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.journeys.served import ADMINISTRATOR, Line, Ran, Served, free_port, start
from tests.shaped import ShapedLine

RACK, OLGA = "stamp:rack-1@contoso", "operator:olga@contoso"
SIZE = 6_000_000
Issue = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("ways")
    service = start(folder, CASEVAULT_BLOB_LISTEN=f"127.0.0.1:{free_port()}")
    service.do("tenants", "register", "Contoso", "--directory", "contoso", who=ADMINISTRATOR)
    yield service
    service.stop()


@pytest.fixture(scope="module")
def operator(served: Served, stamp: str) -> dict[str, str]:
    """Olga's token, once she has registered the stamp."""
    who = {"subject": "olga", "role": "CaseVault.Operator", "directory": "contoso"}
    return {"Authorization": f"Bearer {served.token(who)}"}


@pytest.fixture
def issue(served: Served, operator: dict[str, str], case: str) -> Issue:
    """A link of the case, as issued."""

    def issued(**asked: Any) -> dict[str, Any]:
        expires = datetime.now(UTC) + timedelta(days=1)
        answer = requests.post(
            f"{served.server}/cases/{case}/upload-links",
            json={"expires_at": expires.isoformat(), **asked},
            headers=operator,
            verify=str(served.ca),
            timeout=30,
        )
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    return issued


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    file = tmp_path / "logs.bin"
    file.write_bytes(random.Random(13).randbytes(SIZE))
    return file


def listed(served: Served, case: str) -> list[dict[str, Any]]:
    return list(served.do("collections", "--case", case, who=OLGA))


def over(url: str, line: Line | ShapedLine) -> str:
    """The link, by way of a line."""
    return line.server + url[url.index("/", len("https://")) :]


def endpoint(url: str) -> str:
    return url[: url.index("/", len("https://"))]


def crash(served: Served, line: Line, *words: object) -> None:
    """A command that is killed when its line has gone silent."""
    process = served.process(*words)
    assert line.broke.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.communicate()


def by_link(served: Served, url: str, *words: object) -> Ran:
    return served.cli("send", *words, "--link", url, "--json")


def test_a_link_is_enough_and_the_receipt_is_held_to_the_file(
    served: Served, case: str, issue: Issue, logs: Path, keys: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "receipt.json"
    ran = by_link(served, issue()["url"], logs, "--keys", keys, "--receipt", kept)
    assert ran.code == 0, ran.err
    assert "holds: signed" in ran.json["checked"]
    (one,) = listed(served, case)
    assert (one["id"], one["file_name"], one["size"]) == (ran.json["bundle"], "logs.bin", SIZE)
    assert served.cli("receipts", "verify", kept, "--keys", keys).code == 0


def test_a_link_in_the_environment_is_in_no_process_list_and_in_no_message(
    served: Served, case: str, issue: Issue, logs: Path
) -> None:
    url = issue()["url"]
    environment = {**served.environment, "CASEVAULT_LINK": url}
    environment.pop("CASEVAULT_SERVER")
    done = subprocess.run(
        [sys.executable, "-m", "intake_api.cli", "send", str(logs)],
        cwd=Path(__file__).resolve().parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "for this very file; its signature was not checked" in done.stdout
    assert url.rsplit("sig=", 1)[1] not in done.stdout + done.stderr
    memory = list((served.home / "casevault").rglob("*.json"))
    assert all("sig=" not in file.read_text() for file in memory)


def test_what_a_crash_cut_goes_on_through_the_link(
    served: Served, case: str, issue: Issue, logs: Path
) -> None:
    url = issue()["url"]
    line = Line(endpoint(url), [None, None, 700_000, 700_000, 700_000, 700_000], sending=True, silent=True)
    crash(served, line, "send", logs, "--link", over(url, line), "--no-digest")
    again = by_link(served, over(url, line), logs, "--no-digest")
    line.close()
    assert again.code == 0, again.err
    assert "resuming bun_" in again.err and "already" in again.err
    assert [one["state"] for one in listed(served, case)] == ["complete"]


def test_another_machine_goes_on_through_the_same_link(
    served: Served, case: str, issue: Issue, logs: Path, tmp_path: Path
) -> None:
    url = issue()["url"]
    line = Line(endpoint(url), [None, None, 700_000, 700_000, 700_000, 700_000], sending=True, silent=True)
    crash(served, line, "send", logs, "--link", over(url, line))
    line.close()
    elsewhere = dataclasses.replace(served, home=tmp_path / "another machine")
    copy = tmp_path / "copy" / "logs.bin"
    copy.parent.mkdir()
    copy.write_bytes(logs.read_bytes())
    ran = by_link(elsewhere, url, copy)
    assert ran.code == 0, ran.err
    assert "resuming bun_" in ran.err
    again = by_link(elsewhere, url, copy)
    assert again.json["bundle"] == ran.json["bundle"]
    assert "the service has all of it already" in again.err
    assert len(listed(served, case)) == 1


def test_what_the_end_of_a_link_cut_off_goes_on_with_the_link_renewed(
    served: Served, case: str, issue: Issue, logs: Path
) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=5)
    link = issue(expires_at=soon.isoformat())
    line = Line(
        endpoint(link["url"]), [None, None, 700_000, 700_000, 700_000, 700_000], sending=True, silent=True
    )
    crash(served, line, "send", logs, "--link", over(link["url"], line))
    line.close()
    served.pass_time(timedelta(minutes=10))
    ended = by_link(served, link["url"], logs)
    assert ended.code == 3 and "Ask for the link to be renewed" in ended.error
    renewed = served.do("links", "renew", link["id"], "--days", "2", who=OLGA)
    assert renewed["id"] == link["id"]
    ran = by_link(served, renewed["url"], logs)
    assert ran.code == 0, ran.err
    assert "resuming bun_" in ran.err
    assert [one["state"] for one in listed(served, case)] == ["complete"]
    (link_now,) = served.do("links", "list", "--case", case, who=OLGA)
    assert link_now["expires_at"] == renewed["expires_at"] and "url" not in link_now


def test_another_file_of_the_same_name_is_another_bundle(
    served: Served, case: str, issue: Issue, logs: Path
) -> None:
    url = issue()["url"]
    assert by_link(served, url, logs).code == 0
    logs.write_bytes(logs.read_bytes()[::-1])
    assert by_link(served, url, logs).code == 0
    assert [one["file_name"] for one in listed(served, case)] == ["logs.bin", "logs.bin"]


def test_a_saved_bundle_is_sent_through_a_link(
    served: Served, case: str, issue: Issue, logs: Path, tmp_path: Path
) -> None:
    saved = served.do("save", logs, "-o", tmp_path / "usb.zip", "--case", case, "--collected", "-1h")
    ran = by_link(served, issue()["url"], saved["bundle"])
    assert ran.code == 0, ran.err
    (one,) = listed(served, case)
    assert (one["file_name"], one["time_collected"]) == ("logs.bin", saved["collection"]["time_collected"])
    assert ran.json["sha256"] == saved["sha256"]


def test_a_link_that_would_not_do_is_said_so_before_a_byte_moves(
    served: Served, case: str, issue: Issue, operator: dict[str, str], logs: Path
) -> None:
    revoked = issue()
    requests.post(
        f"{served.server}/upload-links/{revoked['id']}/revoke",
        headers=operator,
        verify=str(served.ca),
        timeout=30,
    ).raise_for_status()
    wrong = {
        revoked["url"]: "this upload link was revoked; ask for a new one",
        f"{issue()['url'].partition('sig=')[0]}sig={'A' * 43}%3D": "Signature did not match",
        issue()["url"].replace("sp=rcwl", "sp=rl"): "cannot send: it lacks",
        issue(permissions="rl")["url"]: "cannot send: it lacks",
        issue(ip="192.0.2.1")["url"]: "not for this address",
        issue()["url"].split("?")[0]: "paste the whole address",
        "logs": "takes an upload link",
    }
    for url, said in wrong.items():
        ran = by_link(served, url, logs)
        assert ran.code in (1, 3) and said in ran.error, ran.err
        assert (url.partition("sig=")[2] or "none") not in ran.err
    assert listed(served, case) == []


def test_a_wrong_case_is_said_before_the_file_has_moved(
    served: Served, case: str, issue: Issue, logs: Path
) -> None:
    ran = by_link(served, issue()["url"], logs, "--case", "999999999999999")
    assert ran.code == 1 and "there is no case" in ran.error
    assert by_link(served, issue()["url"], logs, "--stamp", "stp_x").code == 2


def test_a_link_without_read_delivers_and_says_what_cannot_be_shown(
    served: Served, case: str, issue: Issue, logs: Path
) -> None:
    ran = by_link(served, issue(permissions="cw")["url"], logs)
    assert ran.code == 0, ran.err
    assert "lacks the permission to read" in ran.json["checked"]
    assert len(listed(served, case)) == 1


@pytest.mark.parametrize("count", [1, 4])
def test_a_line_that_is_reset_all_the_time_only_costs_time(
    served: Served, case: str, issue: Issue, logs: Path, count: int
) -> None:
    url = issue()["url"]
    line = ShapedLine(endpoint(url), rate=1_500_000, round_trip=0.05, resets=0.6, seed=5)
    ran = by_link(served, over(url, line), logs, "--connections", count, "--limit-rate", "20M")
    line.close()
    assert ran.code == 0, ran.err
    assert line.resets >= 2


def test_several_connections_with_a_token_make_one_bundle(served: Served, case: str, logs: Path) -> None:
    line = ShapedLine(served.server, rate=1_500_000, round_trip=0.25, resets=0.3, seed=2)
    ran = served.cli("send", logs, "--case", case, "--json", who=RACK, server=line.server)
    line.close()
    assert ran.code == 0, ran.err
    assert "holds" in ran.json["checked"]
    assert line.connections > 3  # it was seen to be far, and more than one connection was used
    assert [(one["state"], one["size"]) for one in listed(served, case)] == [("complete", SIZE)]


def test_several_connections_go_on_after_a_crash(served: Served, case: str, logs: Path) -> None:
    words = ("send", logs, "--case", case, "--connections", "3")
    line = Line(served.server, [None, None, 700_000, 700_000, 700_000], sending=True, silent=True)
    crash(served, line, *words, "--as", RACK, "--server", line.server)
    again = served.cli(*words, "--json", who=RACK, server=line.server)
    line.close()
    assert again.code == 0, again.err
    assert "resuming: the service has" in again.err
    assert [one["state"] for one in listed(served, case)] == ["complete"]
