"""With a bundle go the names of its files and what was written about it: from its record, and from beside entries."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select, update

from audit.entry import Action
from audit.log.tables import audit_entries
from retention.custody import bundle_moves
from retention.custody.access import manage_grants
from retention.custody.erasure import erasure_steps
from retention.custody.erasure.proof import record_erased
from retention.custody.reading import bundle_reads
from retention.custody.uploads import declaration
from retention.records.migrate import downgrade, upgrade
from retention.records.tables import metadata
from tests.retention.custody.world import HOUR, NUMBER, OTHER_NUMBER, World, owned

NAME, INSIDE, FILE = "Zwetschge-logs.zip", "Mirabelle.zip!/Quitte", "Mirabelle.zip!/Quitte/Hagebutte.log"
MOVED, GRANTED, ERASED = (
    "it came with Sanddorn inside",
    "look at Holunder of node 4",
    "Berberitze asked for it",
)
GOES, STAYS = (NAME, INSIDE, FILE, MOVED), (GRANTED, ERASED)


def beside(world: World) -> str:
    return "\n".join(row.particulars or "" for row in world.entries())


def everything(world: World) -> str:
    """Every row of every table, as text."""
    with world.custody.records.read() as reads:
        tables = [*metadata.sorted_tables, audit_entries]
        return "\n".join(str(tuple(row)) for table in tables for row in reads.execute(select(table)))


def lived(world: World, content: bytes = b"content") -> str:
    """A bundle that was announced, listed, read file by file, and moved."""
    bundle = world.upload(content, file_name=NAME)
    manage_grants.give_grant(world.custody, world.engineer, NUMBER, GRANTED, HOUR)
    for action, told in ((Action.BUNDLE_LISTED, {"inside": INSIDE}), (Action.BUNDLE_OPENED, {"file": FILE})):
        bundle_reads.open_bundle(
            world.custody, world.engineer, bundle, lambda _: (), action=action, particulars=told
        ).close()
    world.read(bundle)
    bundle_moves.move_bundle(world.custody, world.engineer, bundle, OTHER_NUMBER, MOVED)
    return bundle


@pytest.fixture
def bundle(strict: World) -> str:
    strict.open_case()
    strict.open_case(OTHER_NUMBER)
    for number in (NUMBER, OTHER_NUMBER):
        strict.assign(strict.engineer, number=number)
    return lived(strict)


def test_what_a_bundles_files_are_called_goes_with_it_and_the_tree_still_verifies(
    strict: World, bundle: str
) -> None:
    strict.sequence()
    erasure_steps.request_bundle_erasure(strict.custody, strict.engineer, bundle, ERASED)
    assert all(json.dumps(word)[1:-1] in beside(strict) for word in (*GOES, *STAYS))
    erasure_steps.erase_bundle(strict.custody, bundle)
    strict.sequence()
    assert [word for word in GOES if word in everything(strict)] == []
    assert [word for word in STAYS if word not in beside(strict)] == []
    assert strict.log_problems() == []


def test_exactly_the_entries_that_hold_such_a_name_are_redacted_when_it_is_erased(
    strict: World, bundle: str
) -> None:
    """A read of the whole keeps who and from where; so does everything about another bundle."""
    other = strict.upload(b"other", file_name="Other.zip", number=OTHER_NUMBER)
    erasure_steps.request_bundle_erasure(strict.custody, strict.engineer, bundle, ERASED)
    strict.clock.move(HOUR)
    erasure_steps.erase_bundle(strict.custody, bundle)
    rows = strict.entries()
    redacted = [row for row in rows if row.redacted_at is not None]
    assert [(row.action, row.bundle) for row in redacted] == [
        ("upload.created", bundle),
        ("bundle.listed", bundle),
        ("bundle.opened", bundle),
        ("bundle.moved", bundle),
    ]
    (erased,) = [row for row in rows if row.action == "bundle.erased"]
    assert {row.redacted_at for row in redacted} == {erased.at_us}
    assert all(row.particulars is None and row.salt is None and row.leaf for row in redacted)
    whole = [row for row in rows if row.action == "bundle.opened" and row.redacted_at is None]
    assert [json.loads(row.particulars)["subject"] for row in whole] == [
        strict.engineer.particulars["subject"]
    ]
    assert declaration.get_bundle(strict.custody, strict.engineer, other).file_name == "Other.zip"


def test_the_names_go_in_the_commit_of_the_erasure_or_not_at_all(strict: World, bundle: str) -> None:
    erasure_steps.request_bundle_erasure(strict.custody, strict.engineer, bundle, ERASED)

    def broken(tx: Any) -> None:
        record_erased(tx, bundle, strict.clock.now())
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        strict.custody.records.write(broken)
    assert strict.state(bundle) == "erasing"
    assert all(json.dumps(word)[1:-1] in beside(strict) for word in GOES)
    erasure_steps.erase_bundle(strict.custody, bundle)
    assert not any(word in beside(strict) for word in GOES)


def test_what_was_erased_before_this_was_so_is_forgotten_at_the_upgrade(strict: World, bundle: str) -> None:
    """The migration does what the erasure does, and to nothing else."""
    before = {row.entry_id: (row.particulars, row.salt) for row in strict.entries()}
    erasure_steps.request_bundle_erasure(strict.custody, strict.engineer, bundle, ERASED)
    erasure_steps.erase_bundle(strict.custody, bundle)
    strict.upload(b"kept", file_name="Kept-name.zip", number=OTHER_NUMBER)
    forgotten = {row.entry_id for row in strict.entries() if row.redacted_at is not None}
    with strict.custody.records.engine.begin() as connection:  # as a version that forgot nothing left it
        for entry in forgotten:
            told, salt = before[entry]
            own = update(audit_entries).where(audit_entries.c.entry_id == entry)
            connection.execute(own.values(particulars=told, salt=salt, redacted_at=None))
    assert NAME in beside(strict)
    with owned(strict.custody.records) as engine:
        downgrade(engine, "0009")
        upgrade(engine)
    assert {row.entry_id for row in strict.entries() if row.redacted_at is not None} == forgotten
    assert "Kept-name.zip" in beside(strict) and not any(word in everything(strict) for word in GOES)
