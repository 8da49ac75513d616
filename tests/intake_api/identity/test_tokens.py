"""Good tokens, and the zoo of forged ones."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intake_api.identity import InvalidToken, IssuerSettings, StaticKeys, TokenRefusal, TokenVerifier
from intake_api.identity.jwks import parse_key_set
from intake_api.identity.tokens import LONGEST_TOKEN
from retention.domain.actor import Role
from tests.intake_api.identity.conftest import AUDIENCE, ISSUER

FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refusal(verifier: TokenVerifier, authorization: str | None) -> TokenRefusal:
    with pytest.raises(InvalidToken) as caught:
        verifier.verify(authorization)
    return caught.value.code


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256"])
@pytest.mark.parametrize("kind", ["at+jwt", "JWT", "jwt", "application/at+jwt"])
def test_a_token_of_the_issuer_is_accepted(verifier: Any, signer: Any, algorithm: str, kind: str) -> None:
    claims = signer.claims(scp="access")
    caller = verifier.verify(signer.bearer(claims, algorithm=algorithm, header={"typ": kind}))
    assert (caller.subject, caller.roles) == ("subject-1", {Role.SUPPORT_ENGINEER})


def test_a_caller_carries_what_the_token_says(verifier: Any, signer: Any) -> None:
    claims = signer.claims(
        roles=["CaseVault.Operator", "CaseVault.Auditor", "Something.Else"],
        tid="directory-1",
        partner="oem-1",
        name="Ada Example",
        jti="token-1",
    )
    caller = verifier.verify(signer.bearer(claims))
    assert caller.issuer == claims["iss"]
    assert caller.roles == {Role.OPERATOR, Role.AUDITOR}
    assert (caller.directory, caller.partner, caller.token_id) == ("directory-1", "oem-1", "token-1")
    assert caller.expires == datetime.fromtimestamp(claims["exp"], UTC)
    assert caller.name == "Ada Example"
    assert "Ada" not in repr(caller)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", " Bearer "])
def test_the_scheme_may_be_written_in_any_case(verifier: Any, signer: Any, scheme: str) -> None:
    assert verifier.verify(f"{scheme} {signer.token()}").subject == "subject-1"


def test_the_roles_claim_and_its_values_can_be_named_by_the_deployment(
    signer: Any, clock: Any, counted: Any
) -> None:
    ours = IssuerSettings(
        issuer="https://login.example/customer",
        audiences=("api://casevault",),
        roles={"log-readers": Role.SUPPORT_ENGINEER},
        roles_claim="groups",
    )
    verifier = TokenVerifier(ours, counted, clock)
    assert verifier.verify(signer.bearer(signer.claims(groups="log-readers"))).roles == {
        Role.SUPPORT_ENGINEER
    }
    assert refusal(verifier, signer.bearer()) is TokenRefusal.NO_ROLE


@pytest.mark.parametrize("header", [None, "", "   ", "Basic dTpw", "DPoP a.b.c", "Bearertoken"])
def test_a_request_without_a_bearer_token_is_told_so(verifier: Any, header: str | None) -> None:
    assert refusal(verifier, header) is TokenRefusal.MISSING


def test_two_schemes_or_two_tokens_are_refused(verifier: Any, signer: Any) -> None:
    token = signer.token()
    for header in (
        f"Bearer {token}, Basic dTpw",
        f"Bearer {token} {token}",
        f"Bearer {token},Bearer {token}",
        f"Bearer Bearer {token}",
    ):
        assert refusal(verifier, header) is TokenRefusal.MALFORMED
    assert refusal(verifier, f"Basic dTpw, Bearer {token}") is TokenRefusal.MISSING


def test_a_token_has_one_spelling_only(verifier: Any, signer: Any) -> None:
    token = signer.token()
    for spelling in (
        f"{token}=",
        f"{token}==",
        f"{token}.",
        f".{token}",
        token.replace(".", ".."),
        f"{token}\n.",
    ):
        assert refusal(verifier, f"Bearer {spelling}") is TokenRefusal.MALFORMED


def test_an_enormous_token_is_refused_before_a_key_is_asked_for(
    signer: Any, clock: Any, counted: Any, settings: IssuerSettings
) -> None:
    token = signer.token(signer.claims(padding="x" * LONGEST_TOKEN))
    assert refusal(TokenVerifier(settings, counted, clock), f"Bearer {token}") is TokenRefusal.TOO_LONG
    assert counted.asked == 0


def test_an_unsigned_token_is_refused(verifier: Any, signer: Any, encoded: Any) -> None:
    for algorithm in ("none", "None", "NONE", "", None):
        header = encoded({"alg": algorithm, "typ": "JWT", "kid": "rsa-1"})
        body = encoded(signer.claims())
        assert (
            refusal(verifier, f"Bearer {header}.{body}.{encoded(b'signature')}")
            is TokenRefusal.ALGORITHM_REFUSED
        )
        assert refusal(verifier, f"Bearer {header}.{body}.") is TokenRefusal.MALFORMED


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_public_key_used_as_a_shared_secret_is_refused(
    verifier: Any, signer: Any, encoded: Any, algorithm: str
) -> None:
    public = signer.private["rsa-1"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signed = f"{encoded({'alg': algorithm, 'typ': 'JWT', 'kid': 'rsa-1'})}.{encoded(signer.claims())}"
    mac = hmac.new(pem, signed.encode(), getattr(hashlib, f"sha{algorithm[2:]}")).digest()
    assert refusal(verifier, f"Bearer {signed}.{encoded(mac)}") is TokenRefusal.ALGORITHM_REFUSED


def test_an_algorithm_outside_the_settings_is_refused_though_the_key_could_do_it(
    signer: Any, clock: Any, counted: Any, settings: IssuerSettings
) -> None:
    only = IssuerSettings(issuer=settings.issuer, audiences=settings.audiences, algorithms=("ES256",))
    verifier = TokenVerifier(only, counted, clock)
    assert refusal(verifier, signer.bearer(algorithm="PS256")) is TokenRefusal.ALGORITHM_REFUSED
    assert verifier.verify(signer.bearer(algorithm="ES256")).subject == "subject-1"


def test_a_key_is_used_only_for_its_own_algorithm(signer: Any, clock: Any, settings: IssuerSettings) -> None:
    keys = StaticKeys(parse_key_set({"keys": [signer.jwk("rsa-1", alg="PS256")]}).values())
    verifier = TokenVerifier(settings, keys, clock)
    assert refusal(verifier, signer.bearer(algorithm="RS256")) is TokenRefusal.ALGORITHM_REFUSED
    mixed = signer.bearer(algorithm="ES256", kid="rsa-1", key=signer.private["ec-1"])
    assert refusal(verifier, mixed) is TokenRefusal.ALGORITHM_REFUSED
    assert verifier.verify(signer.bearer(algorithm="PS256")).subject == "subject-1"


def test_a_stranger_who_borrows_a_key_id_is_refused(verifier: Any, signer: Any) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert refusal(verifier, signer.bearer(key=stranger)) is TokenRefusal.BAD_SIGNATURE


def test_a_key_id_that_nobody_published_is_refused(verifier: Any, signer: Any) -> None:
    assert refusal(verifier, signer.bearer(header={"kid": "nobody"})) is TokenRefusal.UNKNOWN_KEY


@pytest.mark.parametrize("kid", ["", "k" * 257, None, 7, ["rsa-1"]])
def test_a_token_that_does_not_name_its_key_is_refused(
    verifier: Any, signer: Any, encoded: Any, kid: object
) -> None:
    header = {"alg": "RS256", "typ": "JWT"} | ({} if kid is None else {"kid": kid})
    token = f"{encoded(header)}.{encoded(signer.claims())}.{signer.token().rpartition('.')[2]}"
    assert refusal(verifier, f"Bearer {token}") in {TokenRefusal.UNKNOWN_KEY, TokenRefusal.MALFORMED}


@pytest.mark.parametrize("kind", ["", "id+jwt", "logout+jwt", "dpop+jwt", "JWS", None, 1])
def test_a_token_of_another_type_is_refused(verifier: Any, signer: Any, encoded: Any, kind: object) -> None:
    header = {"alg": "RS256", "kid": "rsa-1"} | ({} if kind is None else {"typ": kind})
    token = f"{encoded(header)}.{encoded(signer.claims())}.{signer.token().rpartition('.')[2]}"
    assert refusal(verifier, f"Bearer {token}") is TokenRefusal.TYPE_REFUSED


TENANT = "44444444-4444-4444-4444-444444444444"
CLIENT = "66666666-6666-6666-6666-666666666666"
COMMON = {"oid": "o", "tid": TENANT, "uti": "u", "rh": "r"}
V1, V2 = {**COMMON, "ver": "1.0"}, {**COMMON, "ver": "2.0"}
PERSON = {"preferred_username": "ada@example.com", "name": "Ada Example"}
ENTRA_ACCESS = {
    "v2.0, a person": {**V2, **PERSON, "azp": CLIENT, "azpacr": "0", "scp": "access"},
    "v2.0, an application": {**V2, "azp": CLIENT, "azpacr": "2"},
    "v2.0, an application, said so": {**V2, "azp": CLIENT, "idtyp": "app"},
    "v1.0, a person": {**V1, "unique_name": "ada", "appid": CLIENT, "appidacr": "0", "scp": "access"},
    "v1.0, an application": {**V1, "appid": CLIENT, "appidacr": "1"},
}
ENTRA_ID = {
    "v2.0, code flow": {**V2, **PERSON},
    "v2.0, implicit or hybrid": {**V2, **PERSON, "nonce": "n", "at_hash": "a", "c_hash": "c"},
    "v2.0, with azp": {**V2, **PERSON, "azp": CLIENT},
    "v1.0": {**V1, "unique_name": "ada", "amr": ["pwd"], "ipaddr": "192.0.2.7"},
    "v1.0, with nonce": {**V1, "unique_name": "ada", "nonce": "n"},
}


@pytest.mark.parametrize("shape", ENTRA_ACCESS)
def test_entras_access_tokens_are_known_by_what_only_they_bear(
    verifier: Any, signer: Any, shape: str
) -> None:
    claims = signer.claims(**ENTRA_ACCESS[shape])
    assert verifier.verify(signer.bearer(claims, header={"typ": "JWT"})).subject == "subject-1"


@pytest.mark.parametrize("shape", ENTRA_ID)
def test_entras_id_tokens_open_nothing(verifier: Any, signer: Any, shape: str) -> None:
    """Signed by the same key, and for the same audience where the API's application signs people in as well."""
    claims = signer.claims(**ENTRA_ID[shape])
    why = refusal(verifier, signer.bearer(claims, header={"typ": "JWT"}))
    assert why is (TokenRefusal.OTHER_KIND if "nonce" in claims else TokenRefusal.UNPROVEN_KIND)


