"""A client that is generated from /openapi.json works against the running service, over TLS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.intake_api.serve.serving import Service, until

GENERATE = Path(sys.executable).with_name("openapi-python-client")
CONFIG = {
    "content_type_overrides": {
        "application/offset+octet-stream": "application/octet-stream",
        "application/jsonl": "text/plain",
    },
    "post_hooks": [],
}
CALLS = """
import json, sys
from datetime import UTC, datetime, timedelta
from generated import AuthenticatedClient, Client
from generated.api.audit import audit_entries, audit_keys
from generated.api.bundles import bundles_index, bundles_put, bundles_receipt, bundles_show
from generated.api.content import content_content
from generated.api.erasures import erasures_erase_bundle
from generated.api.preflight import preflight_preflight
from generated.api.service import service_readiness
from generated.api.stamps import stamps_index
from generated.api.uploads import uploads_create, uploads_go_on, uploads_offset
from generated.models import BundlesPutType, ErasureRequest, Preflight, PreflightType
from generated.types import File

told = json.loads(sys.argv[1])
known = {"base_url": told["url"], "verify_ssl": told["ca"]}
nobody, boss = Client(**known), AuthenticatedClient(token=told["boss"], **known)
stamp, engineer = AuthenticatedClient(token=told["stamp"], **known), AuthenticatedClient(token=told["alice"], **known)
assert service_readiness.sync(client=nobody).status == "ok"
assert audit_keys.sync(client=nobody).log
assert [one.name for one in stamps_index.sync(client=boss).items] == ["stamp"]
now = datetime.now(UTC)
window = {"logs_start": now - timedelta(hours=3), "logs_end": now - timedelta(hours=1), "time_collected": now}
asked = Preflight(filename="a.zip", type_=PreflightType.ON_DEMAND, case=told["case"], size=4, **window)
assert preflight_preflight.sync(client=stamp, body=asked).accepted is True
problem = preflight_preflight.sync(client=stamp, body=Preflight(
    filename="a/b", type_=PreflightType.ON_DEMAND, case=told["case"], size=4, **window))
assert problem.status == 422 and "file_name" in problem.errors.additional_properties, problem
assert bundles_index.sync(client=AuthenticatedClient(token="x", **known)).status == 401
page = bundles_index.sync(client=stamp, limit=1)
assert len(page.items) == 1 and page.items[0].state == "complete"
bundle = page.items[0].id
assert bundles_show.sync(bundle, client=stamp).sha256 == bundles_receipt.sync(bundle, client=stamp).receipt.sha256
part = content_content.sync_detailed(bundle, client=engineer, range_="bytes=0-3")
assert (part.status_code, part.content) == (206, bytes(4)), part
entries = audit_entries.sync(client=boss, limit=5)
assert entries.items and all(one.v == 1 for one in entries.items)
erasure = erasures_erase_bundle.sync(bundle, client=boss, body=ErasureRequest())
assert erasure.confirmation and erasure.resend_until > now
print("all of it")
"""


@pytest.fixture(scope="module")
def generated(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the package `generated`; nothing of the document was left out."""
    folder = tmp_path_factory.mktemp("client")
    document = service.call("GET", "/openapi.json")
    (folder / "openapi.json").write_bytes(document.body)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    command = [str(GENERATE), "generate", "--path", "openapi.json", "--config", "config.json",
               "--output-path", "generated", "--meta", "none", "--fail-on-warning"]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_generated_client_does_what_a_caller_needs(service: Service, generated: Path) -> None:
    content, _engineer = service.readable(4)
    bundle = content.split("/")[2]
    until(lambda: service.call("GET", f"/bundles/{bundle}/receipt", service.bearer("boss")).status == 200)

    def token(who: str) -> Any:
        return str(service.bearer(who)["Authorization"]).removeprefix("Bearer ")

    told = {
        "url": f"https://127.0.0.1:{service.port}",
        "ca": str(service.state / "tls" / "ca.pem"),
        "case": "260101000000001",
        **{who: token(who) for who in ("boss", "stamp", "alice")},
    }
    done = subprocess.run(
        [sys.executable, "-c", CALLS, json.dumps(told)],
        env={**os.environ, "PYTHONPATH": str(generated)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "all of it"), done.stderr[-3000:]
