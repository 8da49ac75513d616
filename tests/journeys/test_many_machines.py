"""Two machines that share no folder are one service: PostgreSQL, Blob Storage and a vault hold all that lasts."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from audit.times import rfc3339
from tests.azurite.conftest import azurite_port, node_modules
from tests.intake_api.serve.serving import free_port
from tests.servers.azure import LocalAzure, local_azure
from tests.servers.issuer import LocalIssuer
from tests.servers.machines import Machine, casevault, environment_of, machine
from tests.servers.postgres import shared_server
from tests.service import (
    ADMINISTRATOR,
    AUDITOR,
    CASE,
    CASE_SYSTEM,
    DIRECTORY,
    ENGINEER,
    OFFSET_BYTES,
    OPERATOR,
    STAMP,
    collection,
    tus,
)

__all__ = ["azurite_port", "node_modules"]

CONTENT = random.Random(1).randbytes(3_000_000)
_NUMBERS = count()
LINKS = {"CASEVAULT_BLOB_ORIGIN": "https://blobs.example.com"}


@pytest.fixture(scope="module")
def azure(azurite_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAzure]:
    with local_azure(tmp_path_factory.mktemp("azure"), azurite_port, shared_server()) as azure:
        yield azure


@pytest.fixture(scope="module")
def machines(azure: LocalAzure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Machine]]:
    """Two, started at once on what an administrator has made."""
    folder = tmp_path_factory.mktemp("machines")
    made = casevault("init", environ=environment_of(azure.environment, CASEVAULT_STATE=str(folder / "none")))
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("made: the service can be started\n")
    assert not (folder / "none").exists()
    with ExitStack() as stack:
        issuer = stack.enter_context(closing(LocalIssuer(folder)))
        own = [{**LINKS, "CASEVAULT_BLOB_LISTEN": f"127.0.0.1:{free_port()}"} for _ in range(2)]
        yield [
            stack.enter_context(machine(folder / f"machine-{n}", azure.environment, issuer, **settings))
            for n, settings in enumerate(own)
        ]


def until(answer: Callable[[], Any], wanted: Callable[[Any], bool], seconds: float = 60) -> Any:
    """The first answer that is as wanted."""
    give_up = time.monotonic() + seconds
    while not wanted(found := answer()):
        assert time.monotonic() < give_up, found
        time.sleep(0.1)
    return found


def bundle_at(at: Machine, bundle: str, state: str) -> Any:
    return until(
        lambda: at.done("GET", f"/bundles/{bundle}", OPERATOR), lambda found: found["state"] == state
    )


def begin(at: Machine, content: bytes) -> str:
    """The first bytes of CONTENT, sent with the announcement; the bundle."""
    name = f"logs-{next(_NUMBERS)}.zip"  # what was erased on demand is not taken again under its own
    head = {**tus(len(CONTENT), collection(filename=name)), "Content-Type": OFFSET_BYTES}
    begun = at.call("POST", "/uploads", STAMP, headers=head, data=content)
    assert begun.status_code == 201, begun.text
    return str(begun.headers["Location"].rpartition("/")[2])


def go_on(at: Machine, bundle: str, offset: int) -> None:
    """The rest of CONTENT, from where this machine says that it goes on."""
    told = at.call("HEAD", f"/uploads/{bundle}", STAMP, headers={"Tus-Resumable": "1.0.0"})
    assert told.headers["Upload-Offset"] == str(offset)
    head = {"Tus-Resumable": "1.0.0", "Upload-Offset": str(offset), "Content-Type": OFFSET_BYTES}
    sent = at.call("PATCH", f"/uploads/{bundle}", STAMP, headers=head, data=CONTENT[offset:])
    assert sent.status_code == 204, sent.text


def verify(at: Machine, folder: Path) -> dict[str, Any]:
    """What an auditor's command line finds, asking this machine."""
    told = {
        "CASEVAULT_SERVER": at.address,
        "CASEVAULT_CA": str(at.state / "tls" / "ca.pem"),
        "CASEVAULT_TOKEN": at.issuer.bearer(AUDITOR)["Authorization"].removeprefix("Bearer "),
        "XDG_CONFIG_HOME": str(folder),
    }
    ran = casevault("audit", "verify", "--json", environ=environment_of({}, **told))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return dict(json.loads(ran.stdout))


