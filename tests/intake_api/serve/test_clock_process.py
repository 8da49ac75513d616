"""The beats of the clock process: they go on whatever fails, and leave nothing erased behind in the write-ahead log."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from audit.mirror.store import MirrorUnavailableError
from intake_api.serve import clock_process
from intake_api.serve.clock_process import LONGEST_PAUSE, Beat, Clockwork, run
from retention.assembly import assemble, initialise
from retention.config import Settings
from retention.custody import contents_index
from retention.custody.log_rules import tell_rules
from retention.records.sqlite_engine import truncate_wal
from tests.fakes.ids import bundle, part


class Stop(threading.Event):
    """Counts the waits instead of waiting, and stops after some."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._rounds = rounds

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0)
        if len(self.waits) >= self._rounds:
            self.set()
        return self.is_set()


def test_a_beat_that_fails_waits_longer_each_time_and_recovers():
    outcomes = iter([OSError(), OSError(), OSError(), False, True, False])

    def work() -> bool:
        outcome = next(outcomes)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    stop = Stop(6)
    Beat("test", work).run(0.5, stop)
    assert stop.waits == [1.0, 2.0, 4.0, 0.5, 0, 0.5]


def test_no_pause_is_longer_than_the_longest():
    def work() -> bool:
        raise OSError

    stop = Stop(20)
    Beat("test", work).run(0.5, stop)
    assert max(stop.waits) == LONGEST_PAUSE


def _services(tmp_path):
    settings = Settings(state=tmp_path / "state")
    initialise(settings)
    return assemble(settings)


def test_the_clock_signs_the_log_and_stops_when_asked(tmp_path):
    services = _services(tmp_path)
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(services, 0.05, stop))
    thread.start()
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    services.close()


def test_a_witness_that_does_not_answer_holds_up_the_sequencer_alone(tmp_path):
    services = _services(tmp_path)
    services.settings.witness_folder.write_text("no folder: whoever looks into it gets an error")
    clock_process = Clockwork(services)
    clock_process.prepare(0.05, Stop(3))  # goes on to the beats
    with pytest.raises(MirrorUnavailableError):
        clock_process._sequence()
    for job in clock_process.jobs():
        if job.name != "sequence":
            job.round()
    services.settings.witness_folder.unlink()
    clock_process._sequence()
    assert services.reconciled.is_set()
    services.close()


def test_a_stop_ends_the_scrubbing_in_the_middle_of_a_bundle(tmp_path, monkeypatch):
    services, stop, rested = _services(tmp_path), threading.Event(), []

    def scrub(_custody, pace):
        assert pace.period == timedelta(days=30)
        pace.rest(0.0)
        rested.append("once")
        stop.set()
        pace.rest(60.0)
        rested.append("never")

    monkeypatch.setattr(clock_process, "scrub_next", scrub)
    (job,) = (job for job in clock_process.Clockwork(services, stop).jobs() if job.name == "scrub")
    assert job.round() is False
    assert rested == ["once"]
    services.close()


def test_indexing_goes_on_until_the_process_is_told_to_stop(tmp_path, monkeypatch):
    services, stop = _services(tmp_path), threading.Event()
    begun = []

    def index(custody, pace):
        assert (custody, pace.seconds) == (services.custody, clock_process.INDEX_SECONDS)
        begun.append("once")
        pace.rest(0.0)
        stop.set()
        with pytest.raises(contents_index.Stopped):
            pace.rest(0.0)
        return False

    monkeypatch.setattr(clock_process, "index_next", index)
    (job,) = (job for job in Clockwork(services, stop).jobs() if job.name == "index")
    assert job.round() is False
    assert begun == ["once"]
    services.close()


def test_what_a_dead_writer_left_is_removed_at_the_start(tmp_path):
    services = _services(tmp_path)
    store = services.custody.objects
    bundle_id, part_id = bundle(1), part(1)
    writer = store.new_part(bundle_id, part_id)
    writer.reserve(10)[:] = b"x" * 10
    writer.advance(10)
    writer._file.close()  # as when the process dies: the lock falls, the file stays
    writer._file = None
    assert store.remains(bundle_id) != []
    clock = Clockwork(services)
    clock.prepare(0.05, threading.Event())
    (compare,) = (job for job in clock.jobs() if job.name == "compare")
    while compare.round():
        pass
    assert store.remains(bundle_id) == []
    services.close()


def test_the_write_ahead_log_is_emptied_unless_a_reader_is_in_the_way(tmp_path):
    services = _services(tmp_path)
    services.sequencer.run_once()  # there is a row now
    records = services.custody.records
    wal = services.settings.records_file.with_name("records.db-wal")
    with records.read() as reads:
        reads.exec_driver_sql("SELECT count(*) FROM audit_tree").scalar()
        with records.engine.begin() as writes:
            writes.exec_driver_sql("UPDATE audit_tree SET size = size")
        assert not truncate_wal(records.engine)
        assert wal.stat().st_size > 0
    assert truncate_wal(records.engine)
    assert wal.stat().st_size == 0
    services.close()


def test_the_log_goes_on_while_the_records_are_compared_with_the_stores(tmp_path, monkeypatch):
    services = _services(tmp_path)
    clock = Clockwork(services)
    listed = []

    def list_bundles(_self):
        assert services.sequencer.run_once() is not None  # signed in the middle of the comparison
        listed.append("keys")
        return iter(())

    monkeypatch.setattr(type(services.custody.keys), "list_bundles", list_bundles)
    tell_rules(services.custody)
    clock.prepare(0.05, threading.Event())
    assert listed == []
    clock._sequence()
    while clock._compare():
        pass
    assert listed[0] == "keys"
    assert services.comparison.is_done
    services.close()