@pytest.mark.parametrize("claim", ["nonce", "at_hash", "c_hash", "s_hash", "sub_jwk", "events"])
@pytest.mark.parametrize("kind", ["at+jwt", "JWT"])
def test_what_only_other_tokens_bear_is_refused_whatever_the_type_says(
    verifier: Any, signer: Any, claim: str, kind: str
) -> None:
    for value in ("x", ""):
        bearer = signer.bearer({**signer.claims(scp="access"), claim: value}, header={"typ": kind})
        assert refusal(verifier, bearer) is TokenRefusal.OTHER_KIND


@pytest.mark.parametrize("empty", ["", [], None])
def test_an_empty_scope_is_no_mark_of_an_access_token(verifier: Any, signer: Any, empty: object) -> None:
    bearer = signer.bearer({**signer.claims(), "scp": empty}, header={"typ": "JWT"})
    assert refusal(verifier, bearer) is TokenRefusal.UNPROVEN_KIND


def test_the_mark_of_access_tokens_can_be_named_by_the_deployment(signer: Any, clock: Any) -> None:
    keys = StaticKeys(parse_key_set(signer.key_set()).values())
    theirs = IssuerSettings(issuer=ISSUER, audiences=(AUDIENCE,), access_token_claims=("token_use=access",))
    ours = TokenVerifier(theirs, keys, clock)
    plain = {"typ": "JWT"}
    assert ours.verify(signer.bearer(signer.claims(token_use="access"), header=plain)).subject == "subject-1"
    for wrong in ({"token_use": "id"}, {"scp": "access"}, {"token_use": ["access"]}):
        bearer = signer.bearer(signer.claims(**wrong), header=plain)
        assert refusal(ours, bearer) is TokenRefusal.UNPROVEN_KIND


