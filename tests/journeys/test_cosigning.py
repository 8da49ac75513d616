"""Two services: one cosigns the other's log (C2SP tlog-witness), over HTTPS, and refuses to be told another history."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from audit.cosigning.cosignature import CosignatureVerifier, cosigned_at
from audit.cosigning.server import Request
from audit.tlog.checkpoint import Verifier, open_checkpoint
from audit.tlog.proofs import prove_consistency
from audit.tlog.tile_store import LocalTileStore
from tests.journeys.installed import serving
from tests.journeys.served import ADMINISTRATOR, Served

ORIGIN = "logs.example/casevault"


@dataclass
class Pair:
    """A log's service, its witness, and what both are known by."""

    log: Served
    witness: Served
    log_key: Verifier
    witness_key: CosignatureVerifier

    def cosigned(self) -> str:
        """What the log publishes, as anybody sees it."""
        return _text(self.log, "/audit/checkpoint.cosigned")

    def ask(self, body: bytes) -> requests.Response:
        url = f"{self.witness.server}/witness/add-checkpoint"
        return requests.post(url, data=body, verify=str(self.witness.ca), timeout=30)


def _text(served: Served, path: str) -> str:
    answer = requests.get(f"{served.server}{path}", verify=str(served.ca), timeout=30)
    return answer.text if answer.ok else ""


def _keys(served: Served) -> dict[str, str]:
    keys: dict[str, str] = requests.get(
        f"{served.server}/audit/keys", verify=str(served.ca), timeout=30
    ).json()
    return keys


def _grow(served: Served, name: str) -> None:
    """One entry, in the tree, and old enough to be witnessed."""
    served.do("tenants", "register", name, "--directory", name, who=ADMINISTRATOR)
    served.until_sequenced()
    served.pass_time(timedelta(minutes=2))


def _asking(witness: Served, key: str) -> dict[str, str]:
    """The settings of a log that asks this witness."""
    return {
        "CASEVAULT_LOG_ORIGIN": ORIGIN,
        "CASEVAULT_COSIGNERS": f"{key} {witness.server}/witness/",
        "CASEVAULT_COSIGNERS_CA": str(witness.ca),
    }


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    log_folder, witness_folder = tmp_path_factory.mktemp("log"), tmp_path_factory.mktemp("witness")
    with serving(log_folder, CASEVAULT_LOG_ORIGIN=ORIGIN) as log:
        log_key = _keys(log)["log"]
        assert "witness" not in _keys(log)
    with ExitStack() as stack:
        settings = {"CASEVAULT_COSIGN_LOGS": log_key, "CASEVAULT_COSIGN_NAME": "witness.example/w1"}
        witness = stack.enter_context(serving(witness_folder, **settings))
        key = _keys(witness)["witness"]
        log = stack.enter_context(serving(log_folder, **_asking(witness, key)))
        yield Pair(log, witness, Verifier.parse(log_key), CosignatureVerifier.parse(key))


def _until_cosigned(pair: Pair, size: int) -> str:
    for _ in range(200):
        note = pair.cosigned()
        if note and open_checkpoint(note, pair.log_key).size >= size:
            return note
        time.sleep(0.1)
    raise AssertionError(f"not cosigned: {(pair.log.state.parent / 'serve.log').read_text()[-2000:]}")


def test_a_log_that_grows_is_cosigned_again_and_again(pair: Pair) -> None:
    assert pair.witness_key.name == "witness.example/w1"
    sizes = []
    for name in ("contoso", "fabrikam"):
        _grow(pair.log, name)
        note = _until_cosigned(pair, (sizes or [0])[-1] + 1)
        sizes.append(open_checkpoint(note, pair.log_key).size)
        assert cosigned_at(note, pair.witness_key)
    assert sizes == sorted(set(sizes))
    # The witness tells everybody which checkpoint it has cosigned last.
    place = hashlib.sha256(ORIGIN.encode()).hexdigest()
    last = _text(pair.witness, f"/witness/{place}/checkpoint")
    assert open_checkpoint(last, pair.log_key).size == sizes[-1]
    assert _text(pair.witness, f"/witness/{'0' * 64}/checkpoint") == ""
    assert (pair.witness.state / "cosigning-key").stat().st_mode & 0o777 == 0o600


def test_another_history_is_not_cosigned(pair: Pair) -> None:
    _grow(pair.log, "northwind")
    _until_cosigned(pair, 3)
    tiles = LocalTileStore(pair.log.state / "log")
    own = tiles.get("checkpoint").decode()
    newest = open_checkpoint(own, pair.log_key).size
    for _ in range(20):  # the log's own clock asks too: what is cosigned may have grown meanwhile
        backward = pair.ask(Request(0, (), own).text().encode())
        assert backward.status_code == 409
        assert backward.headers["Content-Type"] == "text/x.tlog.size"
        size = int(backward.text)
        good = Request(size, tuple(prove_consistency(tiles, size, newest)), own)
        forged = pair.ask(Request(size, (bytes(32), *good.proof[1:]), own).text().encode())
        if forged.status_code != 409:
            break
    assert forged.status_code == 422
    unsigned = pair.ask(
        good.text().replace("\u2014 logs.example/casevault ", "\u2014 logs.example/other ").encode()
    )
    assert unsigned.status_code == 403
    assert pair.ask(b"old -1\n\n" + own.encode()).status_code == 400
    assert pair.ask(b"x" * (1 << 17)).status_code == 413
    unknown = pair.ask(good.text().replace("logs.example/casevault\n", "logs.example/unknown\n", 1).encode())
    assert unknown.status_code == 404


def test_a_rolled_back_log_gets_no_cosignature_and_its_keeper_hears_why(pair: Pair, tmp_path: Path) -> None:
    """Database, tiles, own witness: all as they were in the beginning, and the service believes them."""
    _grow(pair.log, "tailspin")
    cosigned = open_checkpoint(_until_cosigned(pair, 4), pair.log_key).size
    (tmp_path / "state").mkdir(mode=0o700)
    for name in ("log-signing-key", "receipt-signing-key"):
        shutil.copy(pair.log.state / name, tmp_path / "state" / name)
    settings = _asking(pair.witness, pair.witness_key.key)
    with serving(tmp_path, **settings) as again:
        _grow(again, "contoso")
        log = tmp_path / "serve.log"
        for _ in range(200):
            if "no cosignature" in log.read_text():
                break
            time.sleep(0.1)
        known = re.search(r"knows a log of (\d+) entries, and this one has", log.read_text())
        assert known is not None and int(known[1]) >= cosigned  # or cosigned again meanwhile
        assert _text(again, "/audit/checkpoint.cosigned") == ""
        assert _text(again, "/audit/checkpoint") != ""


def test_a_cosigning_key_that_was_lost_is_not_made_anew(pair: Pair, tmp_path: Path) -> None:
    """Otherwise whoever pinned the old one would take the new one for a stranger's, and the memory would begin anew."""
    copy = tmp_path / "state"
    shutil.copytree(pair.witness.state, copy)
    (copy / "cosigning-key").unlink()
    with (
        pytest.raises(AssertionError, match="cosigning-key is missing"),
        serving(tmp_path, **pair.witness.settings),
    ):
        pass
