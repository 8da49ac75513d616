"""What a size of service needs, and where each limit is: computed from measured and documented figures, never typed.

    python -m tests.bench.capacity            # prints the page
    python -m tests.bench.capacity --write    # writes docs/capacity.md; a test compares them

docs/capacity.json holds what is assumed, what was measured (when, where, by which command) and what Azure documents
(on which page). Change it there, and write the page anew.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from functions.queues import AT_ONCE
from retention.custody.uploads.upload_session import PART_SIZE
from retention.jobs.sweep import SPREAD

DOCS = Path(__file__).resolve().parents[2] / "docs"
DATA, PAGE = DOCS / "capacity.json", DOCS / "capacity.md"
PART_GB = PART_SIZE / 1e9
DAY, HOUR = 86_400, 3_600
EVERY = 30
"""Seconds between two runs of the function `read_back`, by default."""


@dataclass(frozen=True, slots=True)
class Load:
    """What happens in a second."""

    name: str
    bundles: float
    erasures: float
    opens: float
    grants: float
    read_gb: float


class Figures:
    """The data file, and what follows from it."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.a = {name: each["value"] for name, each in data["assumed"].items()}
        self.m = {name: each["value"] for name, each in data["measured"].items()}
        self.d = {name: each["value"] for name, each in data["documented"].items()}
        self.parts = math.ceil(self.a["bundle_gb"] / PART_GB)
        self.held = self.a["held_pb"] * 1e6 / self.a["bundle_gb"]
        self.a_day = self.held / self.a["days_kept"]

    def upload(self, what: str) -> float:
        """Of one whole bundle: what one part costs, and each further one."""
        one, three = self.m[f"upload_1_{what}"], self.m[f"upload_3_{what}"]
        return float(one + (self.parts - 1) * (three - one) / 2)

    def read_back(self, what: str) -> float:
        whole = self.m[f"read_back_3_{what}"]
        return float(whole if what != "storage" else whole / 3 * self.parts)

    def loads(self) -> list[Load]:
        a, average = self.a, self.a_day / DAY
        people = a["engineers"] / (a["working_hours"] * HOUR)
        reading = people * a["opens"], people * a["grants"], people * a["read_mb"] / 1e3
        busy = [a["engineer_busy"] * each for each in reading]
        storm = a["stamps"] / (a["storm_hours"] * HOUR)
        return [
            Load("average", average, average, *reading),
            Load("busiest hour", a["busy"] * average, a["closing"] * average, *busy),
            Load("every stamp at once", storm, average, *busy),
        ]

    def per_second(self, load: Load, what: str) -> float:
        """Commits, leaves, Key Vault operations or storage requests of a load."""
        return (
            load.bundles * (self.upload(what) + self.read_back(what))
            + load.erasures * self.m[f"erasure_{what}"]
            + load.opens * self.m[f"read_{what}"]
            + load.grants * self.m[f"grant_{what}"]
        )

    def gbps(self, load: Load) -> float:
        return load.bundles * self.a["bundle_gb"] * 8

    def intake_cores(self, load: Load) -> float:
        """Taking bodies over TLS, sealing, sending."""
        return load.bundles * self.a["bundle_gb"] * (self.m["intake_cpu"] + self.m["seal_cpu"])

    def read_back_cores(self, load: Load) -> float:
        return load.bundles * self.a["bundle_gb"] * self.m["read_back_cpu"]

    def uploads_at_once(self, load: Load) -> float:
        """Each takes as long as its line needs for it, and holds a thread for so long (Little's law)."""
        return load.bundles * self.a["bundle_gb"] * 8e3 / self.a["line_mbps"]

    def downloads_at_once(self, load: Load) -> float:
        return load.read_gb * 8e3 / self.a["reader_mbps"]

    def for_cores(self, load: Load) -> int:
        return max(2, math.ceil(self.intake_cores(load) / self.a["use"] / self.a["cores"]))

    def for_lines(self, load: Load) -> int:
        """API processes whose seats hold the uploads and the downloads, if all come to the API."""
        return math.ceil(
            max(
                self.uploads_at_once(load) / self.a["uploads"], self.downloads_at_once(load) / self.a["reads"]
            )
        )

    def processes(self, load: Load) -> int:
        return max(self.for_cores(load), self.for_lines(load))

    def seats(self) -> int:
        """Uploads at once of the template's most replicas, at the API alone."""
        return int(self.a["replicas"] * self.a["uploads"])

    def all_seats(self) -> int:
        """The same with their Blob endpoints."""
        return int(self.seats() + self.a["replicas"] * (self.a["uploads"] + self.a["reads"]))

    def readers(self, load: Load) -> int:
        """Clocks that read back, each on a processor of its own."""
        return math.ceil(load.bundles * HOUR / self.one_reader())

    def one_reader(self) -> float:
        """Bundles an hour that one clock reads back, on a processor of its own."""
        return HOUR / (self.a["bundle_gb"] * self.m["read_back_cpu"])

    def by_queue(self) -> float:
        """The same of the Functions queue: as many bundles not tried yet as the timer sends messages for, and as many
        instances as there are."""
        return float(min(self.a["instances"] * self.one_reader(), SPREAD * AT_ONCE * HOUR / EVERY))


