"""The judge: what was promised, held against the ledger, the published log and what the account holds. Pure.

It uses nothing of custody. From the log it takes the leaves, parsed from the published tiles; when an erasure is due it
works out from the ledger, by its own reading of the rules, and by `audit.tlog.overdue` from the leaves alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from audit.entry import Action, Outcome
from audit.times import parse_rfc3339
from audit.tlog.overdue import overdue
from tests.scale.ledger import Ledger, Upload

NINETY_DAYS = timedelta(days=90)
A_WEEK, A_MONTH = timedelta(days=7), timedelta(days=30)


@dataclass(slots=True)
class Evidence:
    """What was found when all was quiet."""

    now: datetime
    leaves: Sequence[Mapping[str, Any]]
    log_problems: Sequence[str] = ()
    """What the walker over the published tiles has found."""
    forks: Sequence[str] = ()
    """Checkpoints that were seen and are not of this tree."""
    stored: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What the account holds, by bundle."""
    contents: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each live bundle as it was read, or why it could not be."""
    receipts: Mapping[str, Mapping[str, Any] | str] = field(default_factory=dict)
    """By bundle or confirmation number: the fields of a receipt that holds, or why it does not."""
    unsettled: str = ""
    """What work was still waiting when patience ended."""


def judge(ledger: Ledger, found: Evidence) -> list[str]:
    """Every promise that was broken, in words; nothing when all were kept."""
    erased = {leaf["bundle"] for leaf in _done(found.leaves, Action.BUNDLE_ERASED)}
    return [
        *ledger.wrong,
        *([f"not settled: {found.unsettled}"] if found.unsettled else ()),
        *(f"the log does not verify: {problem}" for problem in found.log_problems),
        *(f"a forked checkpoint: {fork}" for fork in found.forks),
        *_early(ledger, found),
        *_late(ledger, found, erased),
        *_remains(found, erased),
        *_lost(ledger, found, erased),
        *_unlogged(ledger, found),
        *_receipts(ledger, found, erased),
    ]


def _done(leaves: Iterable[Mapping[str, Any]], *actions: Action) -> Iterable[Mapping[str, Any]]:
    return (leaf for leaf in leaves if leaf["action"] in actions and leaf["outcome"] == Outcome.SUCCESS)


def allowed_from(ledger: Ledger, upload: Upload) -> list[datetime]:
    """The moments from which on somebody's act, or the passing of time, allows the erasure."""
    moments = [
        ask.sent
        for ask in ledger.asks
        if ask.bundle == upload.bundle
        or (ask.case == upload.case is not None and (ask.answered is None or upload.created <= ask.answered))
    ]
    moments += _dues(ledger, upload)
    if upload.case is None:
        moments.append(upload.created + NINETY_DAYS)
    if upload.acknowledged is None:
        moments.append(upload.went_on + A_WEEK)
    return moments


def _dues(ledger: Ledger, upload: Upload) -> Iterable[datetime]:
    for close in ledger.closes:
        due = close.closed_at + NINETY_DAYS
        if close.case == upload.case is not None and (close.reopened is None or close.reopened >= due):
            yield max(due, close.sent)


def must_be_gone(ledger: Ledger, upload: Upload, now: datetime) -> bool:
    """Whether the service has said that it would be gone by now."""
    asked = any(
        ask.answered is not None
        and (
            ask.bundle == upload.bundle
            or (ask.case == upload.case is not None and (upload.acknowledged or now) < ask.sent)
        )
        for ask in ledger.asks
    )
    closed = any(
        close.answered is not None and close.reopened is None and close.closed_at + NINETY_DAYS <= now
        for close in ledger.closes
        if close.case == upload.case is not None
    )
    unclaimed = upload.case is None and (upload.acknowledged or upload.created) + NINETY_DAYS <= now
    given_up = upload.acknowledged is None and upload.created + A_MONTH <= now
    return asked or closed or unclaimed or given_up


def _early(ledger: Ledger, found: Evidence) -> Iterable[str]:
    for leaf in _done(found.leaves, Action.BUNDLE_ERASING, Action.BUNDLE_ERASED):
        upload, at = ledger.of(leaf["bundle"]), parse_rfc3339(leaf["at"])
        if upload is None:
            continue  # announced, and the answer was lost: nobody was told of it
        allowed = min(allowed_from(ledger, upload), default=None)
        if allowed is None or at < allowed:
            yield f"erased early: {upload.bundle} ({leaf['action']} at {at}, allowed from {allowed})"


def _late(ledger: Ledger, found: Evidence, erased: set[str]) -> Iterable[str]:
    for late in overdue(found.leaves, found.now):
        yield f"overdue by the log alone: {late.bundle} since {late.deadline}"
    for upload in ledger.uploads.values():
        if upload.bundle not in erased and must_be_gone(ledger, upload, found.now):
            yield f"left late: {upload.bundle} of case {upload.case}"


def _remains(found: Evidence, erased: set[str]) -> Iterable[str]:
    for bundle in sorted(erased & found.stored.keys()):
        yield f"erased and still stored: {', '.join(found.stored[bundle])}"


def _lost(ledger: Ledger, found: Evidence, erased: set[str]) -> Iterable[str]:
    for leaf in found.leaves:
        if leaf["action"] == Action.BUNDLE_DAMAGED:
            yield f"found damaged: {leaf['bundle']}, {leaf['reason']}, at {leaf['at']}"
    for upload in ledger.uploads.values():
        if upload.acknowledged is not None and upload.bundle not in erased:
            got = found.contents.get(upload.bundle, "it was not read")
            if got != upload.sha256:
                yield f"acknowledged and lost: {upload.bundle}: {got}"


def _unlogged(ledger: Ledger, found: Evidence) -> Iterable[str]:
    opened = {
        (leaf["bundle"], run): parse_rfc3339(leaf["at"])
        for leaf in _done(found.leaves, Action.BUNDLE_OPENED)
        for run in leaf["details"]["ranges"]
    }
    for read in ledger.reads:
        bundle, offset, length = read.key
        at = opened.get((bundle, f"{offset}+{length}"))
        if at is None:
            yield f"read without an entry: {length} bytes of {bundle} from {offset}"
        elif at > read.first_byte:
            yield f"read before its entry: {length} bytes of {bundle} from {offset}"


def _receipts(ledger: Ledger, found: Evidence, erased: set[str]) -> Iterable[str]:
    for ask in ledger.asks:
        if ask.confirmation is None:
            continue
        fields = found.receipts.get(ask.confirmation, "there is none")
        if isinstance(fields, str):
            yield f"no receipt of erasure {ask.confirmation}: {fields}"
        elif ask.bundle is not None and ask.bundle not in {each["bundle"] for each in fields["bundles"]}:
            yield f"the receipt of erasure {ask.confirmation} does not name {ask.bundle}"
    for upload in ledger.uploads.values():
        if upload.acknowledged is None or upload.bundle in erased:
            continue
        fields = found.receipts.get(upload.bundle, "there is none")
        if isinstance(fields, str):
            yield f"no intake receipt of {upload.bundle}: {fields}"
        elif fields["sha256"] != upload.sha256:
            yield f"the intake receipt of {upload.bundle} is of other bytes"
