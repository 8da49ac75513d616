"""Several processes on one database and one account, killed under load: nothing but time changes (P1 to P5, P7).

A short form of `python -m tests.scale.run`. What is checked does not depend on what died when. Afterwards the same
installation is sabotaged, each time as a bug would: a judge that saw nothing then would be no judge.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient

from audit.entry import Action
from audit.tlog.checkpoint import sign_checkpoint
from retention.custody.erasure.erasure_steps import BUNDLE, erase_bundle, start
from retention.custody.reading.bundle_reads import open_bundle
from retention.domain.actor import CLOCK, Role
from retention.records.tables import bundles
from retention.records.unit_of_work import Transaction
from tests.azurite.conftest import node_modules
from tests.scale.chaos import Chaos
from tests.scale.installation import Installation, installation
from tests.scale.judge import allowed_from, judge
from tests.scale.ledger import Ledger, Read, Upload
from tests.scale.load import ENGINEERS
from tests.scale.show import Outcome, gather, run

__all__ = ["node_modules"]


@pytest.fixture(scope="module")
def installed(node_modules: Path) -> Iterator[Installation]:
    if importlib.util.find_spec("azure_functions_runtime") is None:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say("Microsoft's Functions worker library is not installed; docs/functions.md says how")
    with (
        tempfile.TemporaryDirectory(prefix="casevault-scale-") as folder,
        installation(Path(folder), node_modules, apis=3, workers=2, clocks=2) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def outcome(installed: Installation) -> Outcome:
    return run(installed, seconds=8, every=2, seed=7, jumps=1, enough=enough)


def enough(ledger: Ledger, chaos: Chaos) -> bool:
    """That there is something to keep, something was erased, and something died."""
    with ledger.held():
        acknowledged = [upload for upload in ledger.uploads.values() if upload.acknowledged is not None]
        kept = sum(is_large(upload) and not allowed_from(ledger, upload) for upload in acknowledged)
        asked = sum(ask.confirmation is not None for ask in ledger.asks)
        closed = sum(close.answered is not None and close.reopened is None for close in ledger.closes)
        return (
            len(acknowledged) >= 10
            and kept >= 8  # some of them may still be erased while the load ends
            and asked >= 2
            and closed >= 2
            and len(ledger.reads) >= 3
            and chaos.kills.total() >= 3
        )


def is_large(upload: Upload) -> bool:
    """Large enough to be read in part."""
    return upload.size > 1000


def test_every_promise_is_kept_while_processes_die(outcome: Outcome) -> None:
    assert outcome.broken == []


def test_there_was_something_to_keep_and_to_erase(outcome: Outcome) -> None:
    leaves, kept = outcome.evidence.leaves, outcome.evidence.contents
    assert len(kept) >= 3
    assert any(leaf["action"] == Action.BUNDLE_ERASED for leaf in leaves)
    assert {read.key[0] for read in outcome.ledger.reads} <= {leaf.get("bundle") for leaf in leaves}
    assert sum(number for what, number in outcome.counts.items() if what.startswith("killed: ")) >= 3


# From here on the installation is sabotaged.


def _kept(outcome: Outcome, number: int) -> Upload:
    """A large one that is still there; those first that nothing allows to erase."""
    found = [u for u in map(outcome.ledger.of, outcome.evidence.contents) if u is not None and is_large(u)]
    return sorted(found, key=lambda upload: _may_be_erased(outcome, upload))[number]


def _may_be_erased(outcome: Outcome, upload: Upload) -> bool:
    return any(moment <= outcome.evidence.now for moment in allowed_from(outcome.ledger, upload))


def _said(outcome: Outcome, installed: Installation) -> list[str]:
    return judge(outcome.ledger, gather(installed, outcome.ledger))


def test_an_erasure_that_nobody_asked_for_is_early(outcome: Outcome, installed: Installation) -> None:
    upload = _kept(outcome, 0)
    assert not _may_be_erased(outcome, upload), "or there is nothing to find"
    bundle = upload.bundle
    with installed.inside() as services:
        custody, now = services.custody, services.custody.clock.now()

        def begin(tx: Transaction) -> None:
            row = tx.execute(bundles.select().where(bundles.c.id == bundle)).one()
            start(tx, CLOCK, [row], row.tenant_id, row.case_id, BUNDLE, "case-closed", now, on_demand=False)

        custody.records.write(begin)
        erase_bundle(custody, bundle)
    assert any(line.startswith(f"erased early: {bundle}") for line in _said(outcome, installed))


def test_a_read_that_is_not_entered_is_found(
    outcome: Outcome, installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, engineer = _kept(outcome, 2), ENGINEERS[0]
    audit = Transaction.audit

    def forgetful(tx: Transaction, *entries: Any) -> None:
        audit(tx, *(one for one in entries if one.action != Action.BUNDLE_OPENED))

    with installed.inside() as services:
        actor = services.directory.resolve(
            issuer=installed.issuer,
            subject=engineer,
            roles=frozenset({Role.SUPPORT_ENGINEER}),
            directory=None,
            partner=None,
            name=None,
            particulars={},
        )
        monkeypatch.setattr(Transaction, "audit", forgetful)
        monkeypatch.setattr(
            "retention.custody.reading.bundle_reads.confirm", lambda *_: None
        )  # or nothing would open
        opened = open_bundle(services.custody, actor, upload.bundle, lambda _: [(3, 5)])
        got = b"".join(opened.pieces((3, 5)))
        opened.close()
        outcome.ledger.reads.append(Read((upload.bundle, 3, 5), services.custody.clock.now(), len(got)))
        monkeypatch.undo()
    assert f"read without an entry: 5 bytes of {upload.bundle} from 3" in _said(outcome, installed)


def test_a_second_tree_by_our_own_key_is_a_fork(outcome: Outcome, installed: Installation) -> None:
    with installed.inside() as services:
        note = sign_checkpoint(1, bytes(32), services.log_signer)
    outcome.ledger.checkpoints[note] = "a second sequencer"
    assert "a forked checkpoint: of 1 entries, shown at a second sequencer" in _said(outcome, installed)


def test_a_key_that_comes_back_after_its_erasure_is_found(outcome: Outcome, installed: Installation) -> None:
    leaf = next(leaf for leaf in outcome.evidence.leaves if leaf["action"] == Action.BUNDLE_ERASED)
    azure = installed.settings.azure
    with BlobServiceClient.from_connection_string(str(azure.connection_string)) as service:
        blob = service.get_blob_client(azure.data_key_container, f"{leaf['bundle']}.key")
        blob.upload_blob(b"a backup of it", overwrite=True)
    assert f"erased and still stored: key {leaf['bundle']}.key" in _said(outcome, installed)


def test_an_object_that_somebody_deletes_is_missed(outcome: Outcome, installed: Installation) -> None:
    bundle = _kept(outcome, 1).bundle
    with installed.inside() as services:
        services.custody.objects.destroy(bundle)
    assert any(line.startswith(f"acknowledged and lost: {bundle}") for line in _said(outcome, installed))
