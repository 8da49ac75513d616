"""docs/api.md is a session that works as it stands: its blocks are run, in order, by a shell with curl."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.served import ROOT, Served, start

PAGE = ROOT / "docs" / "api.md"


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Served]:
    """A service that nobody has told anything."""
    service = start(tmp_path)
    yield service
    service.stop()


def test_the_page_is_a_session_that_works_as_it_stands(bare: Served, tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), flags=re.M | re.S)
    assert len(blocks) >= 8
    script = "\n".join(["set -euo pipefail", *blocks, "echo; echo the end of the page"])
    known = {"URL": bare.server, "STATE": str(bare.state), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=known,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.endswith("the end of the page\n")
    assert (tmp_path / "first-bytes").read_bytes() == b"PK\x03\x04"
