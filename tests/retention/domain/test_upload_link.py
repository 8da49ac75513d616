"""Upload links, the pure rules: terms, use, and the collection that a blob is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.domain.bundle import CollectionType
from retention.domain.faults import Invalid
from retention.domain.upload_link import (
    ASSUMED_WINDOW,
    LONGEST,
    START_SKEW,
    Declared,
    LinkFacts,
    LinkTerms,
    check_terms,
    collection_of,
    covers,
    decide_use,
    read_range,
)

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)


def terms(**changes: Any) -> LinkTerms:
    return LinkTerms(**{"expires_at": NOW + DAY, "type": CollectionType.ON_DEMAND, **changes})


def facts(**changes: Any) -> LinkFacts:
    usual = {
        "starts_at": NOW,
        "expires_at": NOW + DAY,
        "revoked_at": None,
        "addresses": None,
        "stamp_gone": False,
        "case_deadline": None,
    }
    return LinkFacts(**{**usual, **changes})


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"expires_at": NOW}, "expires_at"),
        ({"starts_at": NOW + 2 * DAY}, "expires_at"),
        ({"expires_at": NOW + LONGEST + timedelta(seconds=1)}, "expires_at"),
        ({"permissions": ""}, "permissions"),
        ({"permissions": "wr"}, "permissions"),
        ({"permissions": "rrw"}, "permissions"),
        ({"permissions": "rwx"}, "permissions"),
        ({"addresses": "192.0.2.9-192.0.2.1"}, "ip"),
        ({"addresses": "192.0.2.1-2001:db8::1"}, "ip"),
        ({"addresses": "192.0.2.0/24"}, "ip"),
    ],
)
def test_a_link_that_may_not_be_names_what_is_wrong(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_terms(terms(**wrong), NOW, None)
    assert set(caught.value.errors) == {field}


def test_a_link_may_live_two_years_and_no_longer_than_its_cases_data() -> None:
    check_terms(terms(expires_at=NOW + LONGEST), NOW, None)
    check_terms(terms(expires_at=NOW + DAY), NOW, NOW + DAY)
    with pytest.raises(Invalid, match="erased"):
        check_terms(terms(expires_at=NOW + DAY), NOW, NOW + DAY - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("changes", "address", "reason"),
    [
        ({}, "192.0.2.7", None),
        ({"revoked_at": NOW}, "192.0.2.7", "revoked"),
        ({"stamp_gone": True}, None, "stamp-deregistered"),
        ({"expires_at": NOW}, None, "expired"),
        ({"expires_at": NOW + timedelta(microseconds=1)}, None, None),
        ({"case_deadline": NOW}, None, "case-past-deadline"),
        ({"case_deadline": NOW + timedelta(microseconds=1)}, None, None),
        ({"starts_at": NOW + START_SKEW}, None, None),
        ({"starts_at": NOW + START_SKEW + timedelta(microseconds=1)}, None, "not-yet-valid"),
        ({"addresses": "192.0.2.8"}, "192.0.2.7", "address"),
        ({"addresses": "192.0.2.1-192.0.2.8"}, "192.0.2.7", None),
        ({"addresses": "192.0.2.8"}, None, None),
    ],
)
def test_what_the_record_says_decides(
    changes: dict[str, Any], address: str | None, reason: str | None
) -> None:
    denied = decide_use(facts(**changes), address, NOW)
    assert (denied.reason if denied else None) == reason


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_a_range_holds_what_lies_between_its_ends(
    low: IPv4Address, high: IPv4Address, seen: IPv4Address
) -> None:
    text = f"{low}-{high}"
    assert (read_range(text) is not None) == (low <= high)
    assert covers(text, str(seen)) == (low <= seen <= high)
    assert covers(text, f"::ffff:{seen}") == (low <= seen <= high)


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_makes_a_range_of_nonsense(addresses: str, seen: str) -> None:
    held = read_range(addresses)
    if held is None or not covers(addresses, seen):
        return
    assert held[0] <= ip_address(seen) <= held[1]  # type: ignore[operator]  # of one version


@pytest.mark.parametrize("seen", ["", "unknown", "10.0.0", "10.0.0.1:443", "[::1]"])
def test_what_is_no_address_is_in_no_range(seen: str) -> None:
    """A proxy in front may hand on anything; a link for one network is then not honoured, and nothing fails."""
    assert not covers("0.0.0.0-255.255.255.255", seen)


def collection(declared: Declared = Declared(), **changes: Any) -> Any:  # noqa: B008 - it is frozen
    usual: dict[str, Any] = {
        "type_": CollectionType.PROACTIVE,
        "trigger": "Urp.UpdateFailure",
        "roles": ("Compute",),
        "has_case": False,
        "blob_name": "a/b/logs.zip",
        "begun_at": NOW,
    }
    return collection_of(declared, **{**usual, **changes})


def test_without_metadata_the_link_says_what_a_blob_is() -> None:
    found = collection()
    assert (found.type, found.trigger, found.roles) == ("proactive", "Urp.UpdateFailure", ("Compute",))
    assert found.file_name == "logs.zip"
    assert (found.logs_start, found.logs_end, found.time_collected) == (NOW - ASSUMED_WINDOW, NOW, NOW)


def test_metadata_goes_before_the_link() -> None:
    said = Declared(logs_start=NOW - 2 * DAY, logs_end=NOW - DAY, roles=("Storage",), trigger="Other.Fault")
    found = collection(said)
    assert (found.logs_start, found.logs_end, found.time_collected) == (NOW - 2 * DAY, NOW - DAY, NOW - DAY)
    assert (found.roles, found.trigger) == (("Storage",), "Other.Fault")
    assert collection(Declared(roles=())).roles == ()


def test_a_blob_that_names_a_case_is_collected_on_demand_and_has_no_trigger_of_the_link() -> None:
    found = collection(Declared(case="1"), has_case=True)
    assert (found.type, found.trigger) == ("on-demand", None)
