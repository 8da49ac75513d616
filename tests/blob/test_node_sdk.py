"""@azure/storage-blob, unmodified."""

from __future__ import annotations

import base64

import pytest

from tests.blob.clients.tools import node
from tests.blob.endpoint import Endpoint

MIB = 1 << 20


def ask(endpoint: Endpoint, scenario: str, url: str, size: int = 0) -> dict[str, object]:
    return node(endpoint.authority, scenario=scenario, url=url, size=size)


def sha256_of(endpoint: Endpoint, link: dict[str, object]) -> dict[str, object]:
    return {b["blob_name"]: b["sha256"] for b in endpoint.bundles() if b["link"] == link["id"]}


def test_it_sends_in_one_shot_and_in_blocks_lists_and_resumes(endpoint: Endpoint) -> None:
    link = endpoint.link()
    single = ask(endpoint, "single", link["url"], 3 * MIB + 1)
    staged = ask(endpoint, "staged", link["url"], 7 * MIB + 1)
    resumed = ask(endpoint, "resumed", link["url"], 5 * MIB + 1)
    assert single["length"] == 3 * MIB + 1
    assert staged["committed"] == 8
    assert (resumed["held"], resumed["sent"]) == (3, 3)
    assert ask(endpoint, "list", link["url"])["names"] == [
        ["folder/from node ü.zip", 3 * MIB + 1, {"roles": "Compute"}],
        ["resumed.zip", 5 * MIB + 1, {}],
        ["staged.zip", 7 * MIB + 1, {}],
    ]
    assert sha256_of(endpoint, link) == {
        "folder/from node ü.zip": single["sha256"],
        "staged.zip": staged["sha256"],
        "resumed.zip": resumed["sha256"],
    }
    assert ask(endpoint, "refused", link["url"]) == {
        "read": "AuthorizationPermissionMismatch",
        "overwrite": "BlobImmutableDueToPolicy",
        "delete": "AuthorizationPermissionMismatch",
    }


@pytest.mark.parametrize("version", ["2018-11-09", "2020-10-02", "2020-12-06", "2022-11-02"])
def test_signatures_of_old_and_new_versions_by_its_own_maker_are_let_in(
    endpoint: Endpoint, version: str
) -> None:
    link = endpoint.link()
    key = base64.b64encode(endpoint.service.services.link_keys.key_of(link["id"])).decode()
    base = link["url"].split("?")[0]
    made = node(
        endpoint.authority,
        scenario="sas",
        key=key,
        container=base.rsplit("/", 1)[1],
        version=version,
    )
    assert f"sv={version}" in str(made["query"])
    assert ask(endpoint, "list", f"{base}?{made['query']}") == {"names": []}
