"""A disk that uploads have filled, on a small file system that holds the whole state folder (P3, P4, P5).

A small file system where one can be mounted; elsewhere what is free is counted, as if the folder were one.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from audit.mirror.copying import Mirror
from audit.mirror.store_local import LocalMirrorStore
from audit.tlog.tile_store import CHECKPOINT_PATH
from intake_api.cli.cli_errors import CliError
from intake_api.cli.doctor.server_checks import disk
from retention.config import Settings
from retention.jobs.sweep import erase_due
from retention.objects.store_errors import StoreFull
from tests.service import CASE, OPERATOR, STAMP, Service, collection, tus

MIB = 1 << 20
SIZE, RESERVE = 40 * MIB, 16 * MIB
PIECE = os.urandom(2 * MIB)
NUMBERS = count()


@contextmanager
def small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return

    def statvfs(_path: object) -> SimpleNamespace:
        used = sum(file.lstat().st_blocks * 512 for file in folder.rglob("*"))
        return SimpleNamespace(f_bavail=max(0, SIZE - used), f_frsize=1)

    monkeypatch.setattr("retention.objects.local.part_store.os.statvfs", statvfs)
    yield


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    folder = tmp_path / "small"
    with small(folder, monkeypatch):
        settings = Settings(state=folder / "state", development=True, disk_reserve=RESERVE)
        with Service(folder, settings=settings) as made:
            made.set_up()
            yield made


def fill(service: Service, most: int = 100) -> list[str]:
    """Upload until no more is taken; the bundles, of which the last may have been cut."""
    whole = []
    for _ in range(most):
        declared = collection(filename=f"{next(NUMBERS)}.zip")  # what was erased does not come again under it
        begun = service.call("POST", "/uploads", STAMP, headers=tus(len(PIECE), declared))
        if begun.status_code == 507:
            return whole
        assert begun.status_code == 201
        location = begun.headers["Location"]
        sent = service.call("PATCH", location, STAMP, headers=piece(0), data=PIECE)
        whole.append(location.rsplit("/", 1)[1])
        if sent.status_code == 507:
            return whole
        assert sent.status_code == 204
    raise AssertionError("the disk was never full")


TUS = {"Tus-Resumable": "1.0.0"}


def piece(offset: int) -> dict[str, str]:
    return {**TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}


def free(service: Service) -> int:
    status = os.statvfs(service.settings.state)
    return status.f_bavail * status.f_frsize


def test_an_upload_that_the_reserve_ended_can_be_given_up(service: Service) -> None:
    location, _, _ = ended_by_the_reserve(service)
    assert service.call("DELETE", location, STAMP, headers=TUS).status_code == 204
    assert erase_due(service.custody).erased == 1


def test_a_disk_that_uploads_filled_is_emptied_by_the_product(service: Service) -> None:
    whole = fill(service)
    assert len(whole) > 3
    assert RESERVE - 6 * MIB < free(service) <= RESERVE + len(PIECE), "what was cut is given back"
    rest = service.settings.state / "the-rest"  # what was cut left less room than a piece
    rest.write_bytes(bytes(max(0, free(service) - RESERVE) + 4096))
    told = service.done("GET", "/readyz")
    assert (told["status"], told["uploads"][:7], told["checks"]["log"]) == ("ok", "no room", "ok")
    with pytest.raises(CliError, match="no space for uploads"):
        disk(service.settings.state, RESERVE)
    assert service.call("POST", "/uploads", STAMP, headers=tus(1, collection())).status_code == 507

    before = service.services.sequencer.run_once()
    asked = service.done("POST", f"/cases/{CASE}/erasures", OPERATOR, json={})
    report = erase_due(service.custody)
    assert (report.erased, report.failed) == (len(whole), 0)
    after = service.services.sequencer.run_once()
    assert before is not None and after is not None and after.size > before.size
    assert f"\n{after.size}\n".encode() in service.custody.tiles.get(CHECKPOINT_PATH)
    found = service.done("GET", f"/erasures/{asked['confirmation']}", OPERATOR)
    assert found["proven_at"]
    rest.unlink()
    assert free(service) > SIZE - RESERVE
    assert len(fill(service)) >= len(whole) - 1, "and it takes uploads again"


def ended_by_the_reserve(service: Service) -> tuple[str, int, Path]:
    """An upload under way while something else fills the disk: where it is, its offset, and what is in the way."""
    begun = service.call("POST", "/uploads", STAMP, headers=tus(len(PIECE), collection()))
    location = begun.headers["Location"]
    assert service.call("PATCH", location, STAMP, headers=piece(0), data=PIECE[:MIB]).status_code == 204
    filler = service.settings.state / "somebody-elses-file"
    filler.write_bytes(bytes(free(service) - RESERVE + MIB // 4))
    sent = service.call("PATCH", location, STAMP, headers=piece(MIB), data=PIECE[MIB:])
    assert (sent.status_code, sent.get_json()["type"]) == (507, "/problems/store-full")
    told = service.call("HEAD", location, STAMP, headers=TUS)
    return location, int(told.headers["Upload-Offset"]), filler


def test_an_upload_that_the_reserve_ended_loses_nothing_and_goes_on(service: Service) -> None:
    location, offset, filler = ended_by_the_reserve(service)
    assert offset == MIB
    filler.unlink()
    sent = service.call("PATCH", location, STAMP, headers=piece(offset), data=PIECE[offset:])
    assert (sent.status_code, sent.headers["Upload-Offset"]) == (204, str(len(PIECE)))
    assert service.done("GET", "/readyz")["uploads"] == "ok"
    service.tick()
    assert service.tick().failed == 0


def test_a_hundred_erasures_fit_into_half_of_the_reserve(service: Service) -> None:
    """Ten times what the page computes with an erasure, for the write-ahead log's own growth is in it."""
    made = [service.complete(b"x") for _ in range(100)]
    service.tick()
    before = free(service)
    for bundle in made:
        service.done("POST", f"/bundles/{bundle}/erasures", OPERATOR, json={})
    lowest = free(service)
    while erase_due(service.custody, 10).erased:
        lowest = min(lowest, free(service))
    service.services.sequencer.run_once()
    Mirror(
        service.custody.records.engine,
        service.custody.tiles,
        service.services.log_signer.verifier,
        LocalMirrorStore(service.settings.witness_folder),
        service.clock,
    ).run_once()
    lowest = min(lowest, free(service))
    assert (before - lowest) / len(made) < RESERVE / 200


