"""What the page's script takes for good is what the service's own check takes for good, and nothing else."""

from __future__ import annotations

import base64
import copy
import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audit.entry import CanonicalError, parse_leaf
from audit.tlog.checkpoint import Signer, Verifier, sign_checkpoint
from audit.tlog.merkle import consistency_proof, leaf_hash, node_hash, root
from audit.tlog.proofs import InclusionProof
from retention.domain import receipt
from tests.audit.conftest import make_entry

HERE = Path(__file__).parent
VECTORS = HERE.parents[1] / "vectors" / "log"
KEYS = json.loads((VECTORS / "keys.json").read_text())
SIGNER = Signer("log.example", bytes(32))
RECEIPTS = {
    name: json.loads((VECTORS / f"{name}-receipt.json").read_text()) for name in ("intake", "erasure")
}


def judged(*given: dict[str, Any]) -> list[str]:
    node = shutil.which("node")
    assert node, "node is needed to run the page's script: apt-get install nodejs"
    ran = subprocess.run(
        [node, HERE / "verify.mjs"], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found: list[str] = json.loads(ran.stdout)
    return found


def judge(document: Any, keys: dict[str, str] = KEYS) -> str:
    (fault,) = judged({"text": json.dumps(document), "keys": keys})
    return fault


def good_to_the_service(document: Any) -> bool:
    try:
        receipt.check(document, Verifier.parse(KEYS["receipts"]), Verifier.parse(KEYS["log"]))
    except Exception:
        return False
    return True


@pytest.mark.parametrize("name", RECEIPTS)
def test_a_genuine_receipt_is_good(name: str) -> None:
    assert judge(RECEIPTS[name]) == "good"
    assert judge({"leaf": RECEIPTS[name]["leaf"], "proof": RECEIPTS[name]["proof"]}) == "good"


def _with(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(RECEIPTS["intake"]), **changes}


def _said(**changes: Any) -> dict[str, Any]:
    return _with(receipt={**RECEIPTS["intake"]["receipt"], **changes})


PROOF = RECEIPTS["intake"]["proof"]


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (_said(size=71002), "text"),
        (_said(more="x"), "document"),
        (_said(format="casevault-intake-receipt-v2"), "document"),
        (_with(note=RECEIPTS["erasure"]["note"]), "text"),
        (_with(note="no note"), "signature"),
        (_with(leaf=RECEIPTS["erasure"]["leaf"]), "tree"),
        (_with(leaf=RECEIPTS["erasure"]["leaf"], proof=RECEIPTS["erasure"]["proof"]), "leaf"),
        (_with(leaf="AA"), "leaf"),
        (_with(proof=PROOF.replace("index ", "index 1", 1)), "tree"),
        (_with(proof=PROOF.replace("\n\n", "\n", 1)), "tree"),
        (_with(proof=PROOF[:-9] + "AAAAAAA=\n"), "checkpoint"),
        ([], "document"),
        ({}, "document"),
        ({"leaf": RECEIPTS["intake"]["leaf"], "proof": PROOF, "note": ""}, "document"),
        ({"receipt": None}, "document"),
    ],
)
def test_what_is_wrong_is_named(document: Any, fault: str) -> None:
    assert judge(document) == fault


def test_keys_of_somebody_else_make_nothing_good() -> None:
    assert judge(RECEIPTS["intake"], {**KEYS, "receipts": KEYS["log"]}) == "signature"
    assert judge(RECEIPTS["intake"], {**KEYS, "log": KEYS["receipts"]}) == "checkpoint"
    assert judge(RECEIPTS["intake"], {**KEYS, "log": KEYS["witness"]}) == "key"
    assert judge(RECEIPTS["intake"], {**KEYS, "log": KEYS["log"][:-1] + "B"}) == "key"


