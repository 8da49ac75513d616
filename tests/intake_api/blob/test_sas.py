"""Signatures: as Azure's own library makes them, and refused when a letter of them is another."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from hypothesis import assume, given
from hypothesis import strategies as st

from intake_api.blob import sas
from intake_api.blob.addresses import Place, container_of, container_url, read_path

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
KEY = bytes(range(32))
LINK = "lnk_" + "a" * 26
CONTAINER = container_of(LINK)
HOUR = timedelta(hours=1)


def made(**changes: Any) -> dict[str, str]:
    usual: dict[str, Any] = {
        "permissions": "rcwl",
        "starts_at": NOW,
        "expires_at": NOW + HOUR,
        "addresses": None,
    }
    query = sas.read_query(sas.make(CONTAINER, KEY, **{**usual, **changes}))
    assert query is not None
    return query


def signed(**values: str) -> dict[str, str]:
    """A query with these values, signed as it is."""
    usual = {"sv": sas.VERSION, "sr": "c", "sp": "rcwl", "se": "2026-11-21T10:30:00Z", "spr": "https"}
    query = {name: value for name, value in {**usual, **values}.items() if value}
    return {**query, "sig": sas.sign(query, CONTAINER, KEY)}


def verdict(query: dict[str, str], now: datetime = NOW, **more: Any) -> str | None:
    denied = sas.verify(query, CONTAINER, KEY, now, **{"secure": True, "address": "192.0.2.7", **more})
    return denied.reason if denied else None


@given(
    permissions=st.sets(st.sampled_from("rcwdl"), min_size=1),
    minutes=st.integers(1, 10_000),
    addresses=st.sampled_from([None, "192.0.2.7", "192.0.2.1-192.0.2.9"]),
    start=st.booleans(),
    protocol=st.sampled_from(["https", "https,http"]),
)
def test_a_signature_by_azures_library_is_ours(
    permissions: set[str], minutes: int, addresses: str | None, start: bool, protocol: str
) -> None:
    allowed = ContainerSasPermissions.from_string("".join(permissions))
    token = generate_container_sas(
        sas.ACCOUNT,
        CONTAINER,
        base64.b64encode(KEY).decode(),
        permission=allowed,
        expiry=NOW + timedelta(minutes=minutes),
        start=NOW if start else None,
        ip=addresses,
        protocol=protocol,
    )
    query = sas.read_query(token)
    assert query is not None
    assert query["sv"] > sas.WITH_SCOPE
    assert verdict(query) is None
    assert verdict(query, NOW + timedelta(minutes=minutes)) == "expired"


def test_what_is_made_here_is_let_in() -> None:
    assert verdict(made()) is None
    assert verdict(made(addresses="192.0.2.1-192.0.2.9")) is None


@pytest.mark.parametrize(
    "version", ["2018-11-09", "2019-12-12", "2020-10-02", "2020-12-06", "2024-11-04", "2026-10-06"]
)
def test_every_version_from_the_oldest_on_is_let_in(version: str) -> None:
    assert verdict(made(version=version)) is None


def test_the_scope_is_signed_from_its_version_on() -> None:
    lines = sas.string_to_sign({"sv": "2018-11-09"}, CONTAINER).split("\n")
    assert (len(lines), lines[3]) == (15, f"/blob/casevault/{CONTAINER}")
    assert len(sas.string_to_sign({"sv": "2020-12-06"}, CONTAINER).split("\n")) == 16


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (signed(sv="2018-03-28"), "version"),
        (signed(sv="newest"), "version"),
        (signed(sv=""), "version"),
        (signed(sr="b"), "resource"),
        (signed(skoid="somebody"), "resource"),
        (signed(si="a-policy"), "identifier"),
        (signed(sp=""), "form"),
        (signed(spr="http"), "form"),
        (signed(se=""), "form"),
        (signed(se="tomorrow"), "form"),
        (signed(se="2026-13-01"), "form"),
        (signed(se="2026-11-21T09:30:00Z"), "expired"),
        (signed(se="2026-11-21T09:30:00.0000001Z"), "expired"),
        (signed(se="2026-11-21T09:31Z"), None),
        (signed(se="2026-11-22"), None),
        (signed(se="2026-11-21T09:30:00.5000000Z"), None),
        (signed(st="2026-11-21T09:45:00Z"), None),
        (signed(st="2026-11-21T09:45:01Z"), "not-yet-valid"),
        (signed(sip="192.0.2.8"), "address"),
        (signed(sip="192.0.2.7"), None),
        (signed(spr=""), None),
    ],
)
def test_every_signed_word_is_honoured(query: dict[str, str], reason: str | None) -> None:
    assert verdict(query) == reason


def test_https_alone_means_it() -> None:
    assert verdict(signed(), secure=False) == "protocol"
    assert verdict(signed(spr="https,http"), secure=False) is None


def test_an_address_is_not_asked_for_when_there_is_none() -> None:
    assert verdict(signed(sip="192.0.2.8"), address=None) is None


@given(st.data())
def test_any_other_value_of_a_signed_word_breaks_the_signature(data: st.DataObject) -> None:
    query = made(addresses="192.0.2.7")
    name = data.draw(
        st.sampled_from([*sorted(query), "si", "snapshot", "ses", "rscc", "rscd", "rsce", "rscl", "rsct"])
    )
    value = data.draw(st.text(min_size=1, max_size=30))
    assume(query.get(name) != value)
    assert verdict({**query, name: value}) == "signature"


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=30), max_size=8))
def test_no_query_makes_anything_but_a_refusal(query: dict[str, str]) -> None:
    assert verdict(query) == "signature"


def test_another_links_key_or_container_is_another_signature() -> None:
    query = made()
    other = container_of("lnk_" + "b" * 26)
    assert sas.verify(query, CONTAINER, bytes(32), NOW, secure=True, address=None) == sas.NO_MATCH
    assert sas.verify(query, other, KEY, NOW, secure=True, address=None) == sas.NO_MATCH


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=30), max_size=8))
def test_a_query_is_read_as_everybody_writes_it(pairs: dict[str, str]) -> None:
    written = urlencode(pairs, quote_via=quote)
    assert sas.read_query(written) == pairs
    assert {k: v[0] for k, v in parse_qs(written, keep_blank_values=True).items()} == pairs


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    found = sas.read_query(text)
    assert found is None or isinstance(found, dict)


def test_a_plus_sign_in_a_signature_is_a_plus_sign_and_a_word_that_comes_twice_is_none() -> None:
    assert sas.read_query("sig=a+b%2Bc") == {"sig": "a+b+c"}
    assert sas.read_query("sp=r&sp=w") is None
    assert sas.read_query("sp=%ff") is None


@given(
    st.from_regex(
        r"20[0-9]{2}-[01][0-9]-[0-3][0-9](T[0-2][0-9]:[0-5][0-9](:[0-5][0-9](\.[0-9]{1,7})?)?Z)?",
        fullmatch=True,
    )
)
def test_a_time_is_read_or_refused(text: str) -> None:
    moment = sas.read_time(text)
    if moment is not None:
        assert moment.strftime("%Y-%m-%d") == text[:10]
        assert moment.tzinfo is UTC


@given(
    st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), max_size=20),
    st.text(max_size=20),
)
def test_a_path_has_a_container_and_the_rest_is_the_blobs_name(container: str, blob: str) -> None:
    assume(container != sas.ACCOUNT)
    expected = Place(container, blob or None)
    assert read_path(f"/{container}/{blob}") == expected
    assert read_path(f"/{sas.ACCOUNT}/{container}/{blob}") == expected


def test_only_a_links_own_name_is_its_container() -> None:
    assert read_path(f"/{CONTAINER}").link_id == LINK
    assert read_path(f"/casevault/{CONTAINER}/a/b").link_id == LINK
    for path in ("/", "/casevault", f"/{LINK}", f"/{CONTAINER}x", "/lnk-short/a", "/bun-" + "a" * 26):
        assert read_path(path).link_id is None


def test_an_address_has_the_account_only_where_clients_want_it() -> None:
    assert container_url("https://blobs.example", LINK) == f"https://blobs.example/{CONTAINER}"
    assert container_url("https://192.0.2.1:8444", LINK) == f"https://192.0.2.1:8444/casevault/{CONTAINER}"
    assert container_url("https://[2001:db8::1]", LINK) == f"https://[2001:db8::1]/casevault/{CONTAINER}"
