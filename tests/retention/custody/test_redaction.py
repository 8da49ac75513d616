"""Redaction: names go, the log stays; who did it and why stands in it, and a restore brings nothing back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text

from audit.entry import Action
from audit.log.query import Filter, iterate
from retention.custody import redaction
from retention.custody.access import manage_grants
from retention.custody.access.manage_cases import case_details, get_case
from retention.custody.redaction import redact_again, redact_entry, redact_person
from retention.domain.actor import Role
from retention.domain.faults import Conflict, NotFound, Refused
from retention.records.tables import actors, grants
from tests.retention.custody.world import NUMBER, World

WHY = "They left and asked to be forgotten"


def lived(world: World) -> tuple[str, str]:
    """Erin was assigned, granted herself access, read, and is off the case again: a grant, and who she is."""
    world.open_case()
    bundle = world.upload(b"content")
    world.assign(world.engineer)
    grant = world.grant()
    world.read(bundle)
    world.unassign(world.engineer)
    return str(grant.id), world.engineer.id


def entry_of(world: World, action: str, actor: str | None = None) -> Any:
    found = [row for row in world.entries() if row.action == action and actor in (None, row.actor)]
    return found[-1]


def everything(world: World) -> str:
    """All that the database holds, as text."""
    with world.custody.records.read() as reads:
        tables = (actors, grants)
        rows = [str(tuple(row)) for table in tables for row in reads.execute(select(table))]
    return "\n".join([*rows, *(f"{row.particulars} {row.leaf!r}" for row in world.entries())])


def test_what_stands_beside_an_entry_goes_and_the_log_still_verifies(strict: World) -> None:
    grant, _ = lived(strict)
    strict.sequence()
    given = entry_of(strict, "grant.given")
    before = given.leaf
    done = redact_entry(strict.custody, strict.administrator, given.entry_id, WHY)
    assert (done.redacted, done.at, done.entries) == (given.entry_id, strict.clock.now(), 1)
    after = entry_of(strict, "grant.given")
    assert (after.leaf, after.particulars, after.salt) == (before, None, None)
    shown = manage_grants.get_grant(strict.custody, strict.engineer, grant)
    assert shown.reason == "", "the record repeats what stood there"
    strict.sequence()
    assert strict.log_problems() == []


def test_the_redaction_is_an_entry_of_the_same_customers_log_and_is_not_repeated(strict: World) -> None:
    lived(strict)
    given = entry_of(strict, "grant.given")
    redact_entry(strict.custody, strict.administrator, given.entry_id, WHY)
    said = strict.entries()[-1]
    assert (said.action, said.outcome, said.actor) == ("entry.redacted", "success", strict.administrator.id)
    assert (said.subject, said.tenant, said.case_id) == (given.entry_id, given.tenant, given.case_id)
    assert WHY in said.particulars and WHY.encode() not in said.leaf
    again = redact_entry(strict.custody, strict.administrator, given.entry_id, WHY)
    assert (again.entries, again.at) == (0, strict.clock.now())
    assert strict.entries()[-1].entry_id == said.entry_id


def test_a_person_is_forgotten_in_the_records_and_beside_every_entry(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redaction, "AT_ONCE", 2)
    grant, erin = lived(strict)
    strict.sequence()
    assert "erin@support.example" in everything(strict)
    theirs = {row.entry_id for row in strict.entries() if erin in (row.actor, row.subject)}
    assert len(theirs) > 4
    others = {row.entry_id for row in strict.entries() if row.particulars} - theirs
    done = redact_person(strict.custody, strict.administrator, erin, WHY)
    assert done.entries == len(theirs)
    left = everything(strict)
    assert "erin" not in left and "failed drive of node 4" not in left
    assert {row.entry_id for row in strict.entries() if row.redacted_at is not None} == theirs
    assert others <= {row.entry_id for row in strict.entries() if row.particulars}
    _events, assigned = case_details(
        strict.custody, strict.operator, get_case(strict.custody, strict.operator, NUMBER)
    )
    assert [row.subject for row in assigned] == [erin], "the opaque id stands for them"
    assert manage_grants.get_grant(strict.custody, strict.operator, grant).name is None
    strict.sequence()
    assert strict.log_problems() == []
    said = [row for row in strict.entries() if row.action == "actor.redacted"]
    assert [(row.subject, row.outcome) for row in said] == [(erin, "success")]


def test_who_signs_in_again_is_somebody_new(strict: World) -> None:
    _, erin = lived(strict)
    redact_person(strict.custody, strict.administrator, erin, WHY)
    strict.directory.forget(erin)
    again = strict.actor("erin@support.example", Role.SUPPORT_ENGINEER)
    assert again.id != erin
    strict.assign(again)
    redact_again(strict.custody)
    assert entry_of(strict, "case.assigned").particulars is not None, (
        "only what was before was to be forgotten"
    )


@pytest.mark.parametrize("what", ["assigned", "granted"])
def test_somebody_who_still_acts_is_not_forgotten(strict: World, what: str) -> None:
    strict.open_case()
    strict.assign(strict.engineer)
    if what == "granted":  # a grant without the assignment: as a foreign hand would leave it
        strict.grant()
        with strict.custody.records.engine.begin() as connection:
            connection.execute(text("UPDATE assignments SET unassigned_at = 0"))
    before = everything(strict)
    with pytest.raises(Conflict) as refused:
        redact_person(strict.custody, strict.administrator, strict.engineer.id, WHY)
    assert refused.value.reason == "still-acting"
    assert everything(strict) == before


@pytest.mark.parametrize("way", ["asked again", "the next start"])
def test_a_redaction_that_stopped_half_way_goes_on(
    strict: World, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    zoe = strict.actor("zoe@mail.example", Role.SUPPORT_ENGINEER)
    with pytest.raises(NotFound):
        get_case(strict.custody, zoe, NUMBER)
    with monkeypatch.context() as patch:
        patch.setattr(redaction, "_redact_entries_of", lambda *_: 0)
        redact_person(strict.custody, strict.administrator, zoe.id, WHY)
    assert "zoe@mail" in everything(strict)
    if way == "asked again":
        assert redact_person(strict.custody, strict.administrator, zoe.id, WHY).entries == 1
    else:
        assert redact_again(strict.custody) == 1
    assert "zoe@mail" not in everything(strict)
    assert [row.action for row in strict.entries()].count("actor.redacted") == 1


REFUSED: dict[str, tuple[str, Callable[[World, str, str], object]]] = {
    "by an auditor": ("role-missing", lambda w, e, a: redact_entry(w.custody, w.auditor, e, WHY)),
    "by the operator": ("role-missing", lambda w, e, a: redact_person(w.custody, w.operator, a, WHY)),
    "without a reason": ("reason-missing", lambda w, e, a: redact_entry(w.custody, w.administrator, e, ".")),
    "of a person, without one": (
        "reason-missing",
        lambda w, e, a: redact_person(w.custody, w.administrator, a, "aaaaaaaaa"),
    ),
    "of oneself": (
        "own-entry",
        lambda w, e, a: redact_person(w.custody, w.administrator, w.administrator.id, WHY),
    ),
    "of one's own act": (
        "own-entry",
        lambda w, e, a: redact_entry(
            w.custody, w.administrator, entry_of(w, "tenant.registered").entry_id, WHY
        ),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_an_entry_and_nothing_goes(strict: World, name: str) -> None:
    _, erin = lived(strict)
    reason, attempt = REFUSED[name]
    before = [(row.entry_id, row.particulars) for row in strict.entries()]
    with pytest.raises(Refused) as refused:
        attempt(strict, entry_of(strict, "grant.given").entry_id, erin)
    assert refused.value.reason == reason
    assert strict.last()[1:] == ("refused", reason)
    assert [(row.entry_id, row.particulars) for row in strict.entries()][: len(before)] == before


def test_what_is_not_there_or_holds_nothing_is_said(strict: World) -> None:
    c, root = strict.custody, strict.administrator
    for action, attempt in (
        (Action.ENTRY_REDACTED, lambda: redact_entry(c, root, "ent_none", WHY)),
        (Action.ACTOR_REDACTED, lambda: redact_person(c, root, "act_none", WHY)),
    ):
        with pytest.raises(NotFound):
            attempt()
        assert strict.last()[0] == action
    strict.open_case()
    strict.upload(b"content")
    with pytest.raises(Conflict) as refused:
        redact_entry(c, root, entry_of(strict, "bundle.verified").entry_id, WHY)
    assert refused.value.reason == "nothing-to-redact"


def test_exports_show_that_an_entry_was_redacted(strict: World) -> None:
    from audit.log.export import EXPORTS

    lived(strict)
    given = entry_of(strict, "grant.given")
    redact_entry(strict.custody, strict.administrator, given.entry_id, WHY)
    where = Filter(action=Action.GRANT_GIVEN)
    for form in EXPORTS.values():
        told = "".join(form(iterate(strict.custody.records.read, where)))
        assert "erin" not in told and "failed drive" not in told
        assert "redacted_at" in told and "2026-03-01T09:30:00.000000Z" in told


def test_a_database_from_before_is_redacted_again(local: World) -> None:
    """Its log is adopted first, as after every restore; here the rows of the decision are still there."""
    _, erin = lived(local)
    given = entry_of(local, "case.opened")
    local.sequence()
    kept = {row.entry_id: (row.particulars, row.salt) for row in local.entries()}
    redact_person(local.custody, local.administrator, erin, WHY)
    redact_entry(local.custody, local.administrator, given.entry_id, WHY)
    with local.custody.records.engine.begin() as connection:
        for entry_id, (particulars, salt) in kept.items():
            connection.execute(
                text(
                    "UPDATE audit_entries SET particulars = :p, salt = :s, redacted_at = NULL WHERE entry_id = :e"
                ),
                {"p": particulars, "s": salt, "e": entry_id},
            )
        connection.execute(
            text("UPDATE actors SET issuer = 'https://issuer.example', subject = 'erin' WHERE id = :a"),
            {"a": erin},
        )
    assert "erin" in everything(local)
    assert redact_again(local.custody) > 3
    assert "erin" not in everything(local) and entry_of(local, "case.opened").particulars is None
    assert redact_again(local.custody) == 0


def test_no_byte_of_a_name_is_left_in_the_files_of_the_database(local: World) -> None:
    _, erin = lived(local)
    redact_person(local.custody, local.administrator, erin, WHY)
    local.custody.records.close()
    files = list(local.folder.glob("records.db*"))
    assert files and not any(b"erin@support" in file.read_bytes() for file in files)
