from __future__ import annotations

from typing import Any

import pytest

from audit.log.append import latest_note, read_entry
from audit.tlog.checkpoint import NoteError, Signer, open_checkpoint
from audit.tlog.merkle import ProofError, verify_consistency
from audit.tlog.proofs import InclusionProof, prove_consistency, prove_inclusion, verify_receipt_inclusion


@pytest.fixture
def grown(log: Any) -> Any:
    log.grow([1, 3, 256, 300, 700])
    return log


def note_of(log: Any) -> str:
    with log.engine.connect() as connection:
        note = latest_note(connection)
    assert note is not None
    return note


def leaf_of(log: Any, number: int) -> bytes:
    with log.engine.connect() as connection:
        return read_entry(connection, f"entry-{number}").leaf


def test_an_entry_is_proven_offline(grown: Any) -> None:
    for number in (0, 2, 255, 256, 511, 512, 699):
        text = prove_inclusion(grown.tiles, number, note_of(grown)).text()
        proof = InclusionProof.parse(text)
        checkpoint = verify_receipt_inclusion(leaf_of(grown, number), proof, grown.signer.verifier)
        assert (proof.index, checkpoint.size) == (number, 700)


def test_a_proof_has_the_form_of_tlog_proof(grown: Any) -> None:
    note = note_of(grown)
    proof = prove_inclusion(grown.tiles, 5, note)
    lines = proof.text().split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 5"]
    assert len(lines[2]) == 44 and lines[lines.index("") + 1 :] == note.split("\n")
    lines.insert(1, "extra b3RoZXI=")
    assert InclusionProof.parse("\n".join(lines)) == proof


def test_a_proof_of_another_leaf_index_or_log_is_refused(grown: Any) -> None:
    proof = prove_inclusion(grown.tiles, 5, note_of(grown))
    verifier = grown.signer.verifier
    with pytest.raises(ProofError):
        verify_receipt_inclusion(leaf_of(grown, 6), proof, verifier)
    with pytest.raises(ProofError):
        verify_receipt_inclusion(leaf_of(grown, 5), InclusionProof(4, proof.hashes, proof.note), verifier)
    with pytest.raises(NoteError):
        verify_receipt_inclusion(leaf_of(grown, 5), proof, Signer("another.test", bytes(32)).verifier)
    changed = proof.note.replace("\n700\n", "\n701\n")
    with pytest.raises(NoteError):
        verify_receipt_inclusion(leaf_of(grown, 5), InclusionProof(5, proof.hashes, changed), verifier)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("@v1", "@v2"),
        lambda text: text.replace("index 5", "index 05"),
        lambda text: text.replace("index 5\n", ""),
        lambda text: text.replace("=\n", "\n", 1),
        lambda text: text.replace("index 5\n", "index 5\nAAAA\n"),
        lambda text: text.partition("\n\n")[0],
        lambda text: "",
    ],
)
def test_a_malformed_proof_is_refused(grown: Any, change: Any) -> None:
    text = prove_inclusion(grown.tiles, 5, note_of(grown)).text()
    with pytest.raises(ProofError):
        InclusionProof.parse(change(text))


def test_an_entry_the_checkpoint_does_not_cover_yet_has_no_proof(grown: Any) -> None:
    with pytest.raises(ProofError):
        prove_inclusion(grown.tiles, 700, note_of(grown))


def test_every_checkpoint_is_proven_to_extend_the_ones_before(log: Any) -> None:
    heads = []
    for size in (1, 3, 256, 300, 700):
        log.grow([size])
        heads.append(open_checkpoint(note_of(log), log.signer.verifier))
    for old in heads:
        for new in (head for head in heads if head.size >= old.size):
            proof = prove_consistency(log.tiles, old.size, new.size)
            verify_consistency(old.size, new.size, proof, old.root, new.root)
