"""`casevault audit verify`: is the log what was signed, and what its witness keeps of it?

The log is read where the caller can see it: published over HTTPS, leaves or hashes only; in the records, on the
service's own machine; or as the witness keeps it. Each finding is a line of its own, and the command ends with an
error. The witness is read before the log, so that a log which grows meanwhile raises no false alarm.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from audit.log.verify import Tell, Verdict
from audit.mirror.compare import (
    Kept,
    Log,
    MirroredLog,
    MirrorVerdict,
    RecordedLog,
    hold_to_witness,
    read_kept,
)
from audit.mirror.store import MirrorStore, MirrorTiles
from audit.tlog.checkpoint import Verifier
from audit.tlog.tile_store import CHECKPOINT_PATH, TileSource
from intake_api.cli import public_log
from intake_api.cli.cli_errors import CliError, plain
from intake_api.cli.client import Client
from intake_api.cli.connection import connected, keys_option, pinned_keys
from intake_api.cli.local_log import local_settings, open_local_log, with_database
from intake_api.cli.options import PATH, Command, with_json
from intake_api.cli.output_file import Output
from intake_api.cli.print_tables import say, show_json
from intake_api.cli.progress import counting
from retention.adapters import Adapters
from retention.config import MirrorSettings, Settings, from_environment

CONFIGURED = "configured"
_BUCKET = "s3://"

_EXAMPLES = (
    "casevault audit verify --keys keys.json --checkpoint last.txt",
    "casevault audit verify --keys keys.json --witness s3://witness-of-casevault",
    "casevault audit verify --keys keys.json --witness s3://witness-of-casevault --witness-alone",
    "casevault audit verify --state casevault-state --witness",
)


@dataclass(frozen=True, slots=True)
class _Place:
    """A witness as the command line names it."""

    name: str
    endpoint: str | None

    def open(self, key: Verifier, state: Path | None) -> MirrorStore:
        """Open the witness of the log with this key."""
        if self.name == CONFIGURED:
            here = local_settings(state) if state is not None else from_environment(os.environ)
            if not here.state.is_dir():
                raise CliError(
                    f"{here.state} is not on this machine: name the witness with --witness FOLDER or "
                    "--witness s3://BUCKET"
                )
            return Adapters(here).witness(key.name)
        if self.name.startswith(_BUCKET):
            place = MirrorSettings(bucket=self.name.removeprefix(_BUCKET).rstrip("/"), endpoint=self.endpoint)
        elif not Path(self.name).is_dir():
            raise CliError(f"{self.name} is not a folder; name a bucket as s3://BUCKET")
        else:
            place = MirrorSettings(folder=Path(self.name))
        return Adapters(Settings(state=Path(self.name), witness=place)).witness(key.name)


@click.command("verify", cls=Command, examples=_EXAMPLES)
@click.option(
    "--checkpoint",
    type=PATH,
    help="An earlier checkpoint that the log must still lead to. Replaced by the newest when all is well.",
)
@click.option("--hashes", is_flag=True, help="Rebuild the tree from hashes only; needs no token.")
@click.option(
    "--witness",
    "place",
    is_flag=False,
    flag_value=CONFIGURED,
    metavar="[FOLDER|s3://BUCKET]",
    help="Compare the log with what its witness keeps. Without a value: the witness in the service's settings.",
)
@click.option(
    "--witness-endpoint",
    "endpoint",
    envvar="CASEVAULT_WITNESS_ENDPOINT",
    show_envvar=True,
    metavar="URL",
    help="Where the bucket is, if not at AWS. Credentials come as boto3 finds them.",
)
@click.option("--witness-alone", "alone", is_flag=True, help="Check the whole log as the witness keeps it.")
@with_database
@with_json
@keys_option
@connected
def verify(
    client: Client,
    checkpoint: Path | None,
    hashes: bool,
    place: str | None,
    endpoint: str | None,
    alone: bool,
    state: Path | None,
    as_json: bool,
    keys: Path | None,
) -> None:
    """Check that the log is what was signed, as an outsider: fetch the tiles, rebuild the tree, check the signature.

    On a fault it names the first bad leaf and what is wrong with it, and ends with an error. With the auditor role
    every leaf is read; with --hashes only hashes, which anybody is allowed to see. With --witness it also finds a log
    that was rewritten and signed again with the right keys, a database that was rolled back, a missing tail, and a
    witness that somebody disturbed.
    """
    if alone and (place is None or hashes or checkpoint is not None):
        raise click.UsageError(
            "--witness-alone needs --witness, and cannot be combined with --hashes or --checkpoint"
        )
    with counting("checking the log") as tell, _opened(client, keys, state, hashes, tell) as seen:
        log = _WithEarlier(seen.log, _kept_before(checkpoint))
        if place is None:
            found = _Found.of_walk(log.walk([]), "hashes of leaves" if hashes else "leaves")
        else:
            witness = _Place(place, endpoint).open(seen.key, state)
            kept = _read_kept(witness, seen.key)
            whole = MirroredLog(MirrorTiles(witness, kept.newest), seen.key, tell) if alone else log
            found = _Found.of_witness(hold_to_witness(whole, witness, kept), witness.place)
        if not found.problems and checkpoint is not None:
            with Output.at(checkpoint, force=True).writing() as target:
                target.write(seen.tiles.get(CHECKPOINT_PATH))
    found.show(as_json)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The log as the caller can see it."""

    log: Log
    tiles: TileSource
    key: Verifier


