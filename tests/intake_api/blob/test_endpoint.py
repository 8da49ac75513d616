"""The endpoint's answers, one by one: in the service's words, whatever is asked."""

from __future__ import annotations

import base64
import hashlib
import io
from datetime import timedelta
from urllib.parse import quote, urlsplit

import pytest
from azure.storage.blob._shared.streams import StructuredMessageEncodeStream, StructuredMessageProperties
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intake_api.blob.crc64 import crc64_of
from intake_api.blob.structured import KIND
from tests.intake_api.blob.calling import Sender, block_id, block_list, code, issue, sender, tree
from tests.service import CASE, CASE_SYSTEM, OPERATOR, Service


@pytest.fixture
def by(service: Service) -> Sender:
    return sender(service)


def bundles(by: Sender) -> list[dict[str, object]]:
    by.service.tick()
    return list(by.service.done("GET", "/bundles", OPERATOR)["items"])


def test_a_blob_in_one_piece_is_a_bundle_of_its_case(by: Sender) -> None:
    sent = by.put("folder/logs ü.zip", b"log " * 64, **{"x-ms-meta-roles": "Compute,Storage"})
    assert sent.status_code == 201
    assert sent.headers["x-ms-content-crc64"] == crc64_of(b"log " * 64)
    (bundle,) = bundles(by)
    assert bundle["file_name"] == "logs ü.zip"
    assert bundle["blob_name"] == "folder/logs ü.zip"
    assert (bundle["case"], bundle["state"], bundle["type"]) == (CASE, "complete", "on-demand")
    assert (bundle["roles"], bundle["link"]) == (["Compute", "Storage"], by.link)
    assert bundle["client_encrypted"] is False
    assert by.service.done("GET", f"/bundles/{bundle['id']}/receipt", OPERATOR)["receipt"]["size"] == 256


def test_blocks_are_listed_until_and_after_the_commit(by: Sender) -> None:
    for number, data in ((2, b"second"), (1, b"first "), (3, b"unused")):
        assert by.stage(number, data).status_code == 201
    waiting = by.call("GET", query="comp=blocklist&blocklisttype=all")
    assert "ETag" not in waiting.headers
    names = [e.text for e in tree(waiting.data).findall("UncommittedBlocks/Block/Name")]
    assert names == [block_id(1), block_id(2), block_id(3)]
    assert code(by.call("HEAD")) == (404, "BlobNotFound")
    done = by.commit(1, 2)
    assert done.status_code == 201
    shown = by.call("GET", query="comp=blocklist&blocklisttype=all")
    assert shown.headers["ETag"] == done.headers["ETag"]
    found = [
        (e.findtext("Name"), e.findtext("Size")) for e in tree(shown.data).findall("CommittedBlocks/Block")
    ]
    assert found == [(block_id(1), "6"), (block_id(2), "6")]
    assert tree(shown.data).findall("UncommittedBlocks/Block") == []
    assert tree(by.call("GET", query="comp=blocklist").data).find("UncommittedBlocks") is None
    head = by.call("HEAD")
    assert (head.status_code, head.headers["Content-Length"], head.data) == (200, "12", b"")
    assert head.headers["ETag"] == done.headers["ETag"]


def test_a_sender_is_told_its_bundle_and_handed_its_receipt_once_there_is_one(service: Service) -> None:
    by = sender(service, permissions="rcw")
    assert by.stage(1, b"a").status_code == 201
    waiting = by.call("GET", query="comp=blocklist&blocklisttype=all").headers["x-casevault-bundle"]
    assert code(by.call("GET", query="comp=receipt")) == (404, "BlobNotFound")  # nothing was committed
    assert by.commit(1).headers["x-casevault-bundle"] == waiting
    assert code(by.call("GET", query="comp=receipt")) == (404, "BlobNotFound")  # not read back yet
    (bundle,) = bundles(by)
    assert bundle["id"] == waiting
    got = by.call("GET", query="comp=receipt")
    assert got.status_code == 200
    assert got.json == service.done("GET", f"/bundles/{waiting}/receipt", OPERATOR)
    other = sender(service)
    assert code(other.call("GET", query="comp=receipt")) == (404, "BlobNotFound")  # of one's own link only
    unseeing = sender(service, permissions="cw")
    unseeing.put()
    refused = code(unseeing.call("GET", query="comp=receipt"))
    assert refused == (403, "AuthorizationPermissionMismatch")


def test_a_damaged_bundle_has_no_receipt_and_its_sender_is_told(by: Sender) -> None:
    assert by.put(**{"x-ms-meta-sha256": "0" * 64}).status_code == 201
    (bundle,) = bundles(by)
    assert bundle["state"] == "damaged"
    answer = by.call("GET", query="comp=receipt")
    assert code(answer) == (400, "InvalidBlobOrBlock") and b"have it erased" in answer.data


def test_a_collection_told_with_the_first_block_is_refused_before_the_others_come(by: Sender) -> None:
    refused = by.stage(1, b"a", **{"x-ms-meta-case": "999999999999999"})
    assert code(refused) == (400, "InvalidMetadata") and b"there is no case" in refused.data
    assert code(by.call("GET", query="comp=blocklist")) == (404, "BlobNotFound")


