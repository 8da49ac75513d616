"""What was deleted is gone from the files too: from the database and from its write-ahead log (P7)."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select, update

from audit.log.append import redact
from audit.log.tables import audit_entries
from retention.custody.erasure import erasure_steps
from retention.jobs.sweep import sweep
from retention.records.sqlite_engine import truncate_wal
from retention.records.tables import bundles
from tests.retention.custody.world import World, local_world

SECRET = "SECRET-FILE-NAME-OF-THE-CUSTOMER.zip"


def found(folder: Path) -> list[str]:
    return [path.name for path in sorted(folder.glob("records.db*")) if SECRET.encode() in path.read_bytes()]


def forget_the_entries_words(world: World) -> None:
    """The file name stands beside an entry too, until it is redacted."""
    with world.custody.records.read() as reads:
        ids = list(reads.execute(select(audit_entries.c.entry_id)).scalars())
    with world.custody.records.engine.begin() as connection:
        for entry in ids:
            redact(connection, entry, world.clock.now())


def test_a_sweep_that_erased_leaves_no_name_in_the_database_or_its_log(tmp_path: Path) -> None:
    with local_world(tmp_path) as world:
        world.open_case()
        bundle = world.upload(b"content", file_name=SECRET)
        assert found(tmp_path) != [], "so that this test cannot pass for another reason"
        forget_the_entries_words(world)
        erasure_steps.request_bundle_erasure(world.custody, world.operator, bundle)
        sweep(world.custody)
        assert found(tmp_path) == []
        world.sequence()
        assert world.log_problems() == []


def test_a_reader_in_the_way_delays_it_and_the_next_call_makes_it_good(tmp_path: Path) -> None:
    with local_world(tmp_path) as world:
        world.open_case()
        bundle = world.announce(5, file_name=SECRET)
        forget_the_entries_words(world)
        records = world.custody.records
        with records.read() as reads:
            reads.execute(select(bundles.c.id)).all()
            gone = update(bundles).where(bundles.c.id == bundle).values(file_name="")
            records.write(lambda tx: tx.change(gone))
            assert not truncate_wal(records.engine)
            assert found(tmp_path) != []
        assert truncate_wal(records.engine)
        assert found(tmp_path) == []
