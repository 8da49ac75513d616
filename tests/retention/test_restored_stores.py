"""Each store restored from before, alone and with others: what the next start makes of it (docs/restore.md).

Whatever was restored: the log is one and verifies, and neither what was erased nor what was revoked can be read, unless
nobody is left who could know. The drill of a person, with the commands, is tests/journeys/test_restore_drill.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from audit.log.sequencer import TilesBehindError
from retention.custody.access import manage_consents
from retention.custody.erasure import erasure_steps
from retention.domain.faults import Erased, NotFound, Refused, Unavailable
from retention.jobs.reconcile import reconcile
from retention.jobs.sequencing import sequence_once
from retention.jobs.sweep import remove_orphans, sweep
from tests.retention.custody.world import HOUR
from tests.retention.restoring import CONTENT, Installation, extends, leaves, log_is_good, publish

STORES = ("database", "objects", "keys", "log", "witness")
SETS = [
    {"database"},
    {"objects"},
    {"keys"},
    {"log"},
    {"witness"},
    {"database", "objects"},
    {"database", "log"},
    {"database", "witness"},
    {"log", "witness"},
    {"objects", "keys", "log"},
    {"database", "objects", "log"},
    {"database", "objects", "keys", "log"},
]
"""All that leave somebody who remembers: with database, log and witness restored together only the keys do (N7)."""


class Drill(Installation):
    """An installation each of whose stores has a back-up."""

    def place(self, store: str) -> Path:
        settings = self.settings
        return {
            "objects": settings.objects_folder,
            "keys": settings.data_keys_folder,
            "log": settings.log_folder,
            "witness": settings.witness_folder,
        }[store]

    def copy_all(self) -> None:
        self._back_up_database()
        for store in STORES[1:]:
            shutil.copytree(self.place(store), self.folder / f"{store}-copy")

    def bring_back(self, stores: set[str]) -> None:
        for store in stores:
            if store == "database":
                self._restore_database()
                continue
            shutil.rmtree(self.place(store))
            shutil.copytree(self.folder / f"{store}-copy", self.place(store))


@pytest.mark.parametrize("restored", SETS, ids=lambda stores: "+".join(sorted(stores)))
def test_after_any_restore_the_service_goes_on_and_gives_nothing_back(
    tmp_path: Path, restored: set[str]
) -> None:
    drill = Drill(tmp_path)
    with drill.service() as (services, world):
        world.open_case()
        world.assign(world.engineer, world.partner)
        goes, stays = world.upload(CONTENT), world.upload(CONTENT)
        consent = world.consent().id
        world.grant(world.partner)
        world.grant()
        publish(services)
        drill.clock.move(HOUR)
    drill.copy_all()
    with drill.service() as (services, world):
        erasure_steps.request_bundle_erasure(world.custody, world.operator, goes)
        sweep(world.custody)
        manage_consents.revoke_consent(world.custody, world.operator, consent)
        note = publish(services)
        world.assign(world.colleague)  # an entry that is in no copy yet
    drill.bring_back(restored)

    with drill.service() as (services, world):
        for actor in (world.engineer, world.partner):
            with pytest.raises((Erased, NotFound, Refused, Unavailable)):
                world.open(goes, actor)
        with pytest.raises((Refused, NotFound, Unavailable)):
            world.open(stays, world.partner)
        reconcile(world.custody, services.log_signer.verifier, services.witness)
        assert sequence_once(services) is not None
        for _ in range(2):
            sweep(world.custody)
        remove_orphans(world.custody)
        assert world.state(goes) == "erased"
        assert world.custody.keys.remains(goes) == world.custody.objects.remains(goes) == []
        with pytest.raises((Refused, NotFound)):
            world.grant(world.partner)
        world.grant()
        assert world.read(stays) == CONTENT
        publish(services)
        log_is_good(services)
        extends(services, note)
        told = {leaf["action"] for leaf in leaves(world, "log.adopted", "tiles.rebuilt")}
        assert told == {
            *(["log.adopted"] if "database" in restored else []),
            *(["tiles.rebuilt"] if "log" in restored and "database" not in restored else []),
        }
        assert all(row.leaf_index is not None for row in world.entries())


def test_tiles_restored_under_a_process_are_written_again_by_its_next_step(tmp_path: Path) -> None:
    drill = Drill(tmp_path)
    with drill.service() as (services, world):
        world.open_case()
        publish(services)
        drill.copy_all()
        world.assign(world.engineer)
        note = publish(services)
        drill.bring_back({"log"})
        world.assign(world.colleague)
        with pytest.raises(TilesBehindError):
            services.sequencer.run_once()
        assert sequence_once(services) is not None
        (rebuilt,) = leaves(world, "tiles.rebuilt")
        assert rebuilt["details"]["from"] < rebuilt["details"]["to"]
        sequence_once(services)
        publish(services)
        extends(services, note)
        log_is_good(services)


def test_a_repair_that_is_tried_again_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drill = Drill(tmp_path)
    with drill.service() as (services, world):
        world.open_case()
        publish(services)
        drill.copy_all()
        world.assign(world.engineer)
        publish(services)
    drill.bring_back({"log"})
    with drill.service() as (services, world):
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr("retention.jobs.reconcile.repair_tiles", lambda *_: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    sequence_once(services)
        assert sequence_once(services) is not None
        assert len(leaves(world, "tiles.rebuilt")) == 1
        log_is_good(services)
