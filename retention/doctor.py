"""Checks of custody's parts, one by one, each independent of the others as far as possible.

Each check returns a fact when all is well, and raises `NotWell`, or the part's own error, when a person has something
to change. What a check writes is removed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice

from audit.cosigning.client import Cosigners
from audit.log.tail_recovery import RowGaps, missing_tiles, recorded_size
from audit.mirror.copying import Mirror, newest_kept, published_checkpoint
from audit.tlog.checkpoint import NoteError, Signer, Verifier
from retention.adapters import Adapters
from retention.custody.access.altered_records import find_altered
from retention.custody.access.first_binding import is_marked
from retention.custody.backlog import measure
from retention.custody.log_gate import LogGate, check_now, live_waiver
from retention.custody.timekeeping import Sources, doubt, read_mark
from retention.domain.faults import Unavailable
from retention.domain.ids import Kind, new_id
from retention.domain.row_tag import Binding
from retention.domain.trusted_time import SLACK
from retention.envelope.data_keys import DataKey
from retention.keys.signing import BINDING_KEY, COSIGNING_KEY, LINK_KEY, LOG_KEY, SIGNING_KEYS
from retention.records.migrate import describe, inspect_database, isolation, time_at
from retention.records.schema import inspect_schema
from retention.records.unit_of_work import Records

MOST_SKEW = timedelta(seconds=60)
MOST_UNSEQUENCED = timedelta(minutes=1)
MOST_LAG = timedelta(minutes=5)
"""Half of the promised time: a checkpoint is witnessed before it is ten minutes old."""
MOST_PENDING = timedelta(hours=1)
MOST_TOLD = 20

Look = Callable[[Adapters], str]


class NotWell(Exception):
    """A part that is not as it should be; the text says what to change."""


@contextmanager
def _records(adapters: Adapters) -> Iterator[Records]:
    records = adapters.records()
    try:
        yield records
    finally:
        records.close()


def database(adapters: Adapters) -> str:
    """Check that the database is reachable, of the newest version, durable, serializable, and has our time."""
    with _records(adapters) as records:
        if found := inspect_database(records):
            raise NotWell("; ".join(found))
        kept_apart = isolation(records)
        if kept_apart != "serializable":
            raise NotWell(
                f"writing transactions are {kept_apart}, not serializable: remove that from the URL's options"
            )
        skew = _skew("the database", time_at(records.engine))
        return f"{describe(records.engine)}, newest version, durable, {kept_apart}{skew}"


def schema(adapters: Adapters) -> str:
    """Check that the database holds only what the service made; an administrator's own index is reported."""
    with _records(adapters) as records, records.read() as reads:
        found = inspect_schema(reads)
    if found.newer:
        raise NotWell(f"the database has version {found.newer}: run the newer program")
    if found.foreign:
        raise NotWell(f"{'; '.join(found.foreign)}: remove it, and find out who put it there")
    more = f"; besides, {'; '.join(found.indexes)}" if found.indexes else ""
    return f"as the service made it{more}"


def access(adapters: Adapters) -> str:
    """Check that what allows a read is as the service wrote it, and that no row of the log was deleted."""
    binding = Binding(adapters.signing_keys().read(BINDING_KEY))
    with _records(adapters) as records:
        if not is_marked(records, binding):
            raise NotWell(
                f"these records are not bound with this {BINDING_KEY}: the clock binds older records in its first "
                "round; if it reports that it cannot, they were altered or restored"
            )
        found = list(islice(find_altered(records, binding, adapters.clock().now()), MOST_TOLD))
        with records.read() as reads:
            missing = RowGaps().look(reads)
    if missing:
        found.append(f"{missing} rows of the log were deleted: run `casevault audit verify` to see which")
    if found:
        raise NotWell(
            f"{'; '.join(found)}: these open nothing; restore what was changed, or end the access to a case with "
            "`casevault rebind`"
        )
    return "the records of who is allowed to read what are as the service wrote them"


def object_store(adapters: Adapters) -> str:
    """Check that bundles can be written and erased, and that the account has our time."""
    objects, _ = adapters.stores()
    objects.check()
    return f"bundles can be written and erased{_skew('the storage account', adapters.storage_time())}"


def key_store(adapters: Adapters) -> str:
    """Check that data keys can be written and erased."""
    _, keys = adapters.stores()
    keys.check()
    return "data keys can be written and erased"


def key_encryption_key(adapters: Adapters) -> str:
    """Check that the key-encryption key unwraps a throw-away data key that it wrapped."""
    wrapper = adapters.wrapper()
    throw_away, bundle = DataKey.generate(), new_id(Kind.BUNDLE)
    wrapped = wrapper.wrap(throw_away, bundle)
    if wrapper.unwrap(wrapped, bundle) != throw_away:
        raise NotWell(f"the key {wrapped.kek_id} did not unwrap what it had wrapped: do not use it")
    return f"{wrapped.kek_id} wraps and unwraps ({wrapped.algorithm})"