@contextmanager
def _opened(
    client: Client, keys: Path | None, state: Path | None, hashes: bool, tell: Tell
) -> Iterator[_Seen]:
    if state is not None:
        with open_local_log(state, keys) as local, local.read() as connection:
            yield _Seen(RecordedLog(connection, local.key, local.tiles, tell), local.tiles, local.key)
        return
    tiles, (key, _) = public_log.HttpTiles(client), pinned_keys(client, keys)
    log = (public_log.HashedLog if hashes else public_log.PublishedLog)(tiles, key, tell)
    yield _Seen(log, tiles, key)


@dataclass(frozen=True, slots=True)
class _WithEarlier:
    """A log that is also compared with an earlier checkpoint."""

    log: Log
    earlier: Sequence[str]

    def walk(self, notes: Sequence[str]) -> Verdict:
        return self.log.walk([*notes, *self.earlier])

    def hashes(self) -> Iterable[bytes]:
        return self.log.hashes()


def _kept_before(checkpoint: Path | None) -> list[str]:
    try:
        return [checkpoint.read_text("utf-8")] if checkpoint else []
    except FileNotFoundError:
        say(
            f"{checkpoint} does not exist yet: compared with no earlier checkpoint; this one will be kept there"
        )
        return []
    except (OSError, UnicodeDecodeError):
        raise CliError(f"{checkpoint} does not hold a checkpoint: it is not text") from None


def _read_kept(witness: MirrorStore, key: Verifier) -> Kept:
    """Read what the witness keeps; CliError when there is nothing to compare: no log disagrees with nothing."""
    kept = read_kept(witness, key)
    if kept.notes:
        return kept
    why = kept.strange[0] if kept.strange else "a log is kept within two minutes of its first entry"
    raise CliError(f"{witness.place} keeps no checkpoint of {key.name}: {why}")


@dataclass(frozen=True, slots=True)
class _Found:
    """The result to print: all is well, or a line for each problem."""

    good: str
    bad: str
    problems: list[str]
    document: dict[str, object]

    @classmethod
    def of_walk(cls, verdict: Verdict, read: str) -> _Found:
        redacted = f"; the personal details of {verdict.redacted} were redacted" if verdict.redacted else ""
        signed = _plural(verdict.checkpoints, "signed checkpoint")
        good = f"the log is sound: {verdict.leaves} {read}, {signed}{redacted}"
        problems = [problem.what for problem in verdict.problems]
        return cls(good, "the log is NOT what was signed", problems, public_log.as_json(verdict))

    @classmethod
    def of_witness(cls, verdict: MirrorVerdict, place: str) -> _Found:
        walk = verdict.walk
        good = (
            f"the log is sound and agrees with {place}: {walk.leaves} leaves, {_plural(verdict.held, 'checkpoint')} "
            f"kept there, the newest of {verdict.kept}; {walk.leaves - verdict.kept} leaves are newer"
        )
        document = {
            **public_log.as_json(walk),
            "good": verdict.good,
            "witness": {
                "place": place,
                "held": verdict.held,
                "kept": verdict.kept,
                "missing": [verdict.missing.start, verdict.missing.stop],
                "lost": dict(verdict.lost),
                "first_other": verdict.first_other,
                "disturbed": list(verdict.disturbed),
            },
        }
        bad = "the log and its witness do NOT agree"
        return cls(good, bad, list(verdict.sentences()), document)

    def show(self, as_json: bool) -> None:
        """Print the result; CliError unless all is well."""
        if as_json:
            show_json(self.document)
        else:
            print("\n".join(map(plain, self.problems or [self.good])))
        if self.problems:
            more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
            raise CliError(f"{self.bad}: {self.problems[0]}{more}")


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
