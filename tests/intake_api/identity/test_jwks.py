"""Which published keys count."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from intake_api.identity.jwks import MOST_KEYS, parse_key, parse_key_set


def test_keys_are_found_by_id_and_serve_the_algorithms_of_their_kind(signer: Any) -> None:
    keys = parse_key_set(signer.key_set())
    assert {kid: set(key.algorithms) for kid, key in keys.items()} == {
        "rsa-1": {"RS256", "PS256"},
        "ec-1": {"ES256"},
    }


def test_a_key_that_names_its_algorithm_serves_no_other(signer: Any) -> None:
    assert parse_key(signer.jwk("rsa-1", alg="RS256")).algorithms == {"RS256"}
    for other in ("ES256", "HS256", "none", "RSA-OAEP", 7, None, ["RS256"]):
        assert parse_key(signer.jwk("rsa-1", alg=other)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"kid": None},
        {"kid": ""},
        {"kid": 7},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "OKP", "crv": "Ed25519"},
        {"kty": None},
        {"n": None},
        {"n": "!!"},
        {"n": "AQAB"},
        {"n": 5},
        {"e": ""},
        {"e": "AA"},
    ],
)
def test_an_unusable_key_is_passed_over_and_the_others_stay(signer: Any, change: dict[str, object]) -> None:
    assert set(parse_key_set({"keys": [signer.jwk("rsa-1", **change), signer.jwk("ec-1"), "no key"]})) == {
        "ec-1"
    }


def test_weak_huge_and_foreign_keys_do_not_count() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()  # noqa: S505 - it is the point
    curve = ec.generate_private_key(ec.SECP384R1()).public_key()
    assert parse_key({**RSAAlgorithm.to_jwk(weak, as_dict=True), "kid": "weak"}) is None
    assert parse_key({"kty": "RSA", "kid": "huge", "e": "AQAB", "n": "_" * 2000}) is None
    assert parse_key({**ECAlgorithm.to_jwk(curve, as_dict=True), "kid": "other-curve"}) is None


def test_a_point_off_the_curve_does_not_count(signer: Any) -> None:
    entry = signer.jwk("ec-1")
    assert parse_key({**entry, "x": entry["y"], "y": entry["x"]}) is None


def test_of_a_private_key_published_by_mistake_only_the_public_half_is_read(signer: Any) -> None:
    entry = {**ECAlgorithm.to_jwk(signer.private["ec-1"], as_dict=True), "kid": "ec-1"}
    assert "d" in entry
    assert parse_key(entry).public_key == signer.private["ec-1"].public_key()


def test_of_two_keys_with_one_id_the_first_counts(signer: Any) -> None:
    keys = parse_key_set({"keys": [signer.jwk("rsa-1"), signer.jwk("ec-1", kid="rsa-1")]})
    assert keys["rsa-1"].algorithms == {"RS256", "PS256"}


def test_an_empty_set_withdraws_all_keys() -> None:
    assert parse_key_set({"keys": []}) == {}


@pytest.mark.parametrize("document", [{}, {"keys": {}}, {"keys": None}, {"keys": [{}] * (MOST_KEYS + 1)}])
def test_a_document_that_is_no_set_is_an_error(document: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="key set"):
        parse_key_set(document)


VALUE = (
    st.none()
    | st.integers()
    | st.text(max_size=20)
    | st.lists(st.text(max_size=5), max_size=2)
    | st.booleans()
)
NAME = st.sampled_from(["kty", "kid", "use", "alg", "key_ops", "crv", "n", "e", "x", "y"])


@given(changes=st.dictionaries(NAME, VALUE, min_size=1), base=st.sampled_from(["rsa-1", "ec-1"]))
def test_whatever_a_key_says_parsing_it_ends_in_a_key_or_none(signer: Any, changes: Any, base: str) -> None:
    key = parse_key({**signer.jwk(base), **changes})
    assert key is None or key.algorithms <= {"RS256", "PS256", "ES256"}