def test_the_same_commit_again_is_answered_as_the_first(by: Sender) -> None:
    by.stage(1, b"a")
    new = {"If-None-Match": "*"}
    answers = [by.commit(1, **new), by.commit(1, **new), by.commit(1)]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert len({answer.headers["ETag"] for answer in answers}) == 1


def test_a_signature_never_reads_content(by: Sender) -> None:
    by.put(data=b"secret words")
    for headers in ({}, {"Range": "bytes=0-3"}, {"x-ms-range": "bytes=0-3"}):
        answer = by.call("GET", headers=headers)
        assert code(answer) == (403, "AuthorizationPermissionMismatch")
        assert b"secret" not in answer.data
    assert b"secret" not in by.call("HEAD").data


def test_a_blob_that_is_there_is_not_overwritten(by: Sender) -> None:
    by.put()
    assert code(by.put(**{"If-None-Match": "*"})) == (409, "BlobAlreadyExists")
    assert code(by.put()) == (409, "BlobImmutableDueToPolicy")
    assert code(by.stage(1, b"x")) == (409, "BlobAlreadyExists")
    assert code(by.commit(1, **{"If-None-Match": "*"})) == (409, "BlobAlreadyExists")
    assert code(by.commit(1)) == (409, "BlobImmutableDueToPolicy")


def test_what_is_not_complete_can_be_given_up_and_nothing_else(service: Service) -> None:
    by = sender(service, permissions="rcwd")
    by.stage(1, b"x")
    assert by.call("DELETE").status_code == 202
    assert code(by.call("DELETE")) == (404, "BlobNotFound")
    by.put()
    assert code(by.call("DELETE")) == (409, "BlobImmutableDueToPolicy")
    assert {bundle["state"] for bundle in bundles(by)} == {"erased", "complete"}


@pytest.mark.parametrize("comp", ["", "comp=block&blockid=QUFBQQ=="])
def test_sums_are_checked_before_bytes_count(by: Sender, comp: str) -> None:
    data, kind = b"what was meant", {"x-ms-blob-type": "BlockBlob"}
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()  # noqa: S324 - the service's checksum
    wrong = base64.b64encode(bytes(16)).decode()

    def put(**sums: str) -> tuple[int, str]:
        answer = by.call("PUT", "a", comp, data, {**kind, **sums})
        return (201, "") if answer.status_code == 201 else code(answer)

    assert put(**{"Content-MD5": wrong}) == (400, "Md5Mismatch")
    assert put(**{"Content-MD5": "AA=="}) == (400, "InvalidMd5")
    assert put(**{"x-ms-content-crc64": base64.b64encode(bytes(8)).decode()}) == (400, "Crc64Mismatch")
    assert put(**{"x-ms-content-crc64": "AA=="}) == (400, "InvalidHeaderValue")
    assert put(**{"Content-MD5": md5, "x-ms-content-crc64": crc64_of(data)}) == (400, "InvalidInput")
    left = by.call("GET", "a", "comp=blocklist&blocklisttype=all")
    assert left.status_code == 404 or tree(left.data).findall(".//Block") == []
    if comp:
        assert put(**{"Content-MD5": md5}) == (201, "")
    assert put(**{"x-ms-content-crc64": crc64_of(data)}) == (201, "")


def structured(data: bytes, segment: int = 5) -> tuple[bytes, dict[str, str]]:
    """Content as Azure's own library sends it with a sum behind each segment, and the headers that say so."""
    stream = StructuredMessageEncodeStream(
        io.BytesIO(data), len(data), StructuredMessageProperties.CRC64, segment_size=segment
    )
    return stream.read(), {"x-ms-structured-body": KIND, "x-ms-structured-content-length": str(len(data))}


@pytest.mark.parametrize("comp", ["", "comp=block&blockid=QUFBQQ=="])
def test_a_structured_body_brings_its_content_when_every_sum_is_right(by: Sender, comp: str) -> None:
    message, told = structured(b"what was meant")
    kind = {"x-ms-blob-type": "BlockBlob"}
    changed = bytearray(message)
    changed[30] ^= 1

    def put(body: bytes, **headers: str) -> tuple[int, str]:
        answer = by.call("PUT", "a", comp, body, {**kind, **told, **headers})
        return (201, "") if answer.status_code == 201 else code(answer)

    assert put(bytes(changed)) == (400, "Crc64Mismatch")
    assert put(b"\x02" + message[1:]) == (400, "InvalidStructuredMessage")
    assert put(message + b"x") == (400, "InvalidHeaderValue")
    assert put(message, **{"x-ms-structured-content-length": "13"}) == (400, "InvalidHeaderValue")
    assert put(message, **{"x-ms-structured-content-length": "many"}) == (400, "InvalidHeaderValue")
    assert put(message, **{"x-ms-structured-body": "XSM/2.0"}) == (400, "InvalidHeaderValue")
    assert put(message, **{"x-ms-content-crc64": crc64_of(message)}) == (400, "InvalidInput")
    assert put(message, **{"Content-MD5": base64.b64encode(bytes(16)).decode()}) == (400, "InvalidInput")
    left = by.call("GET", "a", "comp=blocklist&blocklisttype=all")
    assert left.status_code == 404 or tree(left.data).findall(".//Block") == []
    answer = by.call("PUT", "a", comp, message, {**kind, **told})
    assert (answer.status_code, answer.headers["x-ms-structured-body"]) == (201, KIND)
    assert answer.headers["x-ms-content-crc64"] == crc64_of(b"what was meant")
    if comp:
        one = b"<BlockList><Latest>QUFBQQ==</Latest></BlockList>"
        assert by.call("PUT", "a", "comp=blocklist", one).status_code == 201
    (bundle,) = [found for found in bundles(by) if found["state"] == "complete"]
    assert (bundle["size"], bundle["sha256"]) == (14, hashlib.sha256(b"what was meant").hexdigest())


