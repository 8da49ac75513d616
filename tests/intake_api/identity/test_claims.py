"""The claims, to the microsecond."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake_api.identity import InvalidToken, IssuerSettings, TokenRefusal
from intake_api.identity.claims import caller_of
from retention.domain.actor import Role

OURS = IssuerSettings(
    issuer="https://login.example/customer", audiences=("api://casevault", "a second name of ours")
)
MICROSECOND = timedelta(microseconds=1)


def refusal(claims: dict[str, object], now: datetime) -> TokenRefusal:
    with pytest.raises(InvalidToken) as caught:
        caller_of(claims, OURS, now)
    return caught.value.code


@pytest.mark.parametrize("claim", ["exp", "iss", "aud", "sub"])
def test_a_required_claim_may_not_be_left_out_or_null(signer: Any, clock: Any, claim: str) -> None:
    assert refusal(signer.claims(**{claim: None}), clock.now()) is TokenRefusal.CLAIM_MISSING
    assert refusal({**signer.claims(), claim: None}, clock.now()) is TokenRefusal.CLAIM_MISSING


def test_an_empty_subject_is_no_subject(signer: Any, clock: Any) -> None:
    assert refusal(signer.claims(sub=""), clock.now()) is TokenRefusal.CLAIM_MISSING


@pytest.mark.parametrize(
    "issuer",
    [
        "https://login.example/customer/",
        "https://login.example/Customer",
        "https://login.example/customer2",
        "http://login.example/customer",
        "https://login.example/other",
    ],
)
def test_the_issuer_must_be_ours_to_the_letter(signer: Any, clock: Any, issuer: str) -> None:
    assert refusal(signer.claims(iss=issuer), clock.now()) is TokenRefusal.WRONG_ISSUER


@pytest.mark.parametrize("audience", ["api://other", "api://casevault/", [], ["a", "b"], "API://casevault"])
def test_a_token_for_somebody_else_is_refused(signer: Any, clock: Any, audience: object) -> None:
    assert refusal(signer.claims(aud=audience), clock.now()) is TokenRefusal.WRONG_AUDIENCE


@pytest.mark.parametrize("audience", ["api://casevault", ["api://casevault"], ["x", "a second name of ours"]])
def test_any_of_our_audiences_will_do(signer: Any, clock: Any, audience: object) -> None:
    assert caller_of(signer.claims(aud=audience), OURS, clock.now()).subject == "subject-1"


def test_expiry_has_a_leeway_of_sixty_seconds_exactly(signer: Any, clock: Any) -> None:
    expires = clock.now()
    claims = signer.claims(iat=None, exp=int(expires.timestamp()))
    end = expires + timedelta(seconds=60)
    assert caller_of(claims, OURS, end - MICROSECOND).expires == expires
    assert refusal(claims, end) is TokenRefusal.EXPIRED


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_the_start_has_a_leeway_of_sixty_seconds_exactly(signer: Any, clock: Any, claim: str) -> None:
    claims = signer.claims(**{"iat": None, claim: int(clock.now().timestamp())})
    start = clock.now() - timedelta(seconds=60)
    assert caller_of(claims, OURS, start).subject == "subject-1"
    assert refusal(claims, start - MICROSECOND) is TokenRefusal.NOT_YET_VALID


@given(skew=st.integers(-7200 * 10**6, 7200 * 10**6), life=st.integers(1, 3600))
def test_a_token_is_accepted_exactly_within_its_life_and_the_leeway(
    signer: Any, skew: int, life: int
) -> None:
    begins = int(signer.claims()["iat"])
    now = datetime.fromisoformat("1970-01-01T00:00:00+00:00") + timedelta(seconds=begins, microseconds=skew)
    claims = signer.claims(nbf=begins, exp=begins + life)
    if skew < -60 * 10**6:
        assert refusal(claims, now) is TokenRefusal.NOT_YET_VALID
    elif skew >= (life + 60) * 10**6:
        assert refusal(claims, now) is TokenRefusal.EXPIRED
    else:
        assert caller_of(claims, OURS, now).roles == {Role.SUPPORT_ENGINEER}


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value", ["1795176000", True, float("nan"), float("inf"), 10**400, 1e300, -1e300, [], {}]
)
def test_a_time_that_is_none_is_refused(signer: Any, clock: Any, claim: str, value: object) -> None:
    assert refusal(signer.claims(**{claim: value}), clock.now()) is TokenRefusal.MALFORMED


def test_a_fraction_of_a_second_is_a_time(signer: Any, clock: Any) -> None:
    exact = clock.now().timestamp() + 0.5
    caller = caller_of(signer.claims(exp=exact), OURS, clock.now())
    assert caller.expires == clock.now() + timedelta(seconds=0.5)


def test_the_last_instant_of_the_calendar_is_no_trap(signer: Any, clock: Any) -> None:
    assert caller_of(signer.claims(exp=253402300799), OURS, clock.now()).expires.year == 9999


@pytest.mark.parametrize("claim", ["iss", "sub", "tid", "partner", "name", "jti"])
@pytest.mark.parametrize("value", [7, ["a"], {"a": 1}, True, "x" * 513])
def test_a_text_that_is_none_is_refused(signer: Any, clock: Any, claim: str, value: object) -> None:
    assert refusal(signer.claims(**{claim: value}), clock.now()) is TokenRefusal.MALFORMED


@pytest.mark.parametrize("claim", ["aud", "roles"])
@pytest.mark.parametrize("value", [7, {"a": 1}, ["api://casevault", 7], [["api://casevault"]], [None]])
def test_a_list_of_texts_that_is_none_is_refused(signer: Any, clock: Any, claim: str, value: object) -> None:
    assert refusal(signer.claims(**{claim: value}), clock.now()) is TokenRefusal.MALFORMED


@pytest.mark.parametrize(
    "roles", [None, [], "", ["Operator"], ["casevault.operator"], "CaseVault.Operator CaseVault.Auditor"]
)
def test_a_caller_without_a_known_role_is_refused_for_that_reason(
    signer: Any, clock: Any, roles: object
) -> None:
    assert refusal(signer.claims(roles=roles), clock.now()) is TokenRefusal.NO_ROLE


def test_no_token_can_claim_to_be_the_clock(signer: Any, clock: Any) -> None:
    assert refusal(signer.claims(roles=[Role.CLOCK.value]), clock.now()) is TokenRefusal.NO_ROLE
    with pytest.raises(ValueError, match="clock"):
        IssuerSettings(issuer="https://a", audiences=("b",), roles={"Timer": Role.CLOCK})


@given(
    claims=st.dictionaries(
        st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "roles", "tid", "partner", "name", "jti"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
            ),
            max_leaves=5,
        ),
    )
)
def test_whatever_the_claims_are_the_answer_is_a_refusal(claims: dict[str, object], signer: Any) -> None:
    """No claim drawn here names our issuer, so nothing may pass, and nothing but a refusal may come out."""
    refusal(claims, datetime.fromisoformat("2026-11-20T12:00:00+00:00"))
    refusal(
        {**signer.claims(), **claims, "iss": "https://x"}, datetime.fromisoformat("2026-11-20T12:00:00+00:00")
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": ""},
        {"audiences": ()},
        {"audiences": ("",)},
        {"algorithms": ()},
        {"algorithms": ("none",)},
        {"algorithms": ("RS256", "HS256")},
        {"leeway": timedelta(seconds=-1)},
        {"leeway": timedelta(hours=1)},
        {"access_token_claims": ("",)},
        {"access_token_claims": ("idtyp=",)},
    ],
)
def test_settings_that_would_let_strangers_in_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        IssuerSettings(**{"issuer": "https://a", "audiences": ("b",), **wrong})


@pytest.mark.parametrize("claim", ["tid", "partner"])
@pytest.mark.parametrize("value", ["", None])
def test_whose_a_caller_is_may_be_left_out_but_not_left_empty(
    signer: Any, clock: Any, claim: str, value: str | None
) -> None:
    """An empty directory taken for none would make the caller whoever has the subject."""
    assert refusal({**signer.claims(), claim: value}, clock.now()) is TokenRefusal.MALFORMED
