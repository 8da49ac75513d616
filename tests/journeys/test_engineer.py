"""The engineer, at three in the morning: assigned, granted, reading, done."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

import pytest

from tests.journeys.served import CASE_SYSTEM, Line, Sent, Served
from tests.retention.archive.making import zip_of
from tests.retention.event_logs.making import CHUNK, HEADER, Made, log_of

ALICE, BOB = "engineer:alice", "engineer:bob"
CLUSTERING = "Microsoft-Windows-FailoverClustering"
REASON = "volume offline on node 2 since 02:10"


@pytest.fixture
def granted(served: Served, sent: Sent, case: str) -> str:
    """Alice, assigned and granted; the bundle."""
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    served.do("grant", case, "--reason", REASON, "--hours", "2", who=ALICE)
    return str(sent.bundle)


def test_who_is_not_assigned_is_told_so_and_nothing_more(served: Served, sent: Sent, case: str) -> None:
    refused = served.cli("grant", case, "--reason", REASON, who=BOB)
    assert refused.code == 3 and "not-assigned" in refused.error
    unseen = served.cli("files", sent.bundle, who=BOB)
    assert unseen.code == 3 and "there is no bundle" in unseen.error
    assert served.do("collections", "--limit", "0", who=BOB) == []


@pytest.mark.parametrize("reason", [".", "        ", "test"])
def test_a_reason_has_to_be_one(served: Served, case: str, reason: str) -> None:
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    ran = served.cli("grant", case, "--reason", reason, who=ALICE)
    assert ran.code != 0 and "reason" in ran.error


@pytest.mark.parametrize("hours", ["0.1", "25"])
def test_a_grant_lasts_a_quarter_of_an_hour_to_a_day(served: Served, case: str, hours: str) -> None:
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    ran = served.cli("grant", case, "--reason", REASON, "--hours", hours, who=ALICE)
    assert ran.code != 0 and "15" in ran.error


def test_she_lists_what_is_inside_and_reads_one_file(served: Served, granted: str, sent: Sent) -> None:
    members = sent.members
    listed = served.do("files", granted, who=ALICE)
    assert {item["path"]: item["size"] for item in listed} == {
        name: len(text) for name, text in members.items()
    }
    ran = served.cli("fetch", granted, "Storage/node-2.log", "-o", "-", who=ALICE)
    assert ran.code == 0 and ran.raw == members["Storage/node-2.log"]


def test_she_sees_lines_of_a_file_without_fetching_it(served: Served, granted: str, sent: Sent) -> None:
    lines = sent.members["Storage/node-2.log"].decode().splitlines()
    ran = served.cli("view", granted, "Storage/node-2.log", "--line", "2", "--count", "2", who=ALICE)
    assert ran.code == 0, ran.err
    assert [line.split(maxsplit=1) for line in ran.out.splitlines()] == [
        [str(number), lines[number - 1]] for number in (2, 3)
    ]
    last = served.do("view", granted, "Storage/node-2.log", "--tail", "1", who=ALICE)
    assert [line["text"] for line in last["lines"]] == lines[-1:]
    beyond = served.cli("view", granted, "Storage/node-2.log", "--line", "999999999", who=ALICE)
    assert beyond.code == 1 and f"the file has {len(lines)}" in beyond.error


def test_a_file_that_tar_called_by_the_folder_it_was_in_is_read_like_any_other(
    served: Served, granted: str, stamp: str, case: str, tmp_path: Path
) -> None:
    """`tar -czf x.tgz .` begins each name with `./`, which HTTP clients drop from an address."""
    text, file = b"volume offline\n", tmp_path / "logs.tgz"
    with tarfile.open(file, "w:gz") as archive:
        for name in ("./a.log", "./logs/./b.log"):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    bundle = served.do("send", file, "--case", case, who="stamp:rack-1@contoso")["bundle"]
    for item in served.do("files", bundle, who=ALICE):
        assert item["path"].startswith("./")
        assert served.cli("fetch", bundle, item["path"], "-o", "-", who=ALICE).raw == text
        lines = served.do("view", bundle, item["path"], who=ALICE)["lines"]
        assert [line["text"] for line in lines] == ["volume offline"]


def test_she_searches_with_greps_exit_codes(served: Served, granted: str, sent: Sent, case: str) -> None:
    text = sent.members["Storage/node-2.log"].decode().splitlines()
    word = text[0].split()[-1]
    wanted = [f"{number}:{line}" for number, line in enumerate(text, 1) if word in line]
    ran = served.cli("grep", "-n", "-F", word, granted, "Storage/node-2.log", who=ALICE)
    assert (ran.code, ran.out.splitlines()) == (0, wanted)
    everywhere = served.cli(
        "grep", "-F", "-m", "1", word, "--case", case, "--include", "node-2.log", who=ALICE
    )
    assert everywhere.out.startswith(f"{granted}:Storage/node-2.log:")
    none = served.cli("grep", "no such words anywhere", granted, who=ALICE)
    assert (none.code, none.out) == (1, "")
    bad = served.cli("grep", "(", granted, who=ALICE)
    assert bad.code == 2 and "regular expression" in bad.error
    stranger = served.cli("grep", word, granted, who=BOB)
    assert stranger.code == 2 and "there is no bundle" in stranger.error


def test_she_reads_an_event_log_as_its_events(
    served: Served, granted: str, case: str, tmp_path: Path
) -> None:
    """The log lies in a zip in the zip that is sent; its second chunk is damaged."""
    quiet = [Made(number, data=(("param1", "Cluster Service"), ("param2", "running"))) for number in range(9)]
    loud = [
        Made(9, level=1, provider=CLUSTERING, id=1135, data=(("NodeName", "node-2"),)),
        Made(10, level=2, provider=CLUSTERING, id=1069, data=(("ResourceName", "CSV3"), ("Status", "5038"))),
    ]
    log = log_of(quiet, quiet, loud)
    log = log[: HEADER + CHUNK] + bytes(8) + log[HEADER + CHUNK + 8 :]
    file, inside = tmp_path / "logs.zip", "Logs.zip!/System.evtx"
    file.write_bytes(zip_of({"Logs.zip": zip_of({"System.evtx": log}), "a.log": b"text\n"}))
    bundle = served.do("send", file, "--case", case, who="stamp:rack-1@contoso")["bundle"]
    ran = served.cli("events", bundle, inside, "--level", "error", who=ALICE)
    assert ran.code == 2 and "chunk 1, at 69632: it does not begin as a chunk does" in ran.err
    assert [line.split("  record ")[0].split("  ")[-1].strip() for line in ran.out.splitlines()] == [
        f"{CLUSTERING} 1135",
        f"{CLUSTERING} 1069",
    ]
    xml = served.cli("events", bundle, inside, "--grep", "csv3", "-i", "--xml", who=ALICE)
    assert '<Data Name="ResourceName">CSV3</Data>' in xml.out
    text = served.cli("events", bundle, "a.log", who=ALICE)
    assert text.code == 2 and "not a Windows event log" in text.error
    stranger = served.cli("events", bundle, inside, who=BOB)
    assert stranger.code == 2 and "there is no bundle" in stranger.error


def test_a_whole_bundle_goes_into_a_pipe(served: Served, granted: str, sent: Sent) -> None:
    ran = served.cli("fetch", granted, "-o", "-", who=ALICE)
    assert ran.code == 0 and ran.raw == sent.file.read_bytes()


def test_a_range_is_exactly_those_bytes(served: Served, granted: str, sent: Sent, tmp_path: Path) -> None:
    ran = served.cli("fetch", granted, "--range", "100-4195", "-o", tmp_path / "part.bin", who=ALICE)
    assert ran.code == 0, ran.err
    assert (tmp_path / "part.bin").read_bytes() == sent.file.read_bytes()[100:4196]
    beyond = served.cli("fetch", granted, "--range", "999999999-", "-o", tmp_path / "none.bin", who=ALICE)
    assert beyond.code == 1
    assert not (tmp_path / "none.bin").exists()


@pytest.fixture
def big(served: Served, stamp: str, case: str, tmp_path: Path) -> tuple[str, bytes]:
    """A bundle of some megabytes that Alice may read."""
    file = tmp_path / "big.bin"
    file.write_bytes(random.Random(3).randbytes(9_000_000))
    bundle = served.do("send", file, "--case", case, who="stamp:rack-1@contoso")["bundle"]
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    served.do("grant", case, "--reason", REASON, who=ALICE)
    return bundle, file.read_bytes()


def test_a_cut_download_goes_on_and_is_held_to_its_digest(
    served: Served, big: tuple[str, bytes], tmp_path: Path
) -> None:
    bundle, content = big
    line = Line(served.server, [None, 3_000_000, 2_000_000], sending=False)
    target = tmp_path / "fetched.bin"
    ran = served.cli("fetch", bundle, "-o", target, who=ALICE, server=line.server)
    line.close()
    assert ran.code == 0, ran.err
    assert line.broke.is_set()
    assert target.read_bytes() == content
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []
    opened = ("audit", "entries", "--bundle", bundle, "--action", "bundle.opened")
    ranges = [entry["details"]["ranges"] for entry in served.do(*opened, who="auditor:ada")]
    starts = {int(span.partition("+")[0]) for spans in ranges for span in spans}
    assert len(starts) >= 3  # each request in the log, with the bytes that it asked for


def test_what_was_damaged_here_is_never_taken_for_the_bundle(
    served: Served, big: tuple[str, bytes], tmp_path: Path
) -> None:
    bundle, content = big
    digest = served.do("collections", "--limit", "1", who=ALICE)[0]["sha256"]
    part = tmp_path / f".fetched.bin.{digest[:16]}.part"
    part.write_bytes(b"\0" * 1_000_000)
    ran = served.cli("fetch", bundle, "-o", tmp_path / "fetched.bin", who=ALICE)
    assert ran.code == 1 and "do not have the SHA-256" in ran.error
    assert not part.exists() and not (tmp_path / "fetched.bin").exists()
    assert served.cli("fetch", bundle, "-o", tmp_path / "fetched.bin", who=ALICE).code == 0
    assert (tmp_path / "fetched.bin").read_bytes() == content


def test_a_file_that_is_there_is_not_replaced_unasked(served: Served, granted: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.zip"
    mine.write_text("mine")
    ran = served.cli("fetch", granted, "-o", mine, who=ALICE)
    assert ran.code == 1 and "--force" in ran.error and mine.read_text() == "mine"
    assert served.cli("fetch", granted, "-o", mine, "--force", who=ALICE).code == 0
    assert mine.read_bytes()[:2] == b"PK"


def test_released_is_released(served: Served, granted: str, case: str) -> None:
    (grant,) = served.do("grants", case, who=ALICE)
    assert served.do("release", grant["id"], who=ALICE)["end_cause"] == "released"
    ran = served.cli("files", granted, who=ALICE)
    assert ran.code == 3 and "no-grant" in ran.error


def test_closing_the_case_ends_the_access(served: Served, granted: str, case: str) -> None:
    closed = served.do("cases", "close", case, "--at", "now", who=CASE_SYSTEM)
    assert closed["state"] == "closed"
    assert served.cli("files", granted, who=ALICE).code == 3
    assert served.do("cases", "reopen", case, who=CASE_SYSTEM)["state"] == "open"
    assert served.cli("files", granted, who=ALICE).code == 3  # a grant does not come back


def test_she_claims_a_proactive_bundle_for_her_case(
    served: Served, stamp: str, case: str, tmp_path: Path
) -> None:
    alert = tmp_path / "alert.zip"
    alert.write_bytes(b"proactive")
    words = ("send", alert, "--trigger", "Urp.UpdateFailure")
    bundle = served.do(*words, who="stamp:rack-1@contoso")["bundle"]
    served.cli("cases", "assign", case, "alice", who=CASE_SYSTEM)
    unclaimed = served.do("collections", "--unclaimed", who=ALICE)
    assert bundle in {one["id"] for one in unclaimed}
    assert served.do("claim", bundle, "--case", case, who=ALICE)["case"] == case
    again = served.cli("claim", bundle, "--case", case, who=ALICE)
    assert again.code == 1 and "claimed" in again.error


def test_a_path_that_leads_out_of_the_bundle_is_not_followed(
    served: Served, granted: str, tmp_path: Path
) -> None:
    ran = served.cli("fetch", granted, "../../../cases", "-o", tmp_path / "out.bin", who=ALICE)
    assert ran.code == 3 and "no file of that name" in ran.error
    assert not (tmp_path / "out.bin").exists()


@pytest.mark.parametrize("words", [("Storage/node-2.log", "--range", "0-4"), ("--range", "9-0")])
def test_a_range_that_cannot_be_kept_to_is_refused_before_anything_is_read(
    served: Served, granted: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    ran = served.cli("fetch", granted, *words, "-o", tmp_path / "out.bin", who=ALICE)
    assert ran.code == 2 and "--range" in ran.error
    assert not (tmp_path / "out.bin").exists()


def test_a_refused_fetch_says_why(served: Served, granted: str, tmp_path: Path) -> None:
    served.cli("erase", "--bundle", granted, "--yes", who="operator:olga@contoso")
    ran = served.cli("fetch", granted, "-o", tmp_path / "out.bin", who=ALICE)
    assert "erased" in ran.error and "the server responded" not in ran.error
