"""A receipt is checked by its four steps; whatever is changed in the document, one of them fails."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.entry import Action, Outcome
from audit.log.append import latest_note, read_entry
from audit.tlog.checkpoint import Signer, sign_note
from retention.custody import receipts
from retention.custody.context import entry
from retention.custody.erasure import erasure_steps
from retention.domain.actor import CLOCK
from retention.domain.receipt import ReceiptBroken, body_hash, check
from retention.jobs.sweep import sweep
from tests.retention.custody.world import World, strict_world

Document = dict[str, Any]
STRANGER = Signer("casevault.test/receipts", bytes(32))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with strict_world() as made:
        yield made


@pytest.fixture(scope="module")
def documents(world: World) -> list[Document]:
    """The receipts of two intakes and of an erasure."""
    world.open_case()
    bundles = [world.upload(b"first"), world.upload(b"second")]
    erasure = erasure_steps.request_bundle_erasure(world.custody, world.operator, bundles[0])
    sweep(world.custody)
    world.sequence()
    return [receipts.hand_out(world.custody, subject) for subject in (*bundles, erasure.id)]


def checked(world: World, document: Document) -> Any:
    return check(document, world.receipt_signer.verifier, world.log_signer.verifier)


def test_the_receipts_hold_and_travel_as_json(world: World, documents: list[Document]) -> None:
    for document in documents:
        found = checked(world, json.loads(json.dumps(document)))
        assert found.fields == document["receipt"]
        assert found.leaf["details"]["receipt"] and found.leaf_index < found.tree_size


def test_handing_out_again_gives_the_same(world: World, documents: list[Document]) -> None:
    bundle = documents[0]["receipt"]["bundle"]
    assert receipts.hand_out(world.custody, bundle) == documents[0]


def test_the_case_number_cannot_be_guessed_from_the_leaf(documents: list[Document]) -> None:
    assert len(documents[0]["receipt"]["nonce"]) == 32
    assert documents[0]["receipt"]["nonce"] != documents[1]["receipt"]["nonce"]


def resign(document: Document, signer: Signer) -> Document:
    text = receipts.body(document["receipt"])
    return {**document, "note": sign_note(text + "\n", signer)}


FORGERIES: dict[str, tuple[str, Callable[[World, Document, Document], Document]]] = {
    "another size": (
        "not the text",
        lambda w, d, o: {**d, "receipt": {**d["receipt"], "size": 1}},
    ),
    "another size, signed by a stranger": (
        "not a receipt",
        lambda w, d, o: resign({**d, "receipt": {**d["receipt"], "size": 1}}, STRANGER),
    ),
    "another size, signed by us": (
        "another receipt",
        lambda w, d, o: resign({**d, "receipt": {**d["receipt"], "size": 1}}, w.receipt_signer),
    ),
    "another's leaf": ("another receipt", lambda w, d, o: {**d, "leaf": o["leaf"]}),
    "another's note": ("not the text", lambda w, d, o: {**d, "note": o["note"]}),
    "another's proof": ("not proven", lambda w, d, o: {**d, "proof": o["proof"]}),
    "a leaf of our own": (
        "not proven",
        lambda w, d, o: {
            **d,
            "leaf": base64.b64encode(
                base64.b64decode(d["leaf"]).replace(b'"outcome":"success"', b'"outcome":"refused"')
            ).decode(),
        },
    ),
    "no leaf": ("not a receipt", lambda w, d, o: {k: v for k, v in d.items() if k != "leaf"}),
    "not base64": ("not a receipt", lambda w, d, o: {**d, "leaf": "%"}),
    "a number for the note": ("not a receipt", lambda w, d, o: {**d, "note": 5}),
    "a number for the proof": ("not a receipt", lambda w, d, o: {**d, "proof": 5}),
    "null for the receipt": ("not a receipt", lambda w, d, o: {**d, "receipt": None}),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_receipt_fails_at_its_step(world: World, documents: list[Document], forgery: str) -> None:
    says, forge = FORGERIES[forgery]
    with pytest.raises(ReceiptBroken, match=says):
        checked(world, forge(world, documents[0], documents[1]))


@pytest.mark.parametrize(
    ("action", "outcome"),
    [(Action.BUNDLE_VERIFIED, Outcome.FAILED), (Action.ERASURE_PROVEN, Outcome.SUCCESS)],
)
def test_an_entry_of_another_act_is_no_receipts_though_it_names_its_hash(
    world: World, documents: list[Document], action: Action, outcome: Outcome
) -> None:
    custody, document = world.custody, documents[0]
    details = {"receipt": body_hash(receipts.body(document["receipt"]))}
    told = {"outcome": outcome, "reason": None if outcome is Outcome.SUCCESS else "broken"}
    other = entry(CLOCK, action, world.clock.now(), details=details, **told)  # type: ignore[arg-type]
    custody.records.write(lambda tx: tx.audit(other))
    world.sequence()
    with custody.records.read() as reads:
        proven = receipts.prove(custody, read_entry(reads, other.id), latest_note(reads))
    with pytest.raises(ReceiptBroken, match="not of the act"):
        checked(world, {**document, **proven})


@given(st.data())
def test_no_one_changed_character_goes_unseen(world: World, documents: list[Document], data: Any) -> None:
    document = documents[0]
    name = data.draw(st.sampled_from(["note", "leaf", "proof"]))
    text = document[name]
    at = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.sampled_from("Aa0 \n=/"))
    if text[at] == put:
        return
    with pytest.raises(ReceiptBroken):
        checked(world, {**document, name: text[:at] + put + text[at + 1 :]})


@given(
    st.dictionaries(
        st.sampled_from(["receipt", "note", "leaf", "proof"]), st.none() | st.text() | st.integers()
    )
)
def test_rubbish_is_refused_by_name(world: World, document: Document) -> None:
    with pytest.raises(ReceiptBroken):
        checked(world, document)