def signing_keys(adapters: Adapters) -> str:
    """Check that all signing keys that this process needs exist and are closed to others."""
    keys = adapters.signing_keys()
    needed = SIGNING_KEYS if adapters.settings.public_keys is None else (LINK_KEY, BINDING_KEY)
    for name in needed:
        keys.read(name)
    if adapters.settings.cosigned_folder.exists():
        adapters.cosigning_keys().read(COSIGNING_KEY)
    return f"{', '.join(needed)}: present, and closed to others"


def log(adapters: Adapters) -> str:
    """Check that the published checkpoint is signed by the log's key."""
    try:
        checkpoint = published_checkpoint(adapters.tiles(), _log_key(adapters))
    except NoteError as error:
        raise NotWell(
            f"the published checkpoint does not verify with {LOG_KEY}: {error}; restore the log's own key, and check "
            "CASEVAULT_LOG_ORIGIN"
        ) from None
    if checkpoint is None:
        return "nothing has been signed yet"
    if stopped := _stopped_log(adapters):
        raise NotWell(stopped)
    return f"{checkpoint.size} entries under a signed checkpoint"


def _stopped_log(adapters: Adapters) -> str | None:
    """Say why the log cannot be signed further before the records are reconciled; None when nothing prevents it."""
    tiles, key = adapters.tiles(), _log_key(adapters)
    heal = "a running clock does it within a minute, or run: casevault reconcile"
    with _records(adapters) as records:
        missing = missing_tiles(records.engine, tiles, key)
        size = recorded_size(records.engine)
    if missing is not None:
        what = f"its store lacks tiles of the signed entries {missing.start} to {missing.newest.size}"
        return (
            f"{what}: it was restored from a back-up. They are to be written again from the database: {heal}"
        )
    published = published_checkpoint(tiles, key)
    if published is not None and published.size > size:
        what = (
            f"the database holds {size} entries of a log of {published.size}: it was restored from a back-up"
        )
        return f"{what}. The tail is to be put back from the tiles: {heal}"
    return None


def reading(adapters: Adapters) -> str:
    """Check that reading is allowed: the records are as new as the log's copies."""
    key, now = _log_key(adapters), adapters.clock().now()
    with _records(adapters) as records:
        gate = LogGate(records, adapters.tiles(), adapters.witness(adapters.settings.log_origin), key)
        try:
            known = check_now(gate, records, now)
        except Unavailable as error:
            raise NotWell(f"nothing is opened: {error.message}") from None
        with records.read() as reads:
            waived = live_waiver(reads, now)
    until = "" if waived is None else f"; the witness was waived until {waived:%Y-%m-%d %H:%M}Z"
    return f"allowed: the records hold all {known} entries of the log's copies{until}"


def witness(adapters: Adapters) -> str:
    """Check that the witness's place is reliable, and has the checkpoints that it should have by now."""
    place = adapters.witness(adapters.settings.log_origin)
    if found := place.inspect():
        raise NotWell("; ".join(found))
    key = _log_key(adapters)
    with _records(adapters) as records:
        lag = Mirror(records.engine, adapters.tiles(), key, place, adapters.clock()).lag()
    if lag > MOST_LAG:
        raise NotWell(f"{place.place} lacks a checkpoint that is {_time(lag)} old: the clock's log says why")
    kept = newest_kept(place, key)
    return f"{place.place} keeps {kept.size if kept else 0} entries, nothing waits longer than {_time(lag)}"


def cosigners(adapters: Adapters) -> str:
    """Check that everyone asked to cosign responds as a witness does."""
    place = adapters.settings.witness
    asked = place.cosigners
    if not asked:
        return "nobody is asked to cosign"
    cosigners = Cosigners(asked, adapters.tiles(), authorities=place.cosigner_authorities)
    if found := cosigners.unreachable():
        raise NotWell("; ".join(f"{name}: {why}" for name, why in found.items()))
    return f"{', '.join(each.verifier.name for each in asked)}: respond"


