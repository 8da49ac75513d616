from __future__ import annotations

import hashlib
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from retention.jobs.sweep import sweep
from retention.objects.store_errors import StoreFull
from tests.retention.custody.world import World, local_world

MIB = 1 << 20
CONTENT = bytes(range(256)) * (7 * MIB // 256)
MORE = Callable[[], object]


@contextmanager
def little_room(folder: Path) -> Iterator[MORE]:
    """Room for about 5 MiB in `folder`; yields how to get more.

    A small file system where one can be mounted; elsewhere a limit on the size of files, which fails the same way.
    """
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m,mode=0700", "tmpfs", str(folder)]
    with ExitStack() as undo:
        if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
            undo.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
            yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
            return
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        undo.callback(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (5 * MIB, hard))
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[tuple[World, MORE]]:
    with little_room(tmp_path / "objects") as more, local_world(tmp_path) as world:
        yield world, more


def test_a_disk_that_fills_while_sealing_costs_the_part_and_nothing_before_it(
    crowded: tuple[World, MORE],
) -> None:
    world, more = crowded
    world.open_case()
    bundle = world.announce(len(CONTENT))
    assert world.send(bundle, CONTENT[:MIB]) == MIB
    with pytest.raises(StoreFull, match=r"No space left on device|File too large"):
        world.send(bundle, CONTENT[MIB:], MIB)
    assert world.row(bundle).offset == MIB
    assert len(world.custody.objects.remains(bundle)) == 1, "nothing half-written stays"
    more()
    world.send(bundle, CONTENT[MIB:], MIB)
    sweep(world.custody)
    assert (world.state(bundle), world.row(bundle).sha256) == (
        "complete",
        hashlib.sha256(CONTENT).hexdigest(),
    )
