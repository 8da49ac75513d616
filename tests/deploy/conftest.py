"""The deployment as it stands in docs/deploy, and the image, built once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.containerfile import Image
from tests.deploy.site import ROOT, Site
from tests.servers.installing import missing


@pytest.fixture(scope="session")
def site() -> Site:
    return Site(ROOT / "docs/deploy")


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """Not below pytest's own folder: that is closed to other users, and the image has one."""
    if os.geteuid() != 0:
        missing("mounts and another user's id take root")
    folder = Path(tempfile.mkdtemp(prefix="casevault-image-"))
    folder.chmod(0o755)
    try:
        built = Image(folder)
        built.build()
        yield built
    finally:
        shutil.rmtree(folder)
