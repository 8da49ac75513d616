"""Version 0010 on records in which somebody is written in two ways: no name is lost or stands in the way of another."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, select

from retention.records.migrate import downgrade, upgrade
from retention.records.tables import actors, tenants
from tests.retention.custody.world import World, owned

COMPOSED = "zo\u00eb@b\u00fccher.example"
APART = unicodedata.normalize("NFD", COMPOSED)
AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize("both", [False, True])
def test_names_get_one_spelling_and_a_second_one_of_the_same_is_left_alone(strict: World, both: bool) -> None:
    with owned(strict.custody.records) as engine:
        downgrade(engine, "0009")
        with engine.begin() as connection:
            person = {"issuer": "https://i", "name": None, "first_seen_at": AT}
            connection.execute(insert(actors).values(id="act_old", subject=APART, **person))
            if both:
                connection.execute(insert(actors).values(id="act_new", subject=COMPOSED, **person))
            customer = {"id": "ten_old", "name": "x", "directory": APART, "registered_at": AT}
            connection.execute(insert(tenants).values(customer))
        upgrade(engine)
    with strict.custody.records.read() as connection:
        found = {row.subject: row.id for row in connection.execute(select(actors))}
        directory = connection.execute(select(tenants.c.directory).where(tenants.c.id == "ten_old")).scalar()
    assert found[COMPOSED] == ("act_new" if both else "act_old")
    assert (APART in found) is both
    assert directory == COMPOSED
