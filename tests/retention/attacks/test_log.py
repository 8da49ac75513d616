"""An opening leaves a true entry that lasts, or no byte leaves: against triggers, rules, views, and rows that are
deleted or changed after they were written (P3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from audit.entry import Action
from audit.log.tables import audit_entries
from audit.log.tail_recovery import RowGaps
from retention.assembly import Alterations
from retention.custody.reading.opening_entry import NOT_KEPT, EntryNotKept
from retention.domain.faults import Unavailable
from retention.jobs.sequencing import look_for_alterations
from retention.records.schema import FOREIGN, NEWER, Schema, SchemaWatch, inspect_schema
from tests.retention.attacks.conftest import CONTENT, Scene
from tests.retention.custody.world import World

_BODY = {
    "deletes the entry": "DELETE FROM audit_entries WHERE entry_id = NEW.entry_id",
    "names another": "UPDATE audit_entries SET actor = 'act_nobody' WHERE entry_id = NEW.entry_id",
    "changes the leaf": "UPDATE audit_entries SET leaf = :other_leaf WHERE entry_id = NEW.entry_id",
    "takes the names": "UPDATE audit_entries SET particulars = NULL WHERE entry_id = NEW.entry_id",
    "changes the salt": "UPDATE audit_entries SET salt = :other_leaf WHERE entry_id = NEW.entry_id",
}


def _trigger(scene: Scene, body: str) -> list[str]:
    if not scene.is_postgres:
        body = body.replace(":other_leaf", "x'7b7d'")
        return [
            "CREATE TRIGGER quiet AFTER INSERT ON audit_entries WHEN NEW.action = 'bundle.opened' "
            f"BEGIN {body}; END"
        ]
    body = body.replace(":other_leaf", "'\\x7b7d'::bytea")
    return [
        "CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        f"AS $$ BEGIN {body}; RETURN NULL; END $$",
        "CREATE CONSTRAINT TRIGGER quiet AFTER INSERT ON audit_entries INITIALLY DEFERRED FOR EACH ROW "
        "WHEN (NEW.action = 'bundle.opened') EXECUTE FUNCTION quiet()",
    ]


@pytest.mark.parametrize("name", _BODY)
def test_a_trigger_that_touches_the_entry_lets_no_byte_out(scene: Scene, name: str) -> None:
    scene.attack(*_trigger(scene, _BODY[name]))
    refused = scene.tried(scene.world.engineer, scene.bundle, scene.blinded())
    assert isinstance(refused, EntryNotKept), "seen by reading back alone"
    assert scene.world.last() == ("bundle.read-ended", "failed", NOT_KEPT)
    refused = scene.tried(scene.world.engineer, scene.bundle)
    assert isinstance(refused, Unavailable)
    assert refused.reason == FOREIGN
    assert any("trigger quiet" in one for one in _foreign(scene.world))


def test_a_rule_that_drops_the_entry_lets_no_byte_out(scene: Scene) -> None:
    """On SQLite, which has no rules, a unique index that ignores what it refuses."""
    if scene.is_postgres:
        scene.attack(
            "CREATE RULE quiet AS ON INSERT TO audit_entries WHERE NEW.action = 'bundle.opened' DO INSTEAD NOTHING"
        )
    else:
        scene.attack(
            "CREATE TRIGGER quiet BEFORE INSERT ON audit_entries WHEN NEW.action = 'bundle.opened' "
            "BEGIN SELECT RAISE(IGNORE); END"
        )
    assert isinstance(scene.tried(scene.world.engineer, scene.bundle, scene.blinded()), EntryNotKept)
    assert isinstance(scene.tried(scene.world.engineer, scene.bundle), Unavailable)
    assert any("quiet" in one for one in _foreign(scene.world))


def test_a_view_in_the_place_of_a_table_lets_no_byte_out(scene: Scene) -> None:
    scene.attack(
        "ALTER TABLE assignments RENAME TO real",
        "CREATE VIEW assignments AS SELECT * FROM real UNION ALL "
        "SELECT -1, c.id, a.id, 1, NULL FROM cases c, actors a",
        *(["GRANT SELECT ON assignments TO casevault_api"] if scene.is_postgres else []),
    )
    for actor in (scene.mallory, scene.world.engineer):
        assert not isinstance(scene.tried(actor, scene.bundle, scene.blinded()), bytes)
        assert not isinstance(scene.tried(actor, scene.bundle), bytes)
    assert any("view assignments" in one for one in _foreign(scene.world))


FOREIGN_THINGS = {
    "a column": "ALTER TABLE grants ADD COLUMN more VARCHAR",
    "a table": "CREATE TABLE more (id INTEGER)",
    "a unique index": "CREATE UNIQUE INDEX more ON audit_entries (entry_id, actor)",
    "an index that computes": "CREATE INDEX more ON audit_entries (lower(actor))",
    "an index of some rows": "CREATE INDEX more ON audit_entries (actor) WHERE at_us > 5",
    "our index gone": "DROP INDEX ux_actors_subject",
}
FOREIGN_ON_POSTGRES = {
    "a constraint": "ALTER TABLE audit_entries ADD CONSTRAINT more CHECK (action <> 'bundle.opened') NOT VALID",
    "a constraint gone": "ALTER TABLE grants DROP CONSTRAINT grants_actor_id_fkey",
    "a default": "ALTER TABLE bundles ALTER COLUMN tag SET DEFAULT 'x'",
    "row security": "ALTER TABLE audit_entries ENABLE ROW LEVEL SECURITY",
    "a policy": "CREATE POLICY more ON audit_entries USING (true)",
    "foreign keys switched off": "ALTER TABLE grants DISABLE TRIGGER ALL",
    "an heir": "CREATE TABLE more () INHERITS (audit_entries)",
    "another type": "ALTER TABLE actors ALTER COLUMN subject TYPE TEXT",
    "what may be missing": "ALTER TABLE actors ALTER COLUMN subject DROP NOT NULL",
    "our index of other rows": "DROP INDEX ux_stamps_subject; "
    "CREATE UNIQUE INDEX ux_stamps_subject ON stamps (subject) WHERE proactive",
    "a table of the same name before ours": "CREATE SCHEMA more; "
    "GRANT USAGE ON SCHEMA more TO casevault_api; CREATE TABLE more.grants (id INTEGER)",
}


@pytest.mark.parametrize("name", [*FOREIGN_THINGS, *FOREIGN_ON_POSTGRES])
def test_whatever_is_foreign_in_the_schema_is_named_and_stops_opening(scene: Scene, name: str) -> None:
    if name in FOREIGN_ON_POSTGRES and not scene.is_postgres:
        assert _foreign(scene.world) == ()  # SQLite has no such thing
        return
    scene.attack(*(FOREIGN_THINGS | FOREIGN_ON_POSTGRES)[name].split("; "))
    if name.startswith("a table of the same name"):
        database = scene.world.custody.records.engine.url.database
        scene.attack(f'ALTER DATABASE "{database}" SET search_path = more, public')
        scene.world.custody.records.engine.dispose()
    assert _foreign(scene.world)
    refused = scene.tried(scene.world.engineer, scene.bundle)
    assert isinstance(refused, Unavailable)
    assert refused.reason == FOREIGN


COVERS = {
    "a version that nobody made": "UPDATE alembic_version SET version_num = '9999'",
    "no version": "DELETE FROM alembic_version",
    "two versions": "INSERT INTO alembic_version VALUES ('9999')",
    "no table of versions": "DROP TABLE alembic_version",
}


@pytest.mark.parametrize("cover", COVERS)
def test_what_acts_on_entries_is_found_whatever_version_the_database_says(scene: Scene, cover: str) -> None:
    scene.attack(*_trigger(scene, _BODY["deletes the entry"]), COVERS[cover])
    services: Any = _Services(scene.world)
    assert any("trigger quiet" in one for one in look_for_alterations(services))
    assert scene.world.last() == ("database.altered", "failed", "altered")
    refused = scene.tried(scene.world.engineer, scene.bundle)
    assert isinstance(refused, Unavailable) and refused.reason == FOREIGN


@pytest.mark.parametrize("cover", COVERS)
def test_a_version_that_is_not_one_of_ours_opens_nothing(scene: Scene, cover: str) -> None:
    scene.attack(COVERS[cover])
    refused = scene.tried(scene.world.engineer, scene.bundle)
    newer = cover == "a version that nobody made"
    assert isinstance(refused, Unavailable) and refused.reason == (NEWER if newer else FOREIGN)
    assert bool(_foreign(scene.world)) is not newer


def test_what_the_service_made_itself_is_not_foreign(scene: Scene) -> None:
    with scene.world.custody.records.read() as reads:
        assert inspect_schema(reads) == Schema()


def test_an_administrators_own_index_is_told_and_stops_nothing(scene: Scene) -> None:
    scene.attack("CREATE INDEX mine ON audit_entries (actor, row)")
    with scene.world.custody.records.read() as reads:
        found = inspect_schema(reads)
    assert found.foreign == ()
    assert found.indexes == ("there is a foreign index mine on audit_entries",)
    assert scene.tried(scene.world.engineer, scene.bundle) == CONTENT


def test_the_schema_is_looked_at_again_in_time_and_no_more_often(scene: Scene) -> None:
    now = [0.0]
    looked = []

    class Records:
        def read(self) -> Any:
            looked.append(now[0])
            return scene.world.custody.records.read()

    watch, records = SchemaWatch(lambda: now[0]), Records()
    watch.require(records)  # type: ignore[arg-type]
    scene.attack("CREATE TABLE more (id INTEGER)")
    watch.require(records)  # type: ignore[arg-type]
    now[0] = 10.0
    with pytest.raises(Unavailable):
        watch.require(records)  # type: ignore[arg-type]
    scene.attack("DROP TABLE more")
    now[0] = 20.0
    watch.require(records)  # type: ignore[arg-type]
    assert looked == [0.0, 10.0, 20.0]


def test_an_opening_that_vanishes_before_it_is_signed_is_written_again_and_its_loss_too(scene: Scene) -> None:
    world = scene.world
    assert scene.tried(world.engineer, scene.bundle) == CONTENT
    (opened,) = [row for row in world.entries() if row.action == "bundle.opened"]
    scene.attack("DELETE FROM audit_entries WHERE action = 'bundle.opened'")
    losses = _look(world)
    assert (losses.again, losses.changed) == (1, 0)
    assert world.custody.openings.lost == 1
    (again,) = [row for row in world.entries() if row.action == "bundle.opened"]
    assert (again.entry_id, again.leaf, again.particulars) == (
        opened.entry_id,
        opened.leaf,
        opened.particulars,
    )
    loss = world.leaves()[-1]
    assert (loss["action"], loss["reason"], loss["subject"]) == ("entry.lost", "vanished", opened.entry_id)
    assert loss["details"]["actor"] == world.engineer.id
    world.sequence()
    assert not _look(world).any
    assert len(world.custody.openings) == 0, "it is in the signed tree"


def test_an_opening_that_is_changed_before_it_is_signed_is_told_by_an_entry(scene: Scene) -> None:
    world = scene.world
    assert scene.tried(world.engineer, scene.bundle) == CONTENT
    with scene.owner.begin() as connection:
        changed = update(audit_entries).where(audit_entries.c.action == Action.BUNDLE_OPENED)
        connection.execute(changed.values(leaf=b"{}"))
    losses = _look(world)
    assert (losses.again, losses.changed) == (0, 1)
    assert world.entries()[-1].action == Action.ENTRY_LOST
    assert not _look(world).any, "once"


def test_an_opening_is_followed_until_the_signed_tree_holds_it_whatever_the_row_says(scene: Scene) -> None:
    world = scene.world
    assert scene.tried(world.engineer, scene.bundle) == CONTENT
    scene.attack("UPDATE audit_entries SET leaf_index = 0 WHERE action = 'bundle.opened'")
    assert not _look(world).any
    assert len(world.custody.openings) == 1
    scene.attack("UPDATE audit_entries SET leaf_index = NULL WHERE action = 'bundle.opened'")
    world.sequence()
    assert not _look(world).any
    assert len(world.custody.openings) == 0


def test_a_read_under_way_is_cut_when_its_entry_vanishes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retention.custody.reading.bundle_reads.RECHECK_SECONDS", 0)
    opened = scene.world.open(scene.bundle)
    scene.attack("DELETE FROM audit_entries WHERE action = 'bundle.opened'")
    with pytest.raises(EntryNotKept):
        list(opened.pieces(opened.spans[0]))
    opened.close()


def test_a_deleted_row_leaves_a_gap_in_the_numbers_on_sqlite(scene: Scene) -> None:
    world, gaps = scene.world, RowGaps()
    assert _missing(world, gaps) == 0
    world.assign(world.colleague)
    with pytest.raises(ZeroDivisionError):
        world.custody.records.write(lambda tx: 1 / 0)
    assert _missing(world, gaps) == 0, "an undone transaction leaves none"
    world.unassign(world.colleague)
    scene.attack("DELETE FROM audit_entries WHERE action = 'case.unassigned'")
    expected = 0 if scene.is_postgres else 1
    assert _missing(world, gaps) == expected, "the last row; on PostgreSQL a gap says nothing"
    assert _missing(world, gaps) == 0
    assert _missing(world, RowGaps()) == expected


def test_the_clock_enters_what_it_finds_once(scene: Scene) -> None:
    world = scene.world
    services: Any = _Services(world)
    assert look_for_alterations(services) == ()
    scene.attack("CREATE TABLE more (id INTEGER)")
    world.custody = replace(world.custody, schema=SchemaWatch())
    services = _Services(world)
    assert look_for_alterations(services) == ("there is a foreign table more",)
    assert world.last() == ("database.altered", "failed", "altered")
    before = len(world.entries())
    look_for_alterations(services)
    assert len(world.entries()) == before


class _Services:
    def __init__(self, world: World) -> None:
        self.custody = world.custody
        self.alterations = Alterations()


def _foreign(world: World) -> tuple[str, ...]:
    with world.custody.records.read() as reads:
        return inspect_schema(reads).foreign


def _look(world: World) -> Any:
    custody = world.custody
    return custody.openings.look(custody.records, custody.tiles, world.log_signer.verifier)


def _missing(world: World, gaps: RowGaps) -> int:
    with world.custody.records.read() as reads:
        return gaps.look(reads)