def test_a_structured_body_that_is_cut_leaves_nothing(by: Sender) -> None:
    message, told = structured(b"what was meant")
    cut = by.call(
        "PUT",
        "a",
        "",
        message[:-1],
        {"x-ms-blob-type": "BlockBlob", **told},
        CONTENT_LENGTH=str(len(message)),
    )
    assert code(cut) == (500, "OperationTimedOut")
    assert code(by.call("HEAD", "a")) == (404, "BlobNotFound")


@pytest.mark.parametrize(
    "name",
    [
        "x-ms-copy-source",
        "x-ms-lease-id",
        "x-ms-encryption-key",
        "x-ms-encryption-scope",
        "x-ms-access-tier",
        "x-ms-tags",
        "x-ms-if-tags",
        "x-ms-immutability-policy-mode",
        "x-ms-legal-hold",
    ],
)
def test_a_promise_that_is_not_kept_here_is_refused_and_not_passed_over(by: Sender, name: str) -> None:
    by.stage(1, b"x")
    refused = (400, "UnsupportedHeader")
    assert code(by.put("b.zip", **{name: "1"})) == refused
    assert code(by.stage(2, b"y", **{name: "1"})) == refused
    assert code(by.commit(1, **{name: "1"})) == refused
    assert code(by.commit(1, **{"x-ms-structured-body": KIND})) == refused
    assert by.commit(1).status_code == 201


def test_crc64_is_the_services(by: Sender) -> None:
    assert (
        base64.b64decode(crc64_of(b"123456789")) == bytes.fromhex("ae8b14860a799888")[::-1]
    )  # CRC-64/NVME's check