def test_tiles_that_cannot_be_written_are_not_said_to_be_well(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.services.sequencer.run_once()
    log = service.settings.log_folder

    def full(path: Path, data: bytes) -> int:
        if log in path.parents:
            raise OSError(28, "No space left on device")
        return real(path, data)

    real = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", full)
    answer = service.call("GET", "/readyz")
    assert answer.status_code == 503
    assert answer.get_json()["checks"]["log"] == "unavailable"


def test_entries_that_wait_for_their_place_are_told(service: Service) -> None:
    service.advance(timedelta(minutes=2))
    told = service.done("GET", "/readyz")
    assert (told["status"], told["sequencing"][:5]) == ("ok", "late:"), (
        "and takes this process out of nothing"
    )


def test_the_store_refuses_at_the_reserve_and_takes_again_above_it(service: Service) -> None:
    bundle = service.complete(b"x")
    filler = service.settings.state / "somebody-elses-file"
    with filler.open("wb") as file:
        file.write(bytes(free(service) - RESERVE + MIB))
    with pytest.raises(StoreFull, match="kept for erasing"):
        service.custody.objects.new_part(bundle, "prt_" + "a" * 26)
    filler.unlink()
    with service.custody.objects.new_part(bundle, "prt_" + "a" * 26):
        pass
