"""What tus headers say: the pure part."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake_api.http.call_refused import CallRefused
from intake_api.tus import protocol
from retention.domain.faults import Invalid, TooLarge

_keys = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), min_size=1, max_size=12
)
_values = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(st.dictionaries(_keys, _values, max_size=8))
def test_metadata_reads_back_as_it_was_packed(pairs: dict[str, str]) -> None:
    assert protocol.parse_metadata(protocol.pack_metadata(pairs)) == pairs


@given(st.text(max_size=60))
def test_any_metadata_header_is_read_or_refused(header: str) -> None:
    try:
        read = protocol.parse_metadata(header)
    except Invalid:
        return
    assert protocol.parse_metadata(protocol.pack_metadata(read)) == read


@pytest.mark.parametrize("header", ["", "  "])
def test_an_empty_metadata_header_has_no_pairs(header: str) -> None:
    assert protocol.parse_metadata(header) == {}


def test_spaces_around_the_commas_do_no_harm() -> None:
    assert protocol.parse_metadata("a YQ== , b,c Yw==") == {"a": "a", "b": "", "c": "c"}


@pytest.mark.parametrize(
    "header",
    ["a YQ==,a YQ==", "a YQ==,", ",a YQ==", "a Y", "a Y!==", "ä YQ==", "a YQ== YQ==", "a " + "Y" * 20_000,
     "a " + base64.b64encode(b"\xff").decode()],
)  # fmt: skip
def test_malformed_metadata_is_refused(header: str) -> None:
    with pytest.raises(Invalid):
        protocol.parse_metadata(header)


@given(st.integers(0, 10**18 - 1))
def test_numbers_are_read(number: int) -> None:
    assert protocol.read_number({"Upload-Offset": str(number)}, "Upload-Offset") == number


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "0x1", "1 ", "١", "1" * 19])
def test_what_is_no_number_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(CallRefused) as told:
        protocol.read_number({"Upload-Offset": text}, "Upload-Offset")
    assert (told.value.code, told.value.reason) == ("malformed", "header-malformed")


def test_a_length_past_the_limit_is_too_large() -> None:
    assert protocol.check_announced({"Upload-Length": "10"}, 10) == 10
    with pytest.raises(TooLarge):
        protocol.check_announced({"Upload-Length": "11"}, 10)


def test_a_length_is_told_or_deferred_and_not_both() -> None:
    assert protocol.check_announced({"Upload-Defer-Length": "1"}, 10) is None
    for wrong in (
        {"Upload-Defer-Length": "0"},
        {"Upload-Defer-Length": "1", "Upload-Length": "3"},
        {},
    ):
        with pytest.raises(CallRefused) as told:
            protocol.check_announced(wrong, 10)
        assert told.value.code == "malformed"


def test_only_a_request_that_tells_a_length_has_it_checked() -> None:
    assert protocol.read_told({}, 10) is None
    assert protocol.read_told({"Upload-Length": "0"}, 10) == 0
    with pytest.raises(TooLarge):
        protocol.read_told({"Upload-Length": "11"}, 10)


@pytest.mark.parametrize(
    ("header", "partials"),
    [
        ("partial", None),
        (" partial ", None),
        ("final;/uploads/a", ("a",)),
        ("final; /uploads/b  https://host.example:8443/uploads/a", ("b", "a")),
        ("final;/uploads/a?x=1#y", ("a",)),
    ],
)
def test_a_concatenation_names_uploads_by_any_address(header: str, partials: tuple[str, ...] | None) -> None:
    concat = protocol.read_concat({"Upload-Concat": header, "Host": "host.example:8443"})
    assert concat is not None
    assert concat.partials == partials


@pytest.mark.parametrize(
    "header",
    ["", "final", "final;", "final; ", "partial;/uploads/a", "Final;/uploads/a", "final;/bundles/a",
     "final;/uploads/a/b", "final;/uploads/", "final;a", "final;http://[/uploads/a", "final;/uploads/" + "a" * 65],
)  # fmt: skip
def test_what_is_no_concatenation_is_refused(header: str) -> None:
    with pytest.raises(CallRefused) as told:
        protocol.read_concat({"Upload-Concat": header})
    assert told.value.code == "malformed"


@pytest.mark.parametrize(
    "more", [{"Upload-Length": "1"}, {"Upload-Defer-Length": "1"}, {"Content-Length": "1"}]
)
def test_a_final_upload_has_nothing_of_its_own(more: dict[str, str]) -> None:
    with pytest.raises(CallRefused) as told:
        protocol.read_concat({"Upload-Concat": "final;/uploads/a", **more})
    assert told.value.reason == "final-upload"


def test_an_upload_of_its_own_says_nothing_of_concatenation() -> None:
    assert protocol.read_concat({}) is None


def test_a_body_fits_the_room_or_is_too_large() -> None:
    headers = {"Content-Type": protocol.BODY_TYPE, "Content-Length": "10"}
    assert protocol.check_body(headers, 10) == 10
    with pytest.raises(TooLarge):
        protocol.check_body(headers, 9)


def test_a_body_of_another_type_or_of_unknown_length_is_refused() -> None:
    with pytest.raises(CallRefused) as told:
        protocol.check_body({"Content-Type": "application/json", "Content-Length": "1"}, 10)
    assert told.value.code == "unsupported-media-type"
    with pytest.raises(CallRefused) as told:
        protocol.check_body({"Content-Type": protocol.BODY_TYPE}, 10)
    assert told.value.code == "length-required"


@pytest.mark.parametrize(
    ("address", "host", "taken"),
    [
        ("/uploads/bun_a", "a.example", True),
        ("https://a.example/uploads/bun_a", "a.example", True),
        ("https://A.example:443/uploads/bun_a", "a.example", True),
        ("https://a.example:8443/uploads/bun_a", "a.example:8443", True),
        ("//a.example/uploads/bun_a", "a.example", True),
        ("https://b.example/uploads/bun_a", "a.example", False),
        ("https://a.example:8443/uploads/bun_a", "a.example", False),
        ("https://a.example@b.example/uploads/bun_a", "a.example", False),
        ("//b.example/uploads/bun_a", "a.example", False),
        ("https://a.example:x/uploads/bun_a", "a.example", False),
        ("https://a.example/uploads/bun_a", "", False),
    ],
)
def test_what_is_concatenated_is_of_this_service(address: str, host: str, taken: bool) -> None:
    headers = {"Upload-Concat": f"final;{address}", "Host": host}
    if taken:
        assert protocol.read_concat(headers) == protocol.Concat(("bun_a",))
        return
    with pytest.raises(CallRefused) as told:
        protocol.read_concat(headers)
    assert told.value.reason == "header-malformed"


def test_what_is_concatenated_may_be_named_by_the_services_own_origin() -> None:
    headers = {"Upload-Concat": "final;https://a.example/uploads/bun_a", "Host": "behind:8443"}
    assert protocol.read_concat(headers, "https://a.example") == protocol.Concat(("bun_a",))
    with pytest.raises(CallRefused):
        protocol.read_concat(headers, "https://b.example")


def test_a_chunked_body_of_upload_bytes_has_no_length_to_compare() -> None:
    assert (
        protocol.check_body({"Content-Type": protocol.BODY_TYPE, "Transfer-Encoding": "chunked"}, 0) is None
    )
    assert protocol.has_body({"Transfer-Encoding": "chunked"})
    assert not protocol.has_body({"Content-Length": "0"})


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "5", "Transfer-Encoding": "chunked"},
        {"Transfer-Encoding": "gzip, chunked"},
        {"Transfer-Encoding": "chunked,chunked"},
        {"Transfer-Encoding": ""},
        *({"Content-Length": text} for text in ("", "-1", "+5", "5, 5", "5,6", "0x5", "\u0665", "1" * 20)),
    ],
)
def test_a_body_has_one_framing_or_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(CallRefused) as told:
        protocol.check_framing(headers)
    assert told.value.code == "malformed"


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "0"}, {"Transfer-Encoding": "Chunked "}])
def test_one_framing_or_none_is_taken(headers: dict[str, str]) -> None:
    protocol.check_framing(headers)


@pytest.mark.parametrize("version", [None, "", "0.2.2", "1.0.0, 1.0.0"])
def test_another_version_is_refused_with_the_one_spoken(version: str | None) -> None:
    with pytest.raises(CallRefused) as told:
        protocol.check_version(version)
    assert told.value.headers == {"Tus-Version": "1.0.0"}


def test_http_dates_are_in_gmt() -> None:
    assert protocol.http_date(datetime(2026, 11, 21, 3, 4, 5, tzinfo=UTC)) == "Sat, 21 Nov 2026 03:04:05 GMT"
