"""AzCopy, unmodified: the tool that stamps and people use most."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tests.blob.clients.tools import azcopy
from tests.blob.endpoint import Endpoint
from tests.service import OPERATOR

MIB = 1 << 20


def test_it_sends_files_and_folders_and_finds_them_as_long_as_they_are(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    (folder / "node 1").mkdir(parents=True)
    contents = {"small.zip": os.urandom(100_000), "node 1/big.zip": os.urandom(9 * MIB + 7)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    link = endpoint.link()
    base, sas = link["url"].split("?")
    one = f"{base}/one.zip?{sas}"
    alone = azcopy(
        endpoint.authority,
        tmp_path,
        "copy",
        str(folder / "small.zip"),
        one,
        "--from-to=LocalBlob",
        "--put-md5",
    )
    assert alone.returncode == 0, alone.stdout
    whole = azcopy(
        endpoint.authority,
        tmp_path,
        *("copy", str(folder), link["url"], "--from-to=LocalBlob", "--recursive", "--block-size-mb=1"),
    )
    assert whole.returncode == 0, whole.stdout
    assert "Number of File Transfers Completed: 2" in whole.stdout
    again = azcopy(
        endpoint.authority,
        tmp_path,
        *("copy", str(folder / "small.zip"), one, "--from-to=LocalBlob", "--overwrite=false"),
    )
    assert "Number of File Transfers Skipped: 1" in again.stdout
    sent = {b["blob_name"]: b["sha256"] for b in endpoint.bundles() if b["link"] == link["id"]}
    expected = {f"logs/{name}": hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    assert sent == {**expected, "one.zip": expected["logs/small.zip"]}


def test_it_fails_with_a_link_that_was_revoked_and_says_so(endpoint: Endpoint, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"logs")
    link = endpoint.link()
    endpoint.service.done("POST", f"/upload-links/{link['id']}/revoke", OPERATOR)
    base, sas = link["url"].split("?")
    failed = azcopy(
        endpoint.authority,
        tmp_path,
        "copy",
        str(tmp_path / "a.zip"),
        f"{base}/a.zip?{sas}",
        "--from-to=LocalBlob",
    )
    assert failed.returncode != 0
    assert "AuthenticationFailed" in failed.stdout + failed.stderr + logs(tmp_path)


def logs(folder: Path) -> str:
    return "".join(path.read_text() for path in (folder / "log").rglob("*.log"))