def number(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    first = list(head)
    lines = [first, ["---"] * len(first), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _assumed(f: Figures) -> str:
    return table(
        ("", "assumed"), ((number(each["value"]), each["what"]) for each in f.data["assumed"].values())
    )


def _needs(f: Figures) -> str:
    loads = f.loads()
    rows = [
        ("bundles a second", [load.bundles for load in loads]),
        ("Gbps in", [f.gbps(load) for load in loads]),
        ("storage requests a second", [f.per_second(load, "storage") for load in loads]),
        ("Key Vault operations a second", [f.per_second(load, "vault") for load in loads]),
        ("PostgreSQL commits a second", [f.per_second(load, "commits") for load in loads]),
        ("leaves a second", [f.per_second(load, "leaves") for load in loads]),
        ("processors for intake", [f.intake_cores(load) for load in loads]),
        ("processors for read-back", [f.read_back_cores(load) for load in loads]),
    ]
    rows.append(("uploads at once", [f.uploads_at_once(load) for load in loads]))
    rows.append(("downloads at once", [f.downloads_at_once(load) for load in loads]))
    shown = [(what, *map(number, values)) for what, values in rows]
    shown.append((f"API processes of {f.a['cores']} processors", *(str(f.for_cores(load)) for load in loads)))
    shown.append(
        (f"API processes of {f.a['uploads']} uploads at once", *(str(f.for_lines(load)) for load in loads))
    )
    shown.append(("clocks that read back", *(str(f.readers(load)) for load in loads)))
    connections = [(f.processes(load) * 2 + f.readers(load)) * f.a["connections"] for load in loads]
    shown.append(("database connections, at most", *(f"{each:,}" for each in connections)))
    return table(("", *(load.name for load in loads)), shown)


def _costs(f: Figures) -> str:
    acts = [
        (f"upload of {f.a['bundle_gb']} GB, {f.parts} parts", f.upload),
        ("its read-back", f.read_back),
        ("grant", lambda what: f.m[f"grant_{what}"]),
        ("read of 1 MiB", lambda what: f.m[f"read_{what}"]),
        ("erasure on demand, one bundle", lambda what: f.m[f"erasure_{what}"]),
        ("run of the sequencer", lambda what: f.m[f"sequencing_run_{what}"]),
    ]
    counted = ("commits", "leaves", "vault", "storage")
    rows = [(name, *(f"{cost(what):,.0f}" for what in counted)) for name, cost in acts]
    return table(("one", "commits", "leaves", "Key Vault", "storage requests"), rows)


@dataclass(frozen=True, slots=True)
class Limit:
    what: str
    limit: float
    unit: str
    needs: str
    """commits, leaves, vault, storage, gbps, uploads, downloads, or read-back."""
    step: str
    exists: str


def _limits(f: Figures) -> list[Limit]:
    d = f.d
    vaults = "a vault, or a Managed HSM, for each group of tenants"
    accounts = "accounts by tenant hash"
    return [
        Limit(
            f"read-back by the Functions queue, {f.a['instances']} instances",
            f.by_queue(),
            "bundles an hour",
            "read-back",
            "more instances; embedded clocks on API processes read back too",
            "a setting",
        ),
        Limit(
            f"uploads at once, {f.a['replicas']} replicas, the API alone",
            f.seats(),
            "uploads",
            "uploads",
            "more replicas; more threads a process",
            "a setting; a server that holds no thread for each: design",
        ),
        Limit(
            "downloads at once, as many",
            f.a["replicas"] * f.a["reads"],
            "downloads",
            "downloads",
            "more replicas; more threads a process",
            "a setting",
        ),
        Limit("account ingress, default", d["ingress"], "Gbps", "gbps", accounts, "design"),
        Limit("account ingress, large regions", d["ingress_large"], "Gbps", "gbps", accounts, "design"),
        Limit("account requests, default", d["requests"], "a second", "storage", accounts, "design"),
        Limit("Key Vault, RSA 2048, software", d["rsa2048"] / 10, "a second", "vault", vaults, "design"),
        Limit("Key Vault, RSA 2048, HSM", d["rsa2048_hsm"] / 10, "a second", "vault", vaults, "design"),
        Limit("Key Vault, RSA 3072, HSM", d["rsa3072_hsm"] / 10, "a second", "vault", vaults, "design"),
        Limit("Managed HSM, AES 256, one partition", d["hsm_aes"], "a second", "vault", vaults, "a setting"),
        Limit(
            "PostgreSQL, decisions (2 shared processors here)",
            f.m["decisions"],
            "a second",
            "commits",
            "a larger server; then partitions by month",
            "a setting; design",
        ),
        Limit("sequencer", f.m["leaf_rate"], "leaves a second", "leaves", "log shards", "design"),
    ]


def _need(f: Figures, load: Load, needs: str) -> float:
    if needs == "gbps":
        return f.gbps(load)
    if needs == "read-back":
        return load.bundles * HOUR
    if needs == "uploads":
        return f.uploads_at_once(load)
    if needs == "downloads":
        return f.downloads_at_once(load)
    return f.per_second(load, needs)


def _limit_rows(f: Figures) -> str:
    loads = f.loads()
    ordered = sorted(_limits(f), key=lambda each: -_need(f, loads[-1], each.needs) / each.limit)
    rows = []
    for each in ordered:
        shares = [f"{_need(f, load, each.needs) / each.limit:.0%}" for load in loads]
        rows.append((each.what, f"{number(each.limit)} {each.unit}", *shares, each.step, each.exists))
    return table(
        ("limit", "is at", *(load.name for load in loads), "the step that lifts it", "there is"), rows
    )


def _measured(f: Figures) -> str:
    rows = [
        (name, number(each["value"]), each["unit"], each["date"], f"`{each['command']}`")
        for name, each in f.data["measured"].items()
    ]
    return table(("figure", "value", "", "when", "by"), rows)


def _documented(f: Figures) -> str:
    rows = [
        (
            each["unit"],
            number(each["value"]),
            f"[{each['page'].rsplit('/', 1)[1]}]({each['page']})",
            each["read"],
        )
        for each in f.data["documented"].values()
    ]
    return table(("Azure documents", "", "page", "read"), rows)


def page(data: Mapping[str, Any]) -> str:
    """docs/capacity.md."""
    f = Figures(data)
    _average, busy, storm = f.loads()
    hours = f.a["stamps"] / f.by_queue()
    return f"""# Capacity

Computed by `python -m tests.bench.capacity --write` from [capacity.json](capacity.json): what is assumed, what was
measured and by which command, what Azure documents and where. Nothing here was tried at this size, and nothing on Azure.
A test computes the page again and compares.

## What it is computed for

{_assumed(f)}

So {number(f.held)} bundles are held, {number(f.a_day)} come and {number(f.a_day)} are erased each day, \
{number(f.a_day / f.a["stamps"])} a stamp.

## What one act costs

Counted, so they hold on any machine; a bundle's parts are of 64 MiB. Storage requests are the client's, on Azurite.
Besides, each process that takes uploads asks twice in ten seconds whether the key can be used.

{_costs(f)}

## What it needs

{_needs(f)}

- Intake is {number(f.m["intake_cpu"])} processor seconds a GB for taking the body over TLS and {number(f.m["seal_cpu"])} \
for sealing and sending it; read-back {number(f.m["read_back_cpu"])}. API processes are used to {f.a["use"]:.0%} and never fewer than two.
- One clock reads {number(f.one_reader())} bundles an hour back; it has a processor of its own. Until a bundle is read
  back it cannot be opened; uploads and erasures do not wait for it.
- Connections: each API process opens up to {f.a["connections"]} for the API and as many for the Blob endpoint; each clock,
  and each function instance, as many again. A D4ds_v5 takes {number(f.d["pg_connections"])}, D16 and larger \
{number(f.d["pg_connections_most"])}.
- Erasing takes {number(f.m["erasure_storage"])} storage requests for each bundle, whatever its size. How many a second Azure
  does was not measured: Azurite's rate says nothing of it. The Functions host adds {f.d["instances_at_once"]} instances at a
  time, as many as messages wait divided by `batchSize`.

## Where each limit is

What each load takes of each limit; the first that is met comes first. "Design": it is not in the code.

{_limit_rows(f)}

- **Read-back** is queue work: in {EVERY} seconds the timer sends {SPREAD * AT_ONCE} messages at most for bundles not tried yet (and {AT_ONCE} for
  those whose next try is due), each instance reads one after the other on its processor, and a claim in the records keeps any two from reading the same. What every stamp has sent at
  once is read back within {number(hours)} hours by {f.a["instances"]} instances. Without a function app, or beside it, embedded clocks \
on {f.readers(busy)} API processes keep up in the busiest hour, on {f.readers(storm)} with every stamp at once; each takes a processor.
- **Uploads at once.** Each holds a thread for as long as its line needs: {f.a["bundle_gb"]} GB over {f.a["line_mbps"]} Mbit/s \
are {number(f.a["bundle_gb"] * 8e3 / f.a["line_mbps"])} s. {f.a["replicas"]} replicas take {f.seats()} at the API, or {f.all_seats()} with their Blob
  endpoints; whoever comes beyond is told 503 and Retry-After, and comes again: when every stamp sends at once, over \
{f.all_seats()} such lines it takes {number(f.a["stamps"] * f.a["bundle_gb"] * 8e3 / f.a["line_mbps"] / f.all_seats() / HOUR)} hours, not one. Nothing is lost by it, and small requests, health and
  downloads have seats of their own ([operations.md](operations.md#how-many-at-once)). What a slow line's parts cost is in
  [intake.md](intake.md#what-a-kill-loses): a bundle of {f.a["bundle_gb"]} GB at {f.a["line_mbps"]} Mbit/s has its {f.parts} parts by size, for they fill before they are 60 s old.
- **Account ingress** is met when every stamp sends at once, and only then: {number(f.gbps(storm))} Gbps, \
{number(f.gbps(storm) / f.d["ingress"])} accounts of {f.d["ingress"]} Gbps. Until there are several accounts, senders are \
slowed by 503 answers and try again (`docs/azure.md`), and nothing is lost. More ingress and capacity is given on request.
- **{number(f.a["held_pb"])} PB** is {f.a["held_pb"] * 1e15 / (f.d["account"] * 2**50):.0%} of one account.
- **One blob** takes {f.d["blob_requests"]} requests a second and {number(f.d["blocks"])} blocks: a bundle of \
{f.a["bundle_gb"]} GB has about {math.ceil(f.a["bundle_gb"] * 1e9 / (8 << 20))} blocks.
- **Key Vault**: wraps and unwraps count alike. Choose RSA 2048 or a Managed HSM; RSA 3072 in an HSM takes a quarter.
- **PostgreSQL**: measured with server, client and fsync on two shared processors; a server of its own does more. A disk
  of 2 TiB has {number(f.d["pg_iops"])} IOPS, the largest {number(f.d["pg_iops_most"])}; a commit takes at least one.
- **The sequencer** writes tiles to Blob Storage in {number(f.m["sequencing_run_storage"])} requests a run, one after the other: \
real round trips make a run longer, not the leaves fewer, since a run takes up to 5,000. If it dies the next one takes over in \
{number(f.m["takeover"])} s at most (measured).

## The steps

| step | what it is | there is |
|---|---|---|
| more API processes, more clocks, more function instances | they share nothing but database and account; `python -m tests.scale.run` \
kills them under load | code |
| a larger server, a larger disk | settings of Azure | a setting |
| accounts by tenant hash | a table of accounts, and each bundle's record names its own; erasure and reconciliation go over all | \
design |
| vaults by tenant group | a wrapped key names the version that wrapped it; which vault wraps is to be chosen by tenant | design |
| log shards | one log for each group of tenants, each with its own lock, tiles, checkpoints and witness; a case's entries stay in one | \
design |
| partitions by month | of `audit_entries`, by row number: old months are read only, and are moved or detached | design |

## Figures

{_measured(f)}

Machine: {f.data["measured"]["decisions"]["machine"]}.

{_documented(f)}
"""


def main() -> int:
    text = page(json.loads(DATA.read_text()))
    if "--write" in sys.argv[1:]:
        PAGE.write_text(text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
