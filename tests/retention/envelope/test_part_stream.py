"""Sealing and opening one part. What an adversary does to stored bytes is in test_tampering.py."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.envelope import format as fmt
from retention.envelope import part_stream
from retention.envelope.data_keys import DataKey
from retention.envelope.format import PART, SealBroken, SealMisuse, bound
from retention.envelope.part_stream import PartOpener, PartSealer
from tests.fakes.ids import bundle, part
from tests.fakes.lengths import lengths
from tests.fakes.sealing import B, P, opener, patterned, seal
from tests.fakes.tink_reference import tink_open, tink_seal

KEY = DataKey(b"k" * 32)


@settings(max_examples=25)
@given(lengths(segments=3), st.data())
def test_any_split_of_the_writes_seals_the_same_part(length: int, data: st.DataObject) -> None:
    plaintext = patterned(length)
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=6)))
    pieces = [plaintext[start:end] for start, end in zip([0, *cuts], [*cuts, length], strict=True)]
    part_ = seal(KEY, *pieces)
    assert len(part_.sealed) == fmt.ciphertext_length(length)
    assert part_.length == length
    reading = opener(KEY, part_)
    reading.verify_digest(part_.digest)
    assert b"".join(reading.read(0, length)) == plaintext


@settings(max_examples=60)
@given(lengths(segments=3), lengths(segments=3))
def test_any_range_opens_to_its_plaintext(one: int, other: int) -> None:
    start, end = sorted((one % (len(PLAIN) + 1), other % (len(PLAIN) + 1)))
    reading = opener(KEY, SEALED)
    assert b"".join(reading.read(start, end - start)) == PLAIN[start:end]


PLAIN = patterned(fmt.segment_start(3) + 5)
SEALED = seal(KEY, PLAIN)


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, len(PLAIN) + 1), (len(PLAIN), 1), (0, -1)])
def test_a_range_outside_the_part_is_refused(offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="is outside the part"):
        list(opener(KEY, SEALED).read(offset, length))


@settings(max_examples=12)
@given(lengths(segments=2))
def test_what_we_seal_tink_opens(length: int) -> None:
    plaintext = patterned(length)
    opened = tink_open(KEY.reveal(), bound(PART, B, P), seal(KEY, plaintext).sealed)
    assert opened == plaintext


@settings(max_examples=12)
@given(lengths(segments=2))
def test_what_tink_seals_we_open(length: int) -> None:
    plaintext = patterned(length)
    sealed = tink_seal(KEY.reveal(), bound(PART, B, P), plaintext)
    reading = PartOpener(KEY, B, P, len(sealed), lambda offset, n: sealed[offset : offset + n])
    assert b"".join(reading.read(0, length)) == plaintext


def test_pieces_that_fill_their_segment_are_sealed_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    class Watched:
        def __init__(self, key: bytes) -> None:
            self._cipher = AESGCM(key)

        def encrypt_into(self, nonce: bytes, plaintext: bytes, ad: None, out: memoryview) -> int:
            seen.append(plaintext)
            return self._cipher.encrypt_into(nonce, plaintext, ad, out)

    monkeypatch.setattr(part_stream, "AESGCM", Watched)
    pieces = [patterned(fmt.FIRST_PLAINTEXT), patterned(fmt.LATER_PLAINTEXT), patterned(100)]
    seal(KEY, *pieces)
    assert seen[0] is pieces[0] and seen[1] is pieces[1]


def test_no_nonce_is_used_twice_and_only_the_last_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[bytes, bytes]] = []

    class Watched:
        def __init__(self, key: bytes) -> None:
            self._key = key

        def encrypt_into(self, nonce: bytes, plaintext: bytes, ad: None, out: memoryview) -> int:
            used.append((self._key, nonce))
            return AESGCM(self._key).encrypt_into(nonce, plaintext, ad, out)

    monkeypatch.setattr(part_stream, "AESGCM", Watched)
    for _ in range(20):  # the same key, the same names: the salt alone must tell them apart
        seal(KEY, b"x")
    seal(KEY, patterned(fmt.segment_start(3)))
    assert len(set(used)) == len(used) == 23
    assert len({key for key, _ in used}) == 21
    assert [nonce[-5:] for _, nonce in used[-3:]] == [b"\0\0\0\0\0", b"\0\0\0\1\0", b"\0\0\0\2\1"]


def test_a_failed_encryption_ends_the_sealer_so_its_nonce_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, key: bytes) -> None:
            pass

        def encrypt_into(self, *args: object) -> int:
            raise MemoryError

    monkeypatch.setattr(part_stream, "AESGCM", Failing)
    sealer = PartSealer(KEY, B, P)
    with pytest.raises(MemoryError):
        sealer.seal(b"x", memoryview(bytearray(100)), last=True)
    with pytest.raises(SealMisuse, match="finished"):
        sealer.seal(b"y", memoryview(bytearray(100)), last=True)


def _full_then(length: int, last: bool) -> Callable[[PartSealer, memoryview], object]:
    def act(sealer: PartSealer, out: memoryview) -> object:
        sealer.seal(bytes(fmt.FIRST_PLAINTEXT), out, last=False)
        return sealer.seal(bytes(length), out, last=last)

    return act


@pytest.mark.parametrize(
    ("misuse", "why"),
    [
        (lambda sealer, out: sealer.seal(b"short", out, last=False), "or fewer if it is the last"),
        (
            lambda sealer, out: sealer.seal(bytes(fmt.FIRST_PLAINTEXT + 1), out, last=True),
            "takes 1048520",
        ),
        (lambda sealer, out: sealer.seal(b"x", out[:56], last=True), "sealing needs 57"),
        (lambda sealer, out: sealer.digest, "no digest"),
        (_full_then(0, True), "empty segment"),
        (_full_then(fmt.FIRST_PLAINTEXT, False), "or fewer if it is the last"),
    ],
)
def test_misuse_is_refused(misuse: Callable[[PartSealer, memoryview], object], why: str) -> None:
    with pytest.raises(SealMisuse, match=why):
        misuse(PartSealer(KEY, B, P), memoryview(bytearray(fmt.SEGMENT)))


def test_a_refused_call_seals_nothing_and_the_sealer_goes_on() -> None:
    sealer, out = PartSealer(KEY, B, P), bytearray(60)
    with pytest.raises(SealMisuse):
        sealer.seal(b"four", memoryview(out)[:59], last=True)
    assert out == bytes(60)
    assert sealer.seal(b"four", memoryview(out), last=True) == 60
    reading = PartOpener(KEY, B, P, 60, lambda offset, n: bytes(out[offset : offset + n]))
    assert list(reading.read(0, 4)) == [b"four"]


def test_nothing_follows_the_last_segment() -> None:
    sealer, out = PartSealer(KEY, B, P), memoryview(bytearray(100))
    sealer.seal(b"", out, last=True)
    with pytest.raises(SealMisuse, match="finished"):
        sealer.seal(b"more", out, last=True)


def test_a_sealer_cannot_be_copied() -> None:
    sealer = PartSealer(KEY, B, P)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="nonces"):
            duplicate(sealer)


def test_two_sealings_of_the_same_bytes_have_different_digests() -> None:
    assert seal(KEY, b"same").digest != seal(KEY, b"same").digest


@pytest.mark.parametrize(
    ("key", "bundle_id", "part_id"),
    [(DataKey(b"K" * 32), B, P), (KEY, bundle(77), P), (KEY, B, part(77)), (KEY, P, B)],
)
def test_another_key_bundle_or_part_opens_nothing(key: DataKey, bundle_id: str, part_id: str) -> None:
    sealed = seal(KEY, b"secret").sealed
    reading = PartOpener(key, bundle_id, part_id, len(sealed), lambda offset, n: sealed[offset : offset + n])
    with pytest.raises(SealBroken):
        list(reading.read(0, 6))
