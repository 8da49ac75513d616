"""Claims of a token with a valid signature -> Caller. Pure; `now` is an argument.

Rules, in this order (RFC 7519 section 4.1, RFC 9068 section 4):
0. it is an access token, not another kind that the issuer signs with the same key (RFC 8725 sections 3.11, 3.12): it
   carries no claim of those kinds alone, and its type (at+jwt) or a claim that only access tokens carry says so;
1. exp, iss, aud and sub are present and of the right type; so are the optional ones that are read;
2. the issuer equals ours, character by character;
3. one of the audiences is one of ours;
4. now < exp + leeway ("on or after" exp is too late); now >= nbf - leeway; now >= iat - leeway;
5. at least one known role: without one the caller is known, but not allowed to do anything here (`NoRole`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from intake_api.identity.caller import Caller, InvalidToken, NoRole, TokenRefusal
from intake_api.identity.config import IssuerSettings
from retention.domain.actor import Role
from retention.domain.characters import escaped, is_plain

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST_TEXT = 512
OF_OTHER_TOKENS = frozenset({"nonce", "at_hash", "c_hash", "s_hash", "sub_jwk", "events"})
"""Claims of ID tokens (OpenID Connect Core sections 2, 3.3.2.11 and 7.4; s_hash: FAPI) and of event and logout tokens
(RFC 8417)."""

Claims = Mapping[str, object]


def caller_of(claims: Claims, settings: IssuerSettings, now: datetime) -> Caller:
    """Make the caller from verified claims; InvalidToken if a rule is broken."""
    for required in ("exp", "iss", "aud", "sub"):
        if claims.get(required) is None:
            raise InvalidToken(TokenRefusal.CLAIM_MISSING, f"the token has no {required} claim")
    issuer, subject = _text(claims, "iss"), _text(claims, "sub")
    audiences, expires = _texts(claims, "aud"), _instant(claims, "exp")
    if issuer is None or subject is None or expires is None:
        raise InvalidToken(TokenRefusal.CLAIM_MISSING, "the token has an empty claim")
    if issuer != settings.issuer:
        raise InvalidToken(TokenRefusal.WRONG_ISSUER, "the token is from another issuer")
    if not audiences & set(settings.audiences):
        raise InvalidToken(TokenRefusal.WRONG_AUDIENCE, "the token is for another audience")
    _check_times(claims, expires, settings.leeway, now)
    caller = Caller(
        issuer=issuer,
        subject=subject,
        roles=_roles(claims, settings),
        expires=expires,
        directory=_name(claims, settings.directory_claim),
        partner=_name(claims, settings.partner_claim),
        token_id=_text(claims, "jti"),
        name=_display_name(claims, settings.name_claim),
    )
    if not caller.roles:
        raise NoRole(caller)
    return caller


def check_access_token(claims: Claims, settings: IssuerSettings, *, by_type: bool) -> None:
    """Raise InvalidToken unless this is an access token, no ID token or other. `by_type`: its header says at+jwt."""
    if OF_OTHER_TOKENS & claims.keys():
        raise InvalidToken(
            TokenRefusal.OTHER_KIND,
            "this is an ID token or another kind of token: send the access token",
        )
    if not by_type and not any(_carries(claims, mark) for mark in settings.access_token_claims):
        raise InvalidToken(
            TokenRefusal.UNPROVEN_KIND,
            "nothing shows that this is an access token: neither its type (at+jwt) nor a claim that only those carry",
        )


def _carries(claims: Claims, mark: str) -> bool:
    """Return whether the claims have `mark`, a claim's name or claim=value; an empty claim does not count."""
    claim, valued, value = mark.partition("=")
    return claims.get(claim) == value if valued else bool(claims.get(claim))


def _check_times(claims: Claims, expires: datetime, leeway: timedelta, now: datetime) -> None:
    # Differences, not sums: exp may be the last representable instant.
    if now - expires >= leeway:
        raise InvalidToken(TokenRefusal.EXPIRED, "the token has expired")
    for claim in ("nbf", "iat"):
        begins = _instant(claims, claim)
        if begins is not None and begins - now > leeway:
            raise InvalidToken(TokenRefusal.NOT_YET_VALID, "the token is not valid yet")


def _roles(claims: Claims, settings: IssuerSettings) -> frozenset[Role]:
    values = _texts(claims, settings.roles_claim)
    return frozenset(settings.roles[value] for value in values if value in settings.roles)


def _text(claims: Claims, claim: str) -> str | None:
    """Return the claim as text; None if it is absent or empty."""
    value = claims.get(claim)
    if value is not None and (not isinstance(value, str) or len(value) > LONGEST_TEXT):
        detail = f"the token's {claim} claim is not a text of at most {LONGEST_TEXT} characters"
        raise InvalidToken(TokenRefusal.MALFORMED, detail)
    if value and not is_plain(value):
        raise InvalidToken(
            TokenRefusal.MALFORMED,
            f"the token's {claim} claim has characters that do not display as they are written",
        )
    return value or None


def _display_name(claims: Claims, claim: str) -> str | None:
    """Return the display name, with deceptive characters escaped: others see it, but it decides nothing."""
    value = claims.get(claim)
    return _text({claim: escaped(value)}, claim) if isinstance(value, str) else _text(claims, claim)


def _name(claims: Claims, claim: str) -> str | None:
    """Return the claim that says whose the caller is, as `_text`; refuse an empty one: it is not the same as none."""
    name = _text(claims, claim)
    if name is None and claim in claims:
        raise InvalidToken(TokenRefusal.MALFORMED, f"the token's {claim} claim is empty")
    return name


def _texts(claims: Claims, claim: str) -> frozenset[str]:
    """Return the claim as a set; RFC 7519 section 4.1.3 allows one bare string in place of a list."""
    value = claims.get(claim)
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(each, str) for each in values):
        raise InvalidToken(TokenRefusal.MALFORMED, f"the token's {claim} claim is not a list of texts")
    return frozenset(values)


def _instant(claims: Claims, claim: str) -> datetime | None:
    """Read a NumericDate (RFC 7519 section 2): seconds, a fraction allowed; true is not a number here."""
    value = claims.get(claim)
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError  # noqa: TRY301 - one refusal for every way of not being an instant
        return EPOCH + timedelta(seconds=value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidToken(TokenRefusal.MALFORMED, f"the token's {claim} claim is not a time") from None
