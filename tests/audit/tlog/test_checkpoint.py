from __future__ import annotations

import base64
import hashlib
import pickle

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.tlog.checkpoint import (
    Checkpoint,
    NoteError,
    Signer,
    Verifier,
    open_checkpoint,
    open_note,
    sign_checkpoint,
    sign_note,
)

SEED = bytes(range(32))
SIGNER = Signer("casevault.test/log", SEED)
OTHER = Signer("witness.test/w1", bytes(32))

# The example of golang.org/x/mod/sumdb/note: made by another implementation.
GO_VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SIGNER = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
GO_NOTE = (
    GO_TEXT + "\n\u2014 PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

lines = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=0x20), max_size=12)
texts = st.lists(lines, min_size=1, max_size=5).map(lambda found: "".join(f"{line}\n" for line in found))


def test_a_note_made_by_go_opens_and_is_made_alike() -> None:
    verifier = Verifier.parse(GO_VERIFIER)
    assert verifier.key == GO_VERIFIER
    assert open_note(GO_NOTE, verifier) == GO_TEXT
    assert sign_note(GO_TEXT, Signer("PeterNeumann", base64.b64decode(GO_SIGNER)[1:])) == GO_NOTE


def test_a_checkpoint_signature_is_plain_ed25519_over_the_text() -> None:
    note = sign_checkpoint(7, hashlib.sha256(b"root").digest(), SIGNER)
    text, _, line = note.rpartition("\n\n")
    dash, name, data = line.rstrip("\n").split(" ")
    raw = base64.b64decode(data)
    public = Ed25519PrivateKey.from_private_bytes(SEED).public_key()
    public.verify(raw[4:], (text + "\n").encode())
    with pytest.raises(InvalidSignature):
        public.verify(raw[4:], text.encode())
    assert (dash, name) == ("\u2014", "casevault.test/log")
    key = public.public_bytes_raw()
    assert raw[:4] == hashlib.sha256(b"casevault.test/log\n\x01" + key).digest()[:4]
    assert text.split("\n")[:2] == ["casevault.test/log", "7"]
    name, id_, encoded = SIGNER.verifier.key.split("+", 2)
    assert (name, id_, base64.b64decode(encoded)) == ("casevault.test/log", raw[:4].hex(), b"\x01" + key)
    Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded)[1:])


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_opens_to_what_was_signed(size: int, root: bytes) -> None:
    assert open_checkpoint(sign_checkpoint(size, root, SIGNER), SIGNER.verifier) == Checkpoint(
        "casevault.test/log", size, root
    )


@given(texts)
def test_any_text_opens_to_what_was_signed(text: str) -> None:
    assert open_note(sign_note(text, SIGNER), SIGNER.verifier) == text


@settings(max_examples=200)
@given(st.data())
def test_no_altered_note_opens(data: st.DataObject) -> None:
    note = sign_checkpoint(1234, hashlib.sha256(b"root").digest(), SIGNER)
    at = data.draw(st.integers(0, len(note) - 1))
    new = data.draw(st.characters(exclude_categories=["Cs"]).filter(lambda char: char != note[at]))
    with pytest.raises(NoteError):
        open_note(note[:at] + new + note[at + 1 :], SIGNER.verifier)
    with pytest.raises(NoteError):
        open_note(note[:at], SIGNER.verifier)


def test_signatures_of_others_are_tolerated_on_either_side() -> None:
    note = sign_note("a text\n", SIGNER)
    line = sign_note("a text\n", OTHER).rpartition("\n\n")[2]
    future = "\u2014 somebody.test/else " + base64.b64encode(b"\x01\x02\x03\x04\xfa").decode() + "\n"
    head, _, own = note.rpartition("\n\n")
    for mixed in (note + line + future, f"{head}\n\n{future}{line}{own}"):
        assert open_note(mixed, SIGNER.verifier) == "a text\n"
        assert open_note(mixed, OTHER.verifier) == "a text\n"


