"""Receipts of intake through the door, where the bundle is not what it was."""

from __future__ import annotations

from sqlalchemy import select

from retention.custody.uploads import completion
from retention.records.tables import bundles
from tests.service import OPERATOR, Service


def damage(service: Service, bundle: str) -> None:
    """What the scrubbing writes down when it finds another bundle than was sealed."""
    with service.custody.records.read() as reads:
        row = reads.execute(select(bundles).where(bundles.c.id == bundle)).one()
    assert completion.record_damage(service.custody, row, "seal-broken") == "damaged"


def test_the_receipt_of_a_bundle_that_was_damaged_since_says_so(service: Service) -> None:
    bundle = service.complete()
    path = f"/bundles/{bundle}/receipt"
    assert service.done("GET", path, OPERATOR)["state"] == "complete"
    damage(service, bundle)
    document = service.done("GET", path, OPERATOR)
    assert document["state"] == "damaged", "it tells what was received, not that it can still be read"
    assert document["receipt"]["bundle"] == bundle


def test_a_bundle_that_was_damaged_before_it_was_proven_has_no_receipt_and_is_said_to_be_damaged(
    service: Service,
) -> None:
    bundle = service.send()
    waiting = service.call("GET", f"/bundles/{bundle}/receipt", OPERATOR)
    assert (waiting.status_code, "yet" in waiting.json["detail"]) == (404, True)  # type: ignore[index]
    damage(service, bundle)
    answer = service.call("GET", f"/bundles/{bundle}/receipt", OPERATOR)
    assert (answer.status_code, answer.json["reason"]) == (409, "bundle-damaged")  # type: ignore[index]
    assert bundle in answer.json["detail"] and "send it again" in answer.json["detail"]  # type: ignore[index]
