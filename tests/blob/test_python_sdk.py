"""azure-storage-blob, unmodified, beyond what every client is asked for in test_clients.py."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.blob import BlobBlock, BlobClient, ContainerClient

from tests.blob.endpoint import Endpoint

MIB = 1 << 20
SMALL = {"max_single_put_size": 2 * MIB, "max_block_size": MIB, "min_large_block_upload_threshold": MIB + 1}


def client(endpoint: Endpoint, url: str, **more: Any) -> ContainerClient:
    options = {"connection_verify": endpoint.authority, "retry_total": 0, **SMALL, **more}
    return ContainerClient.from_container_url(url, **options)


def sent(endpoint: Endpoint, link: dict[str, Any]) -> dict[str, Any]:
    return {b["blob_name"]: b for b in endpoint.bundles() if b["link"] == link["id"]}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", [1, 2 * MIB, 2 * MIB + 1, 6 * MIB + 17])
@pytest.mark.parametrize("checked", [False, True, "crc64"])
def test_what_it_sends_is_what_is_stored(endpoint: Endpoint, size: int, checked: Any) -> None:
    link, content = endpoint.link(), os.urandom(size)
    with client(endpoint, link["url"]) as container:
        container.upload_blob("a/b.zip", content, validate_content=checked, max_concurrency=4)
        assert container.get_blob_client("a/b.zip").get_blob_properties().size == size
    stored = sent(endpoint, link)["a/b.zip"]
    assert (stored["state"], stored["sha256"]) == ("complete", sha256(content))


@pytest.mark.parametrize("checked", [False, "crc64"])
def test_a_stream_of_unknown_length_is_taken(endpoint: Endpoint, checked: Any) -> None:
    link, content = endpoint.link(), os.urandom(3 * MIB + 5)

    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self._left = io.BytesIO(content)

        def read(self, size: int = -1) -> bytes:
            return self._left.read(size)

    with client(endpoint, link["url"]) as container:
        container.upload_blob("stream.zip", Stream(), validate_content=checked)
        container.upload_blob("small.zip", io.BytesIO(content[:1000]), validate_content=checked)
    stored = sent(endpoint, link)
    assert stored["stream.zip"]["sha256"] == sha256(content)
    assert stored["small.zip"]["sha256"] == sha256(content[:1000])


def test_what_an_engineer_reads_is_what_was_sent(endpoint: Endpoint) -> None:
    link, content = endpoint.link(), os.urandom(5 * MIB)
    with client(endpoint, link["url"]) as container:
        container.upload_blob("whole.zip", content, max_concurrency=8)
    assert endpoint.content(sent(endpoint, link)["whole.zip"]["id"]) == content


def test_blocks_arrive_in_parallel_and_in_any_order(endpoint: Endpoint) -> None:
    link, content = endpoint.link(), os.urandom(24 * 100_000)
    pieces = {f"{number:05}": content[number * 100_000 :][:100_000] for number in range(24)}
    order = list(pieces)
    random.Random(7).shuffle(order)
    with client(endpoint, link["url"]) as container:
        blob = container.get_blob_client("shuffled.zip")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: blob.stage_block(number, pieces[number]), order))
        blob.commit_block_list([BlobBlock(number) for number in pieces])
    assert sent(endpoint, link)["shuffled.zip"]["sha256"] == sha256(content)


def test_an_upload_that_was_cut_goes_on_from_the_block_list(endpoint: Endpoint) -> None:
    link, content = endpoint.link(), os.urandom(6 * MIB)
    pieces = {f"{number:05}": content[number * MIB :][:MIB] for number in range(6)}

    class Cut(io.BytesIO):
        """A file on a line that breaks."""

        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 300_000:
                raise OSError("the line is cut")
            return super().read(min(size or MIB, 65536))

    with client(endpoint, link["url"]) as container:
        blob = container.get_blob_client("cut.zip")
        for number in ("00000", "00001", "00004"):
            blob.stage_block(number, pieces[number])
        with pytest.raises((AzureError, OSError)):
            blob.stage_block("00002", Cut(pieces["00002"]), length=MIB)
    with client(endpoint, link["url"]) as container:  # another process, another day
        blob = container.get_blob_client("cut.zip")
        _, waiting = blob.get_block_list("uncommitted")
        held = {block.id: block.size for block in waiting}
        assert held == dict.fromkeys(("00000", "00001", "00004"), MIB)
        for number in pieces.keys() - held:
            blob.stage_block(number, pieces[number])
        blob.commit_block_list([BlobBlock(number) for number in pieces])
        committed, waiting = blob.get_block_list("all")
        assert ([block.id for block in committed], waiting) == (list(pieces), [])
    assert sent(endpoint, link)["cut.zip"]["sha256"] == sha256(content)


def test_a_server_that_restarts_in_mid_upload_keeps_its_blocks(endpoint: Endpoint) -> None:
    link = endpoint.link()
    with client(endpoint, link["url"]) as container:
        container.get_blob_client("r.zip").stage_block("00000", b"first ")
    endpoint.restart()
    with client(endpoint, link["url"]) as container:
        blob = container.get_blob_client("r.zip")
        blob.stage_block("00001", b"second")
        blob.commit_block_list([BlobBlock("00000"), BlobBlock("00001")])
    assert sent(endpoint, link)["r.zip"]["sha256"] == sha256(b"first second")


def test_blobs_are_listed_by_page_and_prefix(endpoint: Endpoint) -> None:
    link = endpoint.link()
    with client(endpoint, link["url"]) as container:
        for name in ("b/2", "a", "b/1", "c"):
            container.upload_blob(name, b"x", metadata={"roles": "Compute"})
        pages = [[blob.name for blob in page] for page in container.list_blobs(results_per_page=3).by_page()]
        assert pages == [["a", "b/1", "b/2"], ["c"]]
        found = list(container.list_blobs(name_starts_with="b/", include=["metadata"]))
        assert [(blob.name, blob.size, blob.metadata) for blob in found] == [
            ("b/1", 1, {"roles": "Compute"}),
            ("b/2", 1, {"roles": "Compute"}),
        ]
        assert container.get_container_properties().name


def refused(endpoint: Endpoint, url: str) -> str:
    with client(endpoint, url) as container, pytest.raises(HttpResponseError) as caught:
        container.upload_blob("a.zip", b"x")
    code: str = caught.value.error_code
    return code


def test_a_wrong_or_tampered_signature_is_refused_as_the_service_does(endpoint: Endpoint) -> None:
    url = endpoint.link()["url"]
    signature = url.rsplit("sig=", 1)[1]
    wrong = base64.b64encode(os.urandom(32)).decode().replace("+", "%2B")
    assert refused(endpoint, url.replace(signature, wrong)) == "AuthenticationFailed"
    assert refused(endpoint, url.replace("sp=rcwl", "sp=rcwdl")) == "AuthenticationFailed"
    later = (endpoint.service.clock.now() + timedelta(days=9)).strftime("%Y-%m-%d")
    assert refused(endpoint, url[: url.index("se=") + 3] + later + url[url.index("se=") + 13 :]) == (
        "AuthenticationFailed"
    )


def test_a_stamps_own_link_brings_proactive_bundles(endpoint: Endpoint) -> None:
    link = endpoint.stamp_link()
    with client(endpoint, link["url"]) as container:
        container.upload_blob("auto.zip", b"logs")
    stored = sent(endpoint, link)["auto.zip"]
    assert (stored["type"], stored["trigger"], stored["case"]) == ("proactive", "Urp.UpdateFailure", None)


def test_nothing_of_a_signature_is_logged(endpoint: Endpoint) -> None:
    link = endpoint.link()
    with client(endpoint, link["url"]) as container:
        container.upload_blob("private name.zip", b"x")
    with (
        BlobClient.from_blob_url(
            link["url"].replace("?", "/x?") + "x", connection_verify=endpoint.authority
        ) as bad,
        pytest.raises(HttpResponseError),
    ):
        bad.upload_blob(b"x")
    logged = endpoint.logged()
    assert "blob:put-blob" in logged
    for secret in ("sig=", "private name", link["id"], link["id"].replace("_", "-")):
        assert secret not in logged
