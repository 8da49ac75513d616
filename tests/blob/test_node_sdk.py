"""@azure/storage-blob, unmodified: signatures that it makes itself."""

from __future__ import annotations

import base64

import pytest

from tests.blob.clients.tools import node
from tests.blob.endpoint import Endpoint


@pytest.mark.parametrize("version", ["2018-11-09", "2020-10-02", "2020-12-06", "2022-11-02"])
def test_signatures_of_old_and_new_versions_by_its_own_maker_are_let_in(
    endpoint: Endpoint, version: str
) -> None:
    link = endpoint.link()
    key = base64.b64encode(endpoint.service.services.link_keys.key_of(link["id"])).decode()
    base = link["url"].split("?")[0]
    made = node(
        endpoint.authority,
        action="sas",
        key=key,
        container=base.rsplit("/", 1)[1],
        version=version,
    )
    assert f"sv={version}" in str(made["query"])
    url = f"{base}?{made['query']}"
    assert node(endpoint.authority, action="names", url=url) == {"names": []}