def clock(adapters: Adapters) -> str:
    """Check that the work of the clock is done: sequencing, sweeping, erasing."""
    with _records(adapters) as records, records.read() as reads:
        figures = measure(reads, adapters.clock().now())
    limits = {
        "casevault_log_oldest_unsequenced_seconds": (
            "an entry has waited for its place in the log",
            MOST_UNSEQUENCED,
        ),
        "casevault_erasure_oldest_pending_seconds": ("an erasure has waited", MOST_PENDING),
    }
    found = [
        f"{what} for {_time(timedelta(seconds=figures[name]))}"
        for name, (what, most) in limits.items()
        if figures[name] > most.total_seconds()
    ]
    if overdue := int(figures["casevault_bundles_overdue"]):
        found.append(f"{overdue} bundles are overdue")
    if found and (stopped := _stopped_log(adapters)):
        raise NotWell(f"{'; '.join(found)}: {stopped}")
    if found:
        raise NotWell(f"{'; '.join(found)}: is the clock running (`casevault serve`, or the function app)?")
    pending = int(figures["casevault_erasures_pending"])
    return f"nothing waits for the log or is overdue; {pending or 'no'} erasures are waiting"


def trust_in_time(adapters: Adapters) -> str:
    """Check this machine's clock against other clocks and the service's own memory."""
    with _records(adapters) as records:
        witness = adapters.witness(adapters.settings.log_origin)
        others = adapters.other_clocks(records, witness)
        with records.read() as reads:
            doubted = doubt(read_mark(reads))
        apart = [f"{name} is {_time(skew)} apart" for name, skew in _apart(adapters, others) if skew > SLACK]
    if doubted:
        raise NotWell(
            f"{doubted}: set this machine's clock by NTP; if it is right, it is trusted after "
            f"{_time(adapters.settings.time_settle)} at most, or at once by `casevault time confirm`"
        )
    if apart:
        raise NotWell(f"this machine's clock is not trusted: {'; '.join(apart)}: set the clocks by NTP")
    return f"erasure goes by this machine's clock and {', '.join(others) or 'its run since the last start'}"


def _apart(adapters: Adapters, others: Sources) -> Iterator[tuple[str, timedelta]]:
    for name, asked in others.items():
        there = asked()
        if there is not None:
            yield name, abs(there - adapters.machine_clock.wall())


LOOKS: dict[str, tuple[Look, tuple[str, ...]]] = {
    "database": (database, ("CASEVAULT_DATABASE", "CASEVAULT_STATE")),
    "schema": (schema, ("CASEVAULT_DATABASE", "CASEVAULT_STATE")),
    "access": (access, ("CASEVAULT_DATABASE", "CASEVAULT_SIGNING", "CASEVAULT_STATE")),
    "bundles": (object_store, ("CASEVAULT_BLOB", "CASEVAULT_STATE")),
    "data keys": (key_store, ("CASEVAULT_BLOB", "CASEVAULT_DATA_KEY", "CASEVAULT_STATE")),
    "key": (key_encryption_key, ("CASEVAULT_KEY", "CASEVAULT_STATE")),
    "signing keys": (signing_keys, ("CASEVAULT_SIGNING", "CASEVAULT_COSIGN_", "CASEVAULT_STATE")),
    "log": (log, ("CASEVAULT_BLOB", "CASEVAULT_LOG", "CASEVAULT_SIGNING", "CASEVAULT_STATE")),
    "reading": (
        reading,
        (
            *("CASEVAULT_DATABASE", "CASEVAULT_BLOB", "CASEVAULT_SIGNING"),
            *("CASEVAULT_WITNESS_FOLDER", "CASEVAULT_WITNESS_BUCKET", "CASEVAULT_WITNESS_ENDPOINT"),
        ),
    ),
    "witness": (witness, ("CASEVAULT_WITNESS", "CASEVAULT_DATABASE", "CASEVAULT_SIGNING")),
    "cosigners": (cosigners, ("CASEVAULT_COSIGNERS",)),
    "time": (trust_in_time, ("CASEVAULT_DATABASE", "CASEVAULT_STATE", "CASEVAULT_BLOB", "CASEVAULT_WITNESS")),
    "clock": (clock, ("CASEVAULT_DATABASE", "CASEVAULT_STATE")),
}
"""The checks by name, and the prefixes of the settings that each depends on."""


def _log_key(adapters: Adapters) -> Verifier:
    if adapters.settings.public_keys is not None:
        return adapters.settings.public_keys.log
    return Signer(adapters.settings.log_origin, adapters.signing_keys().read(LOG_KEY)).verifier


def _skew(what: str, there: datetime | None) -> str:
    """Say how far another clock is from this machine's; NotWell when too far, empty where there is none."""
    if there is None:
        return ""
    skew = abs(there - datetime.now(UTC))
    if skew > MOST_SKEW:
        raise NotWell(f"the clocks of this machine and of {what} are {_time(skew)} apart: set them by NTP")
    return f", its clock within {max(1, round(skew.total_seconds()))} s of this one"


def _time(time: timedelta) -> str:
    seconds = round(time.total_seconds())
    return f"{seconds} s" if seconds < 600 else f"{seconds // 60} min"