def _mutants(text: str, many: int) -> Iterator[str]:
    letters = '0123456789abcdefAZ+/="\\ ,:{}\n'
    chosen = random.Random(17)
    for _ in range(many):
        at = chosen.randrange(len(text))
        kind = chosen.randrange(3)
        yield text[:at] + (chosen.choice(letters) if kind else "") + text[at + (kind != 2) :]


@pytest.mark.parametrize("name", RECEIPTS)
def test_the_page_and_the_service_agree_on_every_changed_receipt(name: str) -> None:
    """A letter is put in, taken out or replaced: of what is JSON still, both say the same."""
    text = json.dumps(RECEIPTS[name])
    read = []
    for mutant in _mutants(text, 1500):
        try:
            read.append((mutant, json.loads(mutant)))
        except ValueError:
            continue
    verdicts = judged(*({"text": mutant, "keys": KEYS} for mutant, _ in read))
    assert not [one for one in verdicts if one.startswith("crashed")]
    assert len(read) > 300
    for (mutant, held), verdict in zip(read, verdicts, strict=True):
        assert (verdict == "good") == (isinstance(held, dict) and good_to_the_service(held)), (
            verdict,
            mutant,
        )


def _proven(leaf: bytes) -> dict[str, str]:
    """The proof of the only entry of a log that was signed, whatever it is."""
    note = sign_checkpoint(1, leaf_hash(leaf), SIGNER)
    return {"leaf": _written(leaf), "proof": InclusionProof(0, (), note).text()}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"v":1', '"v":2'),
        ('"v":1', '"v":"1"'),
        ('"person"', r'"\ud800"'),
        ('"person"', r'"\udc00\ud800"'),
        ('"person"', '"pers\\u006fn"'),
        ('"person"', "null"),
        ('"person"', "true"),
        ('"person"', "1.0"),
        ('"person"', "-0"),
        ('"v":1', '"v":1,"v":1'),
        ('"v":1', '"v": 1'),
    ],
)
def test_a_signed_leaf_is_good_in_the_one_form_that_the_service_takes(before: str, after: str) -> None:
    keys = {**KEYS, "log": SIGNER.verifier.key}
    leaf = make_entry(1, actor="person").leaf().decode()
    assert judge(_proven(leaf.encode()), keys) == "good"
    changed = leaf.replace(before, after).encode()
    with pytest.raises(CanonicalError):
        parse_leaf(changed)
    assert judge(_proven(changed), keys) == "leaf"


def _node(level: int, index: int) -> bytes:
    """A node of the tree over the leaves 0, 1, 2 and so on."""
    if level == 0:
        return leaf_hash(str(index).encode())
    return node_hash(_node(level - 1, 2 * index), _node(level - 1, 2 * index + 1))


def _written(hash_: bytes) -> str:
    return base64.b64encode(hash_).decode()


def _growth(old: int, new: int) -> dict[str, Any]:
    trees = [{"size": size, "root": _written(root(size, _node))} for size in (old, new)]
    hashes = [] if old == new else [_written(one) for one in consistency_proof(old, new, _node)]
    return {"before": trees[0], "now": trees[1], "hashes": hashes}


def test_a_tree_that_only_grew_is_told_from_one_that_was_changed() -> None:
    pairs = [(old, new) for new in (*range(1, 18), 100, 256, 257) for old in range(1, new + 1)]
    assert set(judged(*(_growth(*pair) for pair in pairs))) == {"good"}
    changed = []
    for old, new in pairs:
        honest, other = _growth(old, new), _written(leaf_hash(b"another"))
        changed += [
            {**honest, "before": {**honest["before"], "root": other}},
            {**honest, "now": {**honest["now"], "root": other}},
            {**honest, "hashes": [*honest["hashes"], other]}
            if old != new
            else {**honest, "now": {"size": 0, "root": other}},
        ]
        if honest["hashes"]:
            changed.append({**honest, "hashes": honest["hashes"][:-1]})
    assert set(judged(*changed)) == {"grown"}