@pytest.mark.parametrize(
    ("method", "query", "headers", "expected"),
    [
        ("PUT", "comp=block", {}, (400, "MissingRequiredQueryParameter")),
        ("PUT", "comp=block&blockid=%00", {}, (400, "InvalidQueryParameterValue")),
        ("PUT", "", {}, (400, "UnsupportedHeader")),
        ("PUT", "", {"x-ms-blob-type": "PageBlob"}, (400, "UnsupportedHeader")),
        ("PUT", "comp=block&blockid=QUFBQQ==", {"x-ms-copy-source": "https://a"}, (400, "UnsupportedHeader")),
        ("PUT", "comp=blocklist", {}, (400, "InvalidXmlDocument")),
        ("PUT", "comp=tier", {}, (400, "UnsupportedQueryParameter")),
        ("POST", "", {}, (405, "UnsupportedHttpVerb")),
        ("GET", "comp=blocklist&blocklisttype=some", {}, (400, "InvalidQueryParameterValue")),
        ("GET", "comp=blocklist", {}, (404, "BlobNotFound")),
        ("HEAD", "", {}, (404, "BlobNotFound")),
        ("PUT", "", {"x-ms-blob-type": "BlockBlob", "x-ms-meta-type": "x"}, (400, "InvalidMetadata")),
        ("PUT", "", {"x-ms-blob-type": "BlockBlob", "x-ms-meta-1a": "x"}, (400, "InvalidMetadata")),
        ("PUT", "", {"x-ms-blob-type": "BlockBlob", "x-ms-meta-a": "x" * 9000}, (400, "MetadataTooLarge")),
        ("PUT", "", {"x-ms-blob-type": "BlockBlob", "If-Match": "*"}, (412, "ConditionNotMet")),
    ],
)
def test_what_is_wrong_is_told_in_the_services_words(
    by: Sender, method: str, query: str, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    assert code(by.call(method, "a.zip", query, b"x" if method == "PUT" else None, headers)) == expected


def test_metadata_that_names_a_case_is_held_to_the_link(by: Sender) -> None:
    assert by.put("a.zip", **{"x-ms-meta-case": CASE}).status_code == 201
    for number in ("260101000000002", "999999999999999"):
        assert code(by.put("b.zip", **{"x-ms-meta-case": number})) == (400, "InvalidMetadata")


def test_sizes_are_told_and_bounded(by: Sender) -> None:
    kind = {"x-ms-blob-type": "BlockBlob"}
    assert code(by.call("PUT", headers=kind, CONTENT_LENGTH="5242880001")) == (413, "RequestBodyTooLarge")
    block = f"comp=block&blockid={quote(block_id(1))}"
    assert code(by.call("PUT", query=block, CONTENT_LENGTH="0")) == (400, "InvalidHeaderValue")
    assert code(by.call("PUT", query=block, CONTENT_LENGTH="4194304001")) == (413, "RequestBodyTooLarge")
    assert code(by.call("PUT", headers=kind, CONTENT_LENGTH="-1")) == (400, "InvalidHeaderValue")
    chunked = {**kind, "Transfer-Encoding": "chunked"}
    assert code(by.call("PUT", data=b"x", headers=chunked)) == (411, "MissingContentLengthHeader")


def test_a_body_that_is_cut_leaves_nothing(by: Sender) -> None:
    cut = by.call("PUT", data=b"abc", headers={"x-ms-blob-type": "BlockBlob"}, CONTENT_LENGTH="10")
    assert code(cut) == (500, "OperationTimedOut")
    assert code(by.call("HEAD")) == (404, "BlobNotFound")
    assert by.put().status_code == 201


@pytest.mark.parametrize(
    "name", ["..", "a/.", "a\\b.zip", "a\x00b", "folder/", "x" * 256, "a/" * 600 + "b", "a\u202eb", "  "]
)
def test_a_name_that_cannot_be_kept_is_refused(by: Sender, name: str) -> None:
    assert code(by.put(name)) == (400, "InvalidResourceName")


def test_every_answer_says_who_asked_and_which_it_was(by: Sender) -> None:
    asked = {"x-ms-client-request-id": "mine-1", "x-ms-version": "2099-01-01"}
    for answer in (by.put(**asked), by.call("HEAD", "none", headers=asked)):
        assert answer.headers["x-ms-client-request-id"] == "mine-1"
        assert answer.headers["x-ms-version"] == "2099-01-01"
        assert len(answer.headers["x-ms-request-id"]) == 36
        assert answer.headers["Cache-Control"] == "no-store"
    hostile = {"x-ms-client-request-id": "a\x7fb", "x-ms-version": "x" * 2000}
    answer = by.call("HEAD", headers=hostile)
    assert "x-ms-client-request-id" not in answer.headers
    assert answer.headers["x-ms-version"] == "2023-11-03"


def test_conditions_of_a_read_are_honoured(by: Sender) -> None:
    etag = by.put().headers["ETag"]
    assert by.call("HEAD", headers={"If-None-Match": etag}).status_code == 304
    assert by.call("HEAD", headers={"If-None-Match": '"other"'}).status_code == 200
    assert by.call("HEAD", headers={"If-Match": '"other"'}).status_code == 412
    assert by.call("HEAD", headers={"If-Match": etag}).status_code == 200
    assert (
        by.call("HEAD", headers={"If-Unmodified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}).status_code == 412
    )
    assert by.call("HEAD", headers={"If-Modified-Since": "Tue, 01 Jan 2999 00:00:00 GMT"}).status_code == 304


def test_what_the_sender_sets_is_told_again(by: Sender) -> None:
    secret = '{"WrappedContentKey":{"KeyId":"k"}}'
    by.put(
        **{
            "x-ms-meta-encryptiondata": secret,
            "x-ms-blob-content-type": "application/zip",
            "x-ms-blob-content-md5": "AAAA",
        }
    )
    head = by.call("HEAD").headers
    assert head["x-ms-meta-encryptiondata"] == secret
    assert (head["Content-Type"], head["Content-MD5"]) == ("application/zip", "AAAA")
    (bundle,) = bundles(by)
    assert bundle["client_encrypted"] is True
    assert bundle["metadata"] == {"encryptiondata": secret}


def test_a_property_that_its_sender_sets_is_told_instead_of_the_services_own(by: Sender) -> None:
    assert by.call("HEAD", "none").headers["Cache-Control"] == "no-store"
    by.put(**{"x-ms-blob-cache-control": "max-age=60"})
    assert by.call("HEAD").headers["Cache-Control"] == "max-age=60"


def test_the_md5_that_a_blob_came_with_stays_with_it(by: Sender) -> None:
    sent, other = base64.b64encode(hashlib.md5(b"x").digest()).decode(), base64.b64encode(bytes(16)).decode()  # noqa: S324 - the service's checksum
    by.put("a", b"x", **{"Content-MD5": sent})
    assert by.call("HEAD", "a").headers["Content-MD5"] == sent
    by.put("b", b"x", **{"Content-MD5": sent, "x-ms-blob-content-md5": other})
    assert by.call("HEAD", "b").headers["Content-MD5"] == other
    by.put("c", b"x")
    assert "Content-MD5" not in by.call("HEAD", "c").headers


@pytest.mark.parametrize("how", ["put", "list"])
def test_an_empty_blob_is_an_empty_bundle(by: Sender, how: str) -> None:
    for _ in range(2):  # an answer that was lost
        sent = by.put("e.log", b"") if how == "put" else by.commit(blob="e.log")
        assert sent.status_code == 201
    shown = by.call("HEAD", "e.log")
    assert (shown.status_code, shown.headers["Content-Length"]) == (200, "0")
    (bundle,) = bundles(by)
    assert (bundle["file_name"], bundle["state"], bundle["size"]) == ("e.log", "complete", 0)
    assert bundle["sha256"] == hashlib.sha256(b"").hexdigest()
    assert by.call("GET", "e.log", "comp=receipt").status_code == 200
    assert b"<Content-Length>0</Content-Length>" in by.call("GET", None, "restype=container&comp=list").data


def test_a_head_that_fails_has_no_body_and_no_type_of_one(by: Sender) -> None:
    answer = by.call("HEAD", "nothing-here")
    assert (answer.status_code, answer.data) == (404, b"")
    assert "Content-Type" not in answer.headers


def test_an_empty_blobs_sum_is_checked(by: Sender) -> None:
    wrong = base64.b64encode(hashlib.md5(b"x", usedforsecurity=False).digest()).decode()
    assert code(by.put("e.log", b"", **{"Content-MD5": wrong})) == (400, "Md5Mismatch")
    assert code(by.call("HEAD", "e.log")) == (404, "BlobNotFound")
    right = base64.b64encode(hashlib.md5(b"", usedforsecurity=False).digest()).decode()
    assert by.put("e.log", b"", **{"Content-MD5": right}).headers["Content-MD5"] == right


@pytest.mark.parametrize("how", ["put", "blocks"])
def test_an_empty_blob_gives_way_to_what_is_sent_under_its_name(by: Sender, how: str) -> None:
    """pyarrow, and what starts a name over, make an empty blob first."""
    assert by.put("a.zip", b"").status_code == 201
    assert code(by.put("a.zip", b"logs", **{"If-None-Match": "*"})) == (409, "BlobAlreadyExists")
    if how == "put":
        assert by.put("a.zip", b"logs").status_code == 201
    else:
        assert by.stage(1, b"logs").status_code == 201
        assert by.commit(1).status_code == 201
    found = bundles(by)
    assert sorted((bundle["state"], bundle["size"]) for bundle in found) == [("complete", 4), ("erased", 0)]
    assert code(by.put("a.zip", b"")) == (409, "BlobImmutableDueToPolicy")
    assert code(by.commit()) == (409, "BlobImmutableDueToPolicy")


def test_an_empty_list_starts_a_name_over(by: Sender) -> None:
    """As in Azure: rclone does so when another client's uncommitted blocks are in its way."""
    by.stage(1, b"another client's")
    other = quote(base64.b64encode(b"longer-than-five").decode())
    refused = by.call("PUT", "a.zip", f"comp=block&blockid={other}", b"x")
    assert code(refused) == (400, "InvalidBlobOrBlock")
    reason = tree(refused.data).findtext("Reason") or ""
    assert "have 8" in reason and "has 24 characters" in reason and "empty block list" in reason
    assert by.commit().status_code == 201
    assert by.call("PUT", "a.zip", f"comp=block&blockid={other}", b"x").status_code == 201
    listed = f"<BlockList><Latest>{base64.b64encode(b'longer-than-five').decode()}</Latest></BlockList>"
    assert by.call("PUT", "a.zip", "comp=blocklist", listed.encode()).status_code == 201


def test_an_empty_blob_is_deleted_by_who_may(service: Service) -> None:
    by = sender(service, permissions="rcwd")
    by.put("a.zip", b"")
    assert by.call("DELETE").status_code == 202
    assert code(by.call("HEAD")) == (404, "BlobNotFound")
    assert by.put("a.zip").status_code == 201
    assert code(by.call("DELETE")) == (409, "BlobImmutableDueToPolicy")


@pytest.mark.parametrize("comp", ["metadata", "properties"])
def test_what_stands_beside_a_sealed_blob_is_not_changed(by: Sender, comp: str) -> None:
    """What `touch` and the like ask for."""
    assert code(by.call("PUT", "a.zip", f"comp={comp}", b"", {"x-ms-meta-a": "b"})) == (404, "BlobNotFound")
    by.stage(1, b"x")
    assert code(by.call("PUT", "a.zip", f"comp={comp}", b"")) == (404, "BlobNotFound")
    by.commit(1)
    by.put("e.log", b"")
    for name in ("a.zip", "e.log"):
        answer = by.call("PUT", name, f"comp={comp}", b"", {"x-ms-meta-mtime": "2026-01-01"})
        assert code(answer) == (409, "BlobImmutableDueToPolicy")


def test_a_link_makes_and_removes_no_container(service: Service) -> None:
    by = sender(service, permissions="rcwdl")
    for method in ("PUT", "DELETE"):
        assert code(by.call(method, None, "restype=container")) == (403, "AuthorizationPermissionMismatch")
    assert by.call("GET", None, "restype=container").status_code == 200


def test_blobs_are_listed_a_page_at_a_time(by: Sender) -> None:
    names = ["a", "b/1", "b/2", "ü & <x>"]
    for name in names:
        by.put(name, **{"x-ms-meta-k": "v"})
    by.stage(1, b"x", "b/waiting")

    def listed(query: str) -> tuple[list[str | None], str]:
        answer = by.call("GET", None, f"restype=container&comp=list{query}")
        assert answer.status_code == 200, answer.data
        found = tree(answer.data)
        return [e.text for e in found.findall("Blobs/Blob/Name")], found.findtext("NextMarker") or ""

    assert listed("") == (names, "")
    assert listed("&prefix=b/") == (["b/1", "b/2"], "")
    assert listed("&prefix=b/&include=uncommittedblobs") == (["b/1", "b/2", "b/waiting"], "")
    first, marker = listed("&maxresults=3")
    assert (first, listed(f"&maxresults=3&marker={quote(marker)}")) == (names[:3], (names[3:], ""))
    shown = tree(by.call("GET", None, "restype=container&comp=list&include=metadata").data)
    assert [e.text for e in shown.findall("Blobs/Blob/Metadata/k")] == ["v"] * 4


def entries(by: Sender, query: str) -> tuple[list[tuple[str, str | None]], str]:
    """The kind and name of each entry of a list, and the marker of the next page."""
    found = tree(by.call("GET", None, f"restype=container&comp=list{query}").data)
    listed = found.find("Blobs")
    assert listed is not None
    return [(e.tag, e.findtext("Name")) for e in listed], found.findtext("NextMarker") or ""


def test_with_a_delimiter_what_begins_alike_is_told_as_one_name(by: Sender) -> None:
    for name in ("a", "b/1", "b/2/x", "b/2/y", "b/3", "b-c", "c/1"):
        by.put(name)
    by.stage(1, b"x", "d/waiting")
    assert entries(by, "&delimiter=/")[0] == [
        ("Blob", "a"),
        ("Blob", "b-c"),
        ("BlobPrefix", "b/"),
        ("BlobPrefix", "c/"),
    ]
    inside = [("Blob", "b/1"), ("BlobPrefix", "b/2/"), ("Blob", "b/3")]
    assert entries(by, "&delimiter=/&prefix=b/")[0] == inside
    assert entries(by, "&delimiter=/&prefix=b")[0] == [("Blob", "b-c"), ("BlobPrefix", "b/")]
    assert entries(by, "&delimiter=2/&prefix=b/")[0] == inside
    assert entries(by, "&delimiter=/&include=uncommittedblobs")[0][-1] == ("BlobPrefix", "d/")
    told = tree(by.call("GET", None, "restype=container&comp=list&delimiter=/").data)
    assert told.findtext("Delimiter") == "/"


@given(
    names=st.sets(st.text("ab/", min_size=1, max_size=6).filter(lambda name: not name.endswith("/"))),
    prefix=st.text("ab/", max_size=3),
    delimiter=st.sampled_from(["", "/", "b", "a/"]),
    most=st.integers(1, 4),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_of_any_size_tell_the_same_list(
    service: Service, names: set[str], prefix: str, delimiter: str, most: int
) -> None:
    by = sender(service)
    for name in names:
        assert by.put(name).status_code == 201
    expected = set()
    for name in names:
        if name.startswith(prefix):
            end = name.find(delimiter, len(prefix)) if delimiter else -1
            expected.add(("Blob", name) if end < 0 else ("BlobPrefix", name[: end + len(delimiter)]))
    query, marker, listed = f"&prefix={quote(prefix)}&delimiter={quote(delimiter)}&maxresults={most}", "", []
    while True:
        page, marker = entries(by, f"{query}&marker={quote(marker)}")
        assert len(page) == most or not marker
        listed += page
        if not marker:
            break
    assert listed == sorted(expected, key=lambda entry: entry[1])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("restype=container&comp=list&maxresults=0", (400, "OutOfRangeQueryParameterValue")),
        ("restype=container&comp=list&maxresults=x", (400, "InvalidQueryParameterValue")),
        ("restype=container&comp=list&marker=%3F", (400, "InvalidQueryParameterValue")),
        ("restype=container&comp=list&include=secrets", (400, "InvalidQueryParameterValue")),
        ("restype=container&comp=list&prefix=a%00", (400, "InvalidQueryParameterValue")),
        ("restype=container&comp=list&delimiter=%01", (400, "InvalidQueryParameterValue")),
        ("restype=container&comp=list&marker=AGE%3D", (400, "InvalidQueryParameterValue")),
        ("restype=container&comp=acl", (400, "UnsupportedQueryParameter")),
        ("restype=container&comp=list&endBefore=b", (400, "UnsupportedQueryParameter")),
        ("restype=container&comp=list&startFrom=%00", (400, "InvalidQueryParameterValue")),
        ("restype=container&comp=list&showonly=deleted", (400, "UnsupportedQueryParameter")),
        ("comp=list", (400, "InvalidUri")),
        ("sp=r", (400, "InvalidQueryParameterValue")),
    ],
)
def test_a_list_that_cannot_be_given_says_why(by: Sender, query: str, expected: tuple[int, str]) -> None:
    assert code(by.call("GET", None, query)) == expected


@pytest.mark.parametrize("name", ["startFrom", "startfrom"])
def test_a_list_begins_where_it_is_asked_to(by: Sender, name: str) -> None:
    for blob in ("a", "b/1", "b/2", "c"):
        assert by.put(blob).status_code == 201

    def names(query: str) -> list[str]:
        listed = by.call("GET", None, f"restype=container&comp=list&{query}")
        return [found.text or "" for found in tree(listed.data).findall("Blobs//Name")]

    assert names(f"{name}=b/1") == ["b/1", "b/2", "c"]
    assert names(f"{name}=b/10&prefix=b") == ["b/2"]
    assert names(f"{name}=b&delimiter=/") == ["b/", "c"]
    assert names(f"{name}=z") == []


def test_nothing_is_deleted_by_the_batch(service: Service) -> None:
    by = sender(service, permissions="rcwdl")
    by.put()
    kind = {"Content-Type": "multipart/mixed; boundary=x"}
    batch = by.call("POST", None, "restype=container&comp=batch", b"--x--", kind)
    assert code(batch) == (403, "AuthorizationPermissionMismatch")
    assert by.call("HEAD").status_code == 200
    assert service.entries(action="upload-link.refused")[0]["reason"] == "permission"


def test_in_blocks_too_a_blob_that_is_there_is_said_to_exist(by: Sender) -> None:
    by.put(data=b"first")
    assert code(by.stage(1, b"second")) == (409, "BlobAlreadyExists")
    assert code(by.commit(1, **{"If-None-Match": "*"})) == (409, "BlobAlreadyExists")
    assert code(by.commit(1)) == (409, "BlobImmutableDueToPolicy")


def test_put_blob_keeps_its_own_properties_unless_the_blobs_are_named(by: Sender) -> None:
    own = {
        "Content-Type": "text/plain",
        "Content-Encoding": "gzip",
        "Content-Language": "en",
        "Cache-Control": "no-cache",
    }
    by.put("a", **own)
    assert {name: by.call("HEAD", "a").headers[name] for name in own} == own
    by.put("b", **own, **{"x-ms-blob-content-type": "application/zip", "x-ms-blob-cache-control": "no-store"})
    told = by.call("HEAD", "b").headers
    assert (told["Content-Type"], told["Cache-Control"], told["Content-Encoding"]) == (
        "application/zip",
        "no-store",
        "gzip",
    )
    by.stage(1, b"data", "c", **own)
    by.commit(1, blob="c", **own)  # a list's own type is that of a list
    assert by.call("HEAD", "c").headers["Content-Type"] == "application/octet-stream"
    assert code(by.put("d", **{"Content-Encoding": "g\u00e9"})) == (400, "InvalidHeaderValue")


@pytest.mark.parametrize(
    "announced",
    [
        {"Content-MD5": base64.b64encode(bytes(16)).decode()},
        {"x-ms-content-crc64": base64.b64encode(bytes(8)).decode()},
    ],
)
def test_a_blob_that_is_not_what_was_announced_leaves_nothing_in_the_list(
    service: Service, announced: dict[str, str]
) -> None:
    by = sender(service)
    assert by.put("a", b"data", **announced).status_code == 400
    assert service.done("GET", "/bundles", OPERATOR)["items"] == []
    service.tick()
    assert service.done("GET", "/bundles", OPERATOR)["items"] == []
    (erased,) = service.entries(action="bundle.erased")  # the log has it
    stone = service.done("GET", f"/bundles/{erased['bundle']}", OPERATOR)
    assert (stone["state"], stone["erased_cause"]) == ("erased", "nothing-came")
    assert (
        service.custody.objects.remains(erased["bundle"])
        == service.custody.keys.remains(erased["bundle"])
        == []
    )
    assert by.put("a", b"data").status_code == 201
    service.tick()
    (one,) = service.done("GET", "/bundles", OPERATOR)["items"]
    assert (one["state"], one["size"]) == ("complete", 4)


def test_a_wrong_blob_takes_no_blocks_of_others_along(service: Service) -> None:
    by = sender(service)
    by.stage(1, b"theirs", "a")
    wrong = {"Content-MD5": base64.b64encode(bytes(16)).decode()}
    assert code(by.put("a", b"data", **wrong)) == (400, "Md5Mismatch")
    assert by.commit(1, blob="a").status_code == 201


def test_the_container_is_there(by: Sender) -> None:
    for method in ("GET", "HEAD"):
        answer = by.call(method, None, "restype=container")
        assert (answer.status_code, answer.data) == (200, b"")
        assert answer.headers["ETag"]


def test_who_may_not_come_in_is_told_so_and_logged(service: Service) -> None:
    by = sender(service)
    assert code(by.call("HEAD", sas="")) == (401, "NoAuthenticationInformation")
    assert code(by.call("HEAD", sas=by.sas.replace("sp=rcwl", "sp=rcwdl"))) == (403, "AuthenticationFailed")
    assert code(by.call("HEAD", **{"wsgi.url_scheme": "http"})) == (403, "AuthorizationProtocolMismatch")
    told = [(e["reason"], e.get("subject")) for e in service.entries(action="upload-link.refused")]
    assert told == [("protocol", by.link), ("signature", by.link), ("no-signature", None)]
    assert by.sas not in str(service.entries())


def test_a_link_that_was_never_issued_fails_as_a_wrong_signature_does(service: Service) -> None:
    by = sender(service)
    wrong = code(by.call("HEAD", sas=by.sas[:-8]))
    by.address = by.address[:-3] + "aaa"
    assert code(by.call("HEAD")) == wrong == (403, "AuthenticationFailed")
    (entry, _) = service.entries(action="upload-link.refused")
    assert "subject" not in entry


def test_addresses_are_held_to(service: Service) -> None:
    by = sender(service, ip="192.0.2.1-192.0.2.6")
    assert code(by.put()) == (403, "AuthorizationSourceIPMismatch")
    assert by.call("HEAD", REMOTE_ADDR="192.0.2.6").status_code == 404


def test_permissions_are_held_to(service: Service) -> None:
    only_list, only_create = sender(service, permissions="l"), sender(service, permissions="c")
    refused = (403, "AuthorizationPermissionMismatch")
    assert code(only_list.put()) == code(only_list.call("HEAD")) == refused
    assert only_list.call("GET", None, "restype=container&comp=list").status_code == 200
    assert only_create.put().status_code == 201
    assert code(only_create.call("GET", None, "restype=container&comp=list")) == refused
    assert code(only_create.call("HEAD")) == code(only_create.call("DELETE")) == refused


def test_time_ends_a_link_and_so_does_revoking(service: Service) -> None:
    late, revoked = sender(service), sender(service)
    service.done("POST", f"/upload-links/{revoked.link}/revoke", OPERATOR)
    assert code(revoked.put()) == (403, "AuthenticationFailed")
    service.advance(timedelta(days=1))
    assert code(late.put()) == (403, "AuthenticationFailed")
    early = sender(
        service,
        starts_at=(service.clock.now() + timedelta(hours=1)).isoformat(),
    )
    assert code(early.put()) == (403, "AuthenticationFailed")
    service.advance(timedelta(minutes=50))
    assert early.put().status_code == 201


def test_a_link_ends_with_its_cases_data(service: Service) -> None:
    by = Sender(
        service, issue(service, expires_at=(service.clock.now() + timedelta(days=300)).isoformat())["url"]
    )
    service.done("POST", f"/cases/{CASE}/close", CASE_SYSTEM, json={})
    assert by.put().status_code == 201
    service.advance(timedelta(days=90))
    assert code(by.put("b.zip")) == (403, "AuthenticationFailed")


def test_uses_are_entries_at_once_and_by_number_afterwards(service: Service) -> None:
    by = sender(service)
    for _ in range(5):
        by.call("HEAD")
    uses = service.entries(action="upload-link.used")
    assert [(e["details"]["operation"], e["details"]["count"]) for e in uses] == [("get-blob-properties", 1)]
    service.advance(timedelta(hours=1))
    by.call("GET", None, "restype=container")
    counts = {
        (e["details"]["operation"], e["details"]["count"]) for e in service.entries(action="upload-link.used")
    }
    assert counts == {
        ("get-blob-properties", 1),
        ("get-blob-properties", 4),
        ("get-container-properties", 1),
    }


def test_another_links_counts_stand_under_its_own_name(service: Service) -> None:
    one, two = sender(service), sender(service)
    two.endpoint = one.endpoint
    one.call("HEAD")
    one.call("HEAD")
    service.advance(timedelta(hours=1))
    Sender.call(two, "HEAD")
    assert {e["subject"] for e in service.entries(action="upload-link.used")} == {one.link, two.link}


_word = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"]),
    blob=st.none() | st.text(max_size=20),
    query=st.lists(
        st.sampled_from(
            ["comp=block", "comp=blocklist", "comp=list", "restype=container", "blockid=AA%3D%3D"]
        )
        | st.tuples(_word, _word).map(lambda pair: f"{quote(pair[0])}={quote(pair[1])}"),
        max_size=4,
    ),
    headers=st.dictionaries(
        st.sampled_from(
            [
                "If-Match",
                "If-None-Match",
                "If-Modified-Since",
                "Content-MD5",
                "x-ms-content-crc64",
                "x-ms-blob-type",
                "x-ms-meta-a",
                "x-ms-meta-type",
                "x-ms-meta-logs_start",
                "x-ms-blob-content-type",
                "x-ms-version",
            ]
        ),
        _word | st.just("BlockBlob"),
        max_size=5,
    ),
    data=st.none() | st.binary(max_size=40) | st.just(block_list(1)),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_request_makes_an_internal_error(
    service: Service,
    method: str,
    blob: str | None,
    query: list[str],
    headers: dict[str, str],
    data: bytes | None,
) -> None:
    by = sender(service, permissions="rcwdl")
    answer = by.call(method, blob, "&".join(query), data, headers)
    assert answer.status_code < 500
    assert answer.headers["x-ms-request-id"]
    if answer.status_code >= 400:
        code(answer)


def test_an_address_of_a_name_and_of_a_bare_address_are_the_same_place(service: Service) -> None:
    by = sender(service)
    assert urlsplit(issue(service)["url"]).path.count("/") == 1
    by.put()
    by.address = f"/casevault{by.address}"
    assert by.call("HEAD").status_code == 200


def test_what_was_erased_on_demand_is_refused_at_its_commit_and_another_name_is_not(service: Service) -> None:
    sent = sender(service)
    assert sent.put("a.zip", b"logs").status_code == 201
    (bundle,) = service.done("GET", "/bundles", OPERATOR)["items"]
    service.done("POST", f"/bundles/{bundle['id']}/erasures", OPERATOR, json={})
    sent.stage(1, b"logs", "a.zip")
    for again in (sent.put("a.zip", b"logs"), sent.commit(1, blob="a.zip")):
        assert again.status_code == 403
        assert b"erased on demand" in again.data
    assert sent.put("b.zip", b"logs").status_code == 201