def test_a_wrong_signature_of_ours_spoils_the_note_beside_a_good_one() -> None:
    wrong = sign_note("another text\n", SIGNER).rpartition("\n\n")[2]
    with pytest.raises(NoteError, match="wrong"):
        open_note(sign_note("a text\n", SIGNER) + wrong, SIGNER.verifier)


def test_a_note_without_our_signature_does_not_open() -> None:
    with pytest.raises(NoteError, match="no signature by"):
        open_note(sign_note("a text\n", OTHER), SIGNER.verifier)
    same_name = Signer(SIGNER.name, bytes(32))
    with pytest.raises(NoteError, match="no signature by"):
        open_note(sign_note("a text\n", same_name), SIGNER.verifier)


@pytest.mark.parametrize(
    ("note", "what"),
    [
        ("", "a blank line"),
        ("a text\n", "a blank line"),
        ("a text\n\n", "each ending in a newline"),
        ("a\ttext\n\n\u2014 n AAAAAAA=\n", "no control character"),
        ("a text\n\n- n AAAAAAA=\n", "signature line"),
        ("a text\n\n\u2014 nAAAAAAA=\n", "signature line"),
        ("a text\n\n\u2014 n+m AAAAAAA=\n", "plus"),
        ("a text\n\n\u2014 n AAAA\n", "key id"),
        ("a text\n\n\u2014 n AAAAAAB=\n", "not base64"),
        ("a text\n\n\u2014 n !\n", "not base64"),
        ("a text\n\n" + "\u2014 n AAAAAAA=\n" * 101, "at most 100 are accepted"),
    ],
)
def test_a_malformed_note_says_what_is_wrong(note: str, what: str) -> None:
    with pytest.raises(NoteError, match=what):
        open_note(note, SIGNER.verifier)


ROOT64 = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "origin\n1\n",
        f"origin\n01\n{ROOT64}\n",
        f"origin\n-1\n{ROOT64}\n",
        f"origin\n1 \n{ROOT64}\n",
        f"origin\n{2**63}\n{ROOT64}\n",
        f"origin\n{'9' * 5000}\n{ROOT64}\n",
        f"origin\n\u0661\n{ROOT64}\n",
        "origin\n1\nAAAA\n",
        f"\n1\n{ROOT64}\n",
        f"origin\n1\n{ROOT64}\n\n",
        f"origin\n1\n{ROOT64}",
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


def test_extension_lines_are_kept() -> None:
    text = f"origin\n1\n{ROOT64}\nanother line\n"
    assert Checkpoint.parse(text).extensions == ("another line",)
    assert Checkpoint.parse(text).text() == text


def test_a_receipt_by_the_same_key_cannot_pass_for_a_checkpoint() -> None:
    receipt = sign_note(f"casevault erasure receipt\n1\n{ROOT64}\n", SIGNER)
    assert open_note(receipt, SIGNER.verifier)
    with pytest.raises(NoteError, match="another log"):
        open_checkpoint(receipt, SIGNER.verifier)


@pytest.mark.parametrize("text", ["", "no newline", "a\x00\n", "a\r\n", "\ud800\n"])
def test_a_text_that_is_no_note_is_not_signed(text: str) -> None:
    with pytest.raises(NoteError):
        sign_note(text, SIGNER)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb"])
def test_a_key_name_with_spaces_or_plus_is_refused(name: str) -> None:
    with pytest.raises(NoteError):
        Signer(name, SEED)


@pytest.mark.parametrize(
    "key",
    [
        "casevault.test/log",
        GO_VERIFIER.replace("c74f20a3", "c74f20a4"),
        GO_VERIFIER.replace("PeterNeumann", "Peter"),
        GO_VERIFIER.replace("+ARpc", "+BRpc"),
        GO_VERIFIER[:-4],
    ],
)
def test_a_malformed_verifier_key_is_refused(key: str) -> None:
    with pytest.raises(NoteError):
        Verifier.parse(key)


def test_a_signer_shows_nothing_of_its_key() -> None:
    for form in (SEED.hex(), repr(SEED), base64.b64encode(SEED).decode()):
        assert form not in repr(SIGNER) and form not in str(SIGNER)
    with pytest.raises(TypeError):
        pickle.dumps(SIGNER)
