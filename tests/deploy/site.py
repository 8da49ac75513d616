"""The deployment's files and what they come to: before the image is there (`first`), and with it (`final`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tree_sitter_bicep
from tree_sitter import Language, Parser

from audit.tlog.checkpoint import Signer
from tests.deploy.bicep import Deployment, Resource, Template, deploy, named

ROOT = Path(__file__).resolve().parents[2]
ADMINISTRATORS = "33333333-3333-3333-3333-333333333333"
FILLED_IN: Mapping[str, Any] = {
    "administratorsId": ADMINISTRATORS,
    "administratorsName": "casevault administrators",
    "image": "casevault.azurecr.io/casevault@sha256:" + "0" * 64,
    "blobHost": "blobs.example.com",
    "issuer": "https://login.microsoftonline.com/44444444-4444-4444-4444-444444444444/v2.0",
    "audience": "55555555-5555-5555-5555-555555555555",
    "logOrigin": "example.com/log",
    "logVerifier": Signer("example.com/log", bytes(32)).verifier.key,
    "receiptVerifier": Signer("example.com/receipts", bytes(32)).verifier.key,
    "witnessBucket": "casevault-witness",
    "witnessRegion": "eu-central-1",
    "otlpEndpoint": "https://collector.example.com",
}


@dataclass(frozen=True)
class Site:
    """One copy of docs/deploy."""

    folder: Path

    def deployed(self, **given: Any) -> Deployment:
        return deploy(self.folder / "main.bicep", {**FILLED_IN, **given})

    @cached_property
    def first(self) -> Deployment:
        return self.deployed(image="")

    @cached_property
    def final(self) -> Deployment:
        return self.deployed()

    @cached_property
    def opened(self) -> Deployment:
        """While it is set up: reached from one address outside."""
        return self.deployed(administratorAddresses=["198.51.100.7"])

    def all(self, kind: str) -> list[Resource]:
        """Every resource of that type that the final deployment makes."""
        return [r for r in self.final.resources if r.type == kind and not r.existing]

    def one(self, kind: str, symbol: str = "") -> Resource:
        (found,) = [r for r in self.all(kind) if symbol in ("", r.symbol)]
        return found

    @property
    def api(self) -> Resource:
        return self.one("Microsoft.App/containerApps")

    @property
    def container(self) -> Mapping[str, Any]:
        (found,) = self.api.properties["template"]["containers"]
        return dict(found)

    @property
    def api_settings(self) -> dict[str, str]:
        """The API's environment, without what comes from secrets."""
        return {item["name"]: item["value"] for item in self.container["env"] if "value" in item}

    @property
    def clock(self) -> Resource:
        return self.one("Microsoft.Web/sites")

    @property
    def clock_settings(self) -> dict[str, str]:
        return {i["name"]: i["value"] for i in self.clock.properties["siteConfig"]["appSettings"]}

    @property
    def accounts(self) -> tuple[Resource, Resource]:
        """The bundles' account, and the Functions host's."""
        bundles, host = self.all("Microsoft.Storage/storageAccounts")
        return bundles, host

    @cached_property
    def bicepparam(self) -> dict[str, Any]:
        """The example of a parameter file. The grammar knows none, so each line is read as a variable's."""
        text = (self.folder / "main.bicepparam").read_text()
        parser = Parser(Language(tree_sitter_bicep.language()))
        template = Template.__new__(Template)
        template.path = self.folder / "main.bicepparam"
        found = {}
        for name, value in re.findall(r"^param (\w+) = (.+)$", text, flags=re.M):
            root = parser.parse(f"var {name} = {value}\n".encode()).root_node
            assert not root.has_error, name
            found[name] = template.value(named(named(root)[0])[1], {})
        return found
