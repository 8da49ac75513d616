"""The stamp: uploads that outlive broken lines, crashes and changed minds."""

from __future__ import annotations

import random
import signal
import time
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from tests.journeys.served import Line, Sent, Served

RACK = "stamp:rack-1@contoso"
pytestmark = pytest.mark.usefixtures("stamp")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    file = tmp_path / "logs.bin"
    file.write_bytes(random.Random(7).randbytes(12_000_000))
    return file


def test_a_line_that_is_cut_again_and_again_only_costs_time(served: Served, case: str, logs: Path) -> None:
    line = Line(served.server, [None, 3_000_000, 2_000_000, 20_000, 4_000_000], sending=True)
    ran = served.cli("send", logs, "--case", case, "--json", who=RACK, server=line.server)
    line.close()
    assert ran.code == 0, ran.err
    assert line.broke.is_set()
    assert ran.json["size"] == 12_000_000 and "holds" in ran.json["checked"]


def test_after_a_crash_the_same_command_goes_on_where_it_was(served: Served, case: str, logs: Path) -> None:
    line = Line(served.server, [None, 5_000_000], sending=True, silent=True)
    words = ("send", logs, "--case", case, "--as", RACK, "--server", line.server)
    crashed = served.process(*words)
    assert line.broke.wait(60)
    crashed.send_signal(signal.SIGKILL)
    crashed.wait()
    crashed.communicate()
    again = served.cli("send", logs, "--case", case, "--json", who=RACK, server=line.server)
    line.close()
    assert again.code == 0, again.err
    assert "resuming bun_" in again.err
    listed = served.do("collections", "--case", case, who="operator:olga@contoso")
    assert [one["state"] for one in listed] == ["complete"]  # one upload, not two


def test_a_changed_file_is_another_upload(served: Served, case: str, logs: Path) -> None:
    line = Line(served.server, [None, 2_000_000], sending=True, silent=True)
    crashed = served.process("send", logs, "--case", case, "--as", RACK, "--server", line.server)
    assert line.broke.wait(60)
    crashed.kill()
    crashed.wait()
    crashed.communicate()
    logs.write_bytes(logs.read_bytes()[::-1])
    again = served.cli("send", logs, "--case", case, "--json", who=RACK, server=line.server)
    line.close()
    assert again.code == 0, again.err
    assert "resuming" not in again.err


def test_a_folder_is_sent_as_one_zip(served: Served, case: str, tmp_path: Path) -> None:
    folder = tmp_path / "node-7"
    (folder / "Compute").mkdir(parents=True)
    (folder / "Compute" / "service.log").write_text("started\n" * 100)
    (folder / "events.log").write_text("event\n")
    (folder / "link").symlink_to(folder / "events.log")
    ran = served.cli("send", folder, "--case", case, "--roles", "Compute", "--json", who=RACK)
    assert ran.code == 0, ran.err
    assert "left out: link" in ran.err
    (shown,) = served.do("collections", "--case", case, who="operator:olga@contoso")
    assert (shown["file_name"], shown["roles"]) == ("node-7.zip", ["Compute"])


def test_without_an_announced_digest_the_receipt_is_still_held_to_the_file(
    served: Served, case: str, logs: Path
) -> None:
    assert "holds" in served.do("send", logs, "--case", case, "--no-digest", who=RACK)["checked"]


def test_a_stamp_does_not_send_for_a_case_of_another_customer(served: Served, logs: Path) -> None:
    number = served.case_number()
    served.do("cases", "open", number, "--directory", "fabrikam", who="case-system:crm")
    ran = served.cli("send", logs, "--case", number, who=RACK)
    assert ran.code == 3 and f"there is no case '{number}'" in ran.error


def test_send_logs_now_is_held_to_its_window(served: Served, case: str, logs: Path) -> None:
    ran = served.cli("send", logs, "--case", case, "--send-logs-now", "--logs-start", "-9h", who=RACK)
    assert ran.code == 1 and "1 to 4 hours" in ran.error
    words = ("send", logs, "--case", case, "--send-logs-now", "--logs-start", "-3h")
    assert served.cli(*words, "--no-wait", who=RACK).code == 0


def test_the_zip_that_was_sent_is_what_an_engineer_fetches(
    served: Served, sent: Sent, case: str, tmp_path: Path
) -> None:
    bundle, file = sent.bundle, sent.file
    served.cli("cases", "assign", case, "alice", who="case-system:crm")
    served.do("grant", case, "--reason", "looking at the storage logs", who="engineer:alice")
    assert served.cli("fetch", bundle, "-o", tmp_path / "back.zip", who="engineer:alice").code == 0
    assert (tmp_path / "back.zip").read_bytes() == file.read_bytes()
    assert zipfile.ZipFile(tmp_path / "back.zip").testzip() is None


def test_a_receipt_that_cannot_be_kept_is_found_out_before_anything_is_sent(
    served: Served, case: str, logs: Path, tmp_path: Path
) -> None:
    words = ("send", logs, "--case", case, "--receipt", tmp_path / "no-such-folder/r.json")
    ran = served.cli(*words, who="stamp:rack-1@contoso")
    assert ran.code == 1 and "r.json cannot be written: its folder does not exist" in ran.error
    assert served.do("collections", "--case", case, who="operator:olga@contoso") == []


def test_a_bundle_that_is_damaged_is_shown_as_such(served: Served, case: str, logs: Path) -> None:
    token = served.token({"subject": "rack-1", "role": "CaseVault.Stamp", "directory": "contoso"})
    now = datetime.now(UTC)
    query = {"type": "on-demand", "case": case, "sha256": "0" * 64, "time_collected": now.isoformat()}
    query |= {"logs_start": (now - timedelta(hours=1)).isoformat(), "logs_end": now.isoformat()}
    sent = requests.put(
        f"{served.server}/bundles/logs.zip",
        params=query,
        data=logs.read_bytes(),
        headers={"Authorization": f"Bearer {token}"},
        verify=str(served.ca),
        timeout=60,
    )
    assert sent.status_code == 201, sent.text
    for _ in range(100):
        shown = served.cli("collections", "--case", case, who="operator:olga@contoso")
        if "damaged" in shown.out:
            return
        time.sleep(0.1)
    raise AssertionError(shown.out)
