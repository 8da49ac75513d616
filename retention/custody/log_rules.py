"""The rules in force, written to the log for checks that use the leaves alone (P1, P4).

- Every process that takes part in custody (API, clock, functions) writes them at its start. Settings are read only at a
  start, so every change of them is a start.
- They become an entry only if they differ from the newest such entry: any number of processes write them once.
- Durations are in whole seconds, sizes in bytes. An absent limit is left out.
"""

from __future__ import annotations

from importlib.metadata import version

from audit.entry import Action, Detail
from retention.custody.context import Custody, Limits, entry
from retention.custody.reading.bundle_reads import RECHECK_SECONDS
from retention.domain.actor import CLOCK
from retention.domain.deadline import RETENTION
from retention.domain.grants import LONGEST, SHORTEST
from retention.records.queries import newest_leaf
from retention.records.unit_of_work import Transaction


def rules_of(limits: Limits) -> dict[str, Detail]:
    """Return the rules of this version under these limits, as the entry holds them."""
    seconds = {
        "retention_seconds": RETENTION,
        "upload_seconds": limits.upload_lifetime,
        "upload_longest_seconds": limits.upload_longest,
        "consent_longest_seconds": limits.max_consent,
        "grant_shortest_seconds": SHORTEST,
        "grant_longest_seconds": LONGEST,
    }
    sizes = {
        "max_bundle_size": limits.max_bundle_size,
        "max_partials": limits.max_partials,
        "stamp_quota": limits.stamp_quota,
        "case_quota": limits.case_quota,
    }
    return {
        "version": version("casevault"),
        "read_recheck_seconds": round(RECHECK_SECONDS),
        **{name: int(length.total_seconds()) for name, length in seconds.items()},
        **{name: size for name, size in sizes.items() if size is not None},
    }


def tell_rules(custody: Custody) -> bool:
    """Write the rules in force to the log, unless its newest ones are the same; return True if they were written."""
    rules, now = rules_of(custody.limits), custody.clock.now()

    def work(tx: Transaction) -> bool:
        newest = newest_leaf(tx, Action.RULES_SET)
        if newest is not None and newest.get("details") == rules:
            return False
        tx.audit(entry(CLOCK, Action.RULES_SET, now, details=rules))
        return True

    return custody.records.write(work)