def test_a_bundle_lives_and_ends_on_two_machines(machines: list[Machine], tmp_path: Path) -> None:
    one, two = machines
    one.done("POST", "/tenants", ADMINISTRATOR, json={"name": "Contoso", "directory": DIRECTORY})
    stamp = {"name": "rack", "subject": STAMP.subject, "proactive": True}
    stamp_id = two.done("POST", "/stamps", OPERATOR, json=stamp)["id"]
    one.done("POST", "/cases", CASE_SYSTEM, json={"number": CASE, "directory": DIRECTORY})
    two.done("POST", f"/cases/{CASE}/assignments", CASE_SYSTEM, json={"subject": ENGINEER.subject})

    # Begun at one, continued at the other.
    half = len(CONTENT) // 2
    bundle = begin(one, CONTENT[:half])
    go_on(two, bundle, half)

    # Read back by whichever clock comes first, granted at one, read from both.
    assert bundle_at(one, bundle, "complete")["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    reason = {"reason": "looking into the failed update", "duration_minutes": 60}
    one.done("POST", f"/cases/{CASE}/grants", ENGINEER, json=reason)
    for machine_ in machines:
        assert machine_.call("GET", f"/bundles/{bundle}/content", ENGINEER).content == CONTENT

    # A link issued at one is good at the other; revoked there, it is good at neither.
    terms = {"expires_at": rfc3339(datetime.now(UTC) + timedelta(hours=1)), "trigger": "Urp.UpdateFailure"}
    link = one.done("POST", f"/stamps/{stamp_id}/upload-links", OPERATOR, json=terms)
    for machine_ in machines:
        assert machine_.done("POST", "/upload-links/check", OPERATOR, json={"url": link["url"]})["accepted"]
    two.done("POST", f"/upload-links/{link['id']}/revoke", OPERATOR)
    for machine_ in machines:
        found = machine_.done("POST", "/upload-links/check", OPERATOR, json={"url": link["url"]})
        assert found["reason"] == "revoked"

    # Erased at the other: gone from both, with one receipt.
    erasure = two.done("POST", f"/bundles/{bundle}/erasures", OPERATOR, json={})
    bundle_at(one, bundle, "erased")
    for machine_ in machines:
        assert machine_.call("GET", f"/bundles/{bundle}/content", ENGINEER).status_code == 410
    path = f"/erasures/{erasure['confirmation']}/receipt"
    until(lambda: one.call("GET", path, OPERATOR).status_code, lambda status: status == 200)
    receipts = [machine_.done("GET", path, OPERATOR) for machine_ in machines]
    assert receipts[0]["note"] == receipts[1]["note"]  # the proofs lead to whichever tree is the newest

    # One log, by the keys that both hold.
    assert one.done("GET", "/audit/keys") == two.done("GET", "/audit/keys")
    for machine_ in machines:
        assert verify(machine_, tmp_path)["good"]


def test_no_machine_keeps_anything_but_its_certificate_its_lock_and_its_own_witness(
    machines: list[Machine],
) -> None:
    for machine_ in machines:
        assert {path.name for path in machine_.state.iterdir()} <= {"tls", "serving.lock", "witness"}


def test_no_machine_says_a_secret(machines: list[Machine], azure: LocalAzure) -> None:
    secret = [value for kept in azure.signing.secrets.values() for value in kept.values]
    secret += [azure.signing.token, azure.keys.token, shared_server().password]
    for machine_ in machines:
        said = machine_.log.read_text()
        assert said
        assert [value for value in secret if value in said] == []
        assert "azure.core" not in said  # no line for each request to Azure


def test_a_machine_that_is_gone_is_missed_by_nobody(
    machines: list[Machine], azure: LocalAzure, tmp_path: Path
) -> None:
    one, two = machines
    with machine(tmp_path / "three", azure.environment, one.issuer) as three:
        bundle = begin(three, CONTENT[:1_000_000])
        three.kill()
    go_on(two, bundle, 1_000_000)
    assert bundle_at(one, bundle, "complete")["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert verify(one, tmp_path)["good"]
