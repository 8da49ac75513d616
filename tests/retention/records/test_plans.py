"""No hot query reads a big table from end to end, nor more pages than a few milliseconds' worth.

The server tells the plan of each statement while the real code runs it: `tests/bench/plans.py`, here on a smaller fill.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.plans import VERBS, Service, complaint, filled, new_server, observe

BUNDLES, ENTRIES = 200_000, 600_000


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    server = new_server(in_memory=True)
    try:
        with filled(server, BUNDLES, ENTRIES) as made:
            yield made
    finally:
        server.remove()


def test_the_tables_are_big_enough_to_tell(service: Service) -> None:
    assert {
        "bundles",
        "audit_entries",
        "grants",
        "erasures",
        "erasure_bundles",
        "assignments",
        "cases",
        "parts",
    } <= (service.plans.big)


@pytest.mark.parametrize("verb", VERBS)
def test_a_hot_query_finds_what_it_looks_for_by_an_index(service: Service, verb: str) -> None:
    assert complaint(verb, observe(service, verb)) is None


def test_a_scan_of_a_big_table_would_be_noticed(service: Service) -> None:
    with service.plans.watching() as seen, service.custody.records.read() as reads:
        reads.exec_driver_sql("SELECT count(*) FROM bundles WHERE file_name = 'x'")
    assert "from end to end" in (complaint("", seen) or "")


def test_a_walk_along_a_whole_index_would_be_noticed(service: Service) -> None:
    with service.plans.watching() as seen, service.custody.records.read() as reads:
        reads.exec_driver_sql("SET LOCAL enable_seqscan = off")
        reads.exec_driver_sql(
            "SELECT id FROM bundles WHERE file_name = 'x' ORDER BY time_collected DESC LIMIT 1"
        )
    assert "pages" in (complaint("", seen) or "")