def test_without_a_mark_only_the_type_counts(signer: Any, clock: Any) -> None:
    keys = StaticKeys(parse_key_set(signer.key_set()).values())
    typed = IssuerSettings(issuer=ISSUER, audiences=(AUDIENCE,), access_token_claims=())
    ours = TokenVerifier(typed, keys, clock)
    assert ours.verify(signer.bearer()).subject == "subject-1"
    bearer = signer.bearer(signer.claims(scp="access", azpacr="0"), header={"typ": "JWT"})
    assert refusal(ours, bearer) is TokenRefusal.UNPROVEN_KIND


def test_a_token_that_brings_its_own_key_is_refused(verifier: Any, signer: Any, encoded: Any) -> None:
    for extra in (
        {"jwk": signer.jwk("rsa-1")},
        {"jku": "https://attacker.example/jwks"},
        {"x5u": "https://attacker.example/chain.pem"},
        {"x5c": ["MIIB"]},
        {"crit": ["exp"], "exp": 1},
    ):
        header = {"alg": "RS256", "typ": "JWT", "kid": "rsa-1", **extra}
        token = f"{encoded(header)}.{encoded(signer.claims())}.{signer.token().rpartition('.')[2]}"
        assert refusal(verifier, f"Bearer {token}") in {TokenRefusal.HEADER_REFUSED, TokenRefusal.MALFORMED}
    assert (
        refusal(verifier, signer.bearer(header={"jku": "https://attacker.example"}))
        is TokenRefusal.HEADER_REFUSED
    )
    # An x5t is a mere name of a certificate; Entra's tokens carry one.
    assert verifier.verify(signer.bearer(header={"x5t": "bmFtZQ"})).subject == "subject-1"


