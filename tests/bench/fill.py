"""Fills a new service to any size, with valid leaves, so that its times can be measured at one's own size.

    python -m tests.bench.fill --bundles 1000000 --entries 10000000 --folder DIR [--database URL] [--at TIME]

makes the service's parts in DIR (its records in the empty PostgreSQL database of --database, if given) and fills them
with `tests.bench.history`. Then `casevault serve` starts on it, with CASEVAULT_STATE=DIR, CASEVAULT_DEVELOPMENT=1 and
the same CASEVAULT_DATABASE_URL. Its people are known to its development issuer (--issuer, if not at the usual address)
as person-0@example.com and so on, its customers as directory-0 and so on, their stamps as stamp-0 and so on:

    curl --cacert DIR/tls/ca.pem https://127.0.0.1:8443/development/token -d subject=person-9@example.com \\
        -d role=CaseVault.SupportEngineer     # or CaseVault.Auditor, or CaseVault.Operator and -d directory=directory-0

Case N is assigned to person N and person N + 7, modulo the number of people: a fivehundredth of the bundles.
--at is the moment up to which the history goes (else now): after one some days ago, bundles are due.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from audit.times import parse_rfc3339, to_microseconds
from audit.tlog.checkpoint import Signer
from retention.adapters import Adapters
from retention.assembly import initialise
from retention.config import Settings, from_environment
from retention.domain.row_tag import Binding
from retention.keys.signing import BINDING_KEY, LOG_KEY, RECEIPT_KEY
from tests.bench.fill_records import QuickTiles, fill
from tests.bench.history import History


def fill_service(
    settings: Settings, history: History, issuer: str, *, said: bool = False, unsequenced: int = 0
) -> float:
    """Make a service and fill it; return the seconds that the filling took."""
    if not initialise(settings):
        raise ValueError("there is a service already: name a new folder, and a new database")
    adapters = Adapters(settings)
    records, signing = adapters.records(), adapters.signing_keys()
    started = time.perf_counter()

    def tell(written: int) -> None:
        if said:
            rate = written / (time.perf_counter() - started)
            print(f"\r{written:,} of {history.entries:,} entries, {rate:,.0f}/s ", end="", file=sys.stderr)

    try:
        fill(
            records.engine,
            history,
            tiles=QuickTiles(settings.log_folder) if not settings.azure.blob else adapters.tiles(),
            log=Signer(settings.log_origin, signing.read(LOG_KEY)),
            receipts=Signer(settings.receipt_key_name, signing.read(RECEIPT_KEY)),
            binding=Binding(signing.read(BINDING_KEY)),
            issuer=issuer,
            unsequenced=unsequenced,
            tell=tell,
        )
    finally:
        records.close()
    os.sync()  # the tiles were not synchronised one by one
    return time.perf_counter() - started


def main() -> int:
    """Fill what the options name."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundles", type=int, required=True)
    parser.add_argument("--entries", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--database")
    parser.add_argument("--at")
    parser.add_argument("--issuer", default="https://127.0.0.1:8443/development")
    wanted = parser.parse_args()
    environment = {**os.environ, "CASEVAULT_STATE": str(wanted.folder), "CASEVAULT_DEVELOPMENT": "1"}
    if wanted.database:
        environment["CASEVAULT_DATABASE_URL"] = wanted.database
    try:
        at = parse_rfc3339(wanted.at) if wanted.at else datetime.now(UTC)
        history = History(wanted.bundles, wanted.entries, to_microseconds(at))
        seconds = fill_service(
            from_environment(environment), history, wanted.issuer, said=sys.stderr.isatty()
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rate = wanted.entries / seconds
    print(
        f"{wanted.bundles:,} bundles and {wanted.entries:,} entries in {seconds:.0f} s, {rate:,.0f} entries/s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
