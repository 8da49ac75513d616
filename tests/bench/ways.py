"""`casevault send` to a service that is near, by each of its ways: which is fastest where no line is in between.

    python tests/bench/ways.py [MEGABYTES] [ROUNDS]

Loopback and TLS; ways take turns; the sending alone, by the program's own parts, without reading back. Prints medians.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from intake_api.cli.client import Client
from intake_api.cli.commands.send import declared
from intake_api.cli.tokens import GivenToken
from intake_api.cli.transfer import through_link, with_token
from intake_api.cli.transfer.blob import Link
from intake_api.cli.transfer.rate import Pace
from intake_api.cli.transfer.remembered import Remembered
from intake_api.cli.transfer.source import SendJob, UploadSource
from tests.bench.line import OLGA, issue
from tests.journeys.served import ADMINISTRATOR, CASE_SYSTEM, Served, free_port, start

WAYS = {"token, 1 connection": 1, "token, 3 connections": 3, "link, 4 connections": None}
_UNSAID = dict.fromkeys(("type_", "trigger", "collected", "logs_end", "logs_start", "stamp", "send_logs_now"))


def send(served: Served, file: Path, case: str, count: int | None, number: int) -> float:
    """Seconds of one sending."""
    token = served.token({"subject": "rack-1", "role": "CaseVault.Stamp", "directory": "contoso"})
    client = Client(served.server, served.ca, GivenToken(token))
    options = {**_UNSAID, "roles": (), "case": case}
    what = UploadSource(file, file.name, f"{count} {number}")
    place = Remembered.place(file.parent, served.server, what.identity, {})
    metadata = declared(file.name, options, datetime.now(UTC))
    job = SendJob(client, what, metadata, {}, place, Pace(), count, saved=False, with_digest=False)
    link = None if count else Link.parse(issue(served, case))
    began = time.perf_counter()
    if link is None:
        with_token.deliver(job)
    else:
        through_link.deliver(job, link)
    return time.perf_counter() - began


def main(megabytes: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        served = start(Path(name), CASEVAULT_BLOB_LISTEN=f"127.0.0.1:{free_port()}")
        try:
            served.do("tenants", "register", "Contoso", "--directory", "contoso", who=ADMINISTRATOR)
            served.do("stamps", "register", "Rack 1", "--subject", "rack-1", who=OLGA)
            case = served.case_number()
            served.do("cases", "open", case, "--directory", "contoso", who=CASE_SYSTEM)
            file = Path(name) / "logs.bin"
            file.write_bytes(os.urandom(megabytes * 1_000_000))
            taken: dict[str, list[float]] = {way: [] for way in WAYS}
            for number in range(rounds):
                for way, count in WAYS.items():
                    taken[way].append(send(served, file, case, count, number))
                    time.sleep(megabytes / 400)  # the read-back of this one does not weigh on the next
        finally:
            served.stop()
    for way, seconds in taken.items():
        rates = [megabytes / one for one in seconds]
        print(
            f"{way:22} {statistics.median(rates):6.0f} MB/s  (from {min(rates):.0f} to {max(rates):.0f})",
            flush=True,
        )


if __name__ == "__main__":
    given = sys.argv[1:] + ["500", "5"][len(sys.argv) - 1 :]
    main(int(given[0]), int(given[1]))