@pytest.mark.parametrize(
    "header", [b"[]", b"null", b"{", b'{"alg":"RS256"', b"\xff\xfe", b"[" * 5000, b'{"a":1e999}']
)
def test_a_header_that_is_no_header_is_refused(
    verifier: Any, signer: Any, encoded: Any, header: bytes
) -> None:
    token = f"{encoded(header)}.{encoded(signer.claims())}.{encoded(b'signature')}"
    assert refusal(verifier, f"Bearer {token}") in {TokenRefusal.MALFORMED, TokenRefusal.ALGORITHM_REFUSED}


@pytest.mark.parametrize("payload", [b"[]", b"null", b"not JSON", b"\xff", b"[" * 5000, b"1" * 5000])
def test_a_signed_payload_that_is_no_object_is_refused(verifier: Any, signer: Any, payload: bytes) -> None:
    token = jwt.PyJWS().encode(
        payload, signer.private["rsa-1"], "RS256", headers={"kid": "rsa-1", "typ": "JWT"}
    )
    assert refusal(verifier, f"Bearer {token}") is TokenRefusal.MALFORMED


@FEW
@given(data=st.data())
def test_a_mangled_token_never_verifies(verifier: Any, signer: Any, data: st.DataObject) -> None:
    token = data.draw(st.sampled_from([signer.token(), signer.token(algorithm="ES256")]))
    at = data.draw(st.integers(0, len(token) - 1))
    change = data.draw(st.sampled_from(["replace", "insert", "drop", "cut", "swap"]))
    other = data.draw(st.sampled_from("ABCDEFabcdef0123456789-_.="))
    mangled = {
        "replace": token[:at] + other + token[at + 1 :],
        "insert": token[:at] + other + token[at:],
        "drop": token[:at] + token[at + 1 :],
        "cut": token[:at],
        "swap": token[at:] + token[:at],
    }[change]
    if mangled != token:
        refusal(verifier, f"Bearer {mangled}")


@FEW
@given(header=st.binary(max_size=80), body=st.binary(max_size=80), signature=st.binary(max_size=80))
def test_noise_in_the_shape_of_a_token_is_refused_and_nothing_else_happens(
    verifier: Any, encoded: Any, header: bytes, body: bytes, signature: bytes
) -> None:
    refusal(verifier, f"Bearer {encoded(header)}.{encoded(body)}.{encoded(signature)}")


@FEW
@given(text=st.text(max_size=200))
def test_any_text_at_all_is_refused(verifier: Any, text: str) -> None:
    refusal(verifier, text)
    refusal(verifier, f"Bearer {text}")


def test_no_refusal_repeats_the_token(verifier: Any, signer: Any) -> None:
    for header in (
        signer.bearer(header={"kid": "nobody"}),
        signer.bearer(signer.claims(roles=["secret-role"])),
    ):
        with pytest.raises(InvalidToken) as caught:
            verifier.verify(header)
        shown = f"{caught.value!r} {caught.value}"
        assert (
            "nobody" not in shown and "secret-role" not in shown and "." + header.split(".")[1] not in shown
        )


def test_expiry_and_start_are_checked_against_the_clock_passed_in(
    verifier: Any, signer: Any, clock: Any
) -> None:
    header = signer.bearer()
    clock.time += timedelta(days=90)
    assert refusal(verifier, header) is TokenRefusal.EXPIRED
