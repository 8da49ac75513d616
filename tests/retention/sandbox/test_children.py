"""A child's death, silence or excess is an error of its one task; nothing of it stays, and it can reach nothing."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from retention.sandbox.children import ChildFailed, Kind, Refused, Sandbox, SandboxBusy, Session
from tests.retention.sandbox import tasks

TASKS = Kind("tests.retention.sandbox.tasks", memory=64 << 20)
LINUX = sys.platform == "linux"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox for two children; in the end nothing of them is left in this process."""
    gc.collect()
    before = _descriptors()
    made = Sandbox(2, wait_s=0.05, step_s=30)
    yield made
    gc.collect()
    assert made.living == 0
    assert _descriptors() == before
    assert _children() == set()


@pytest.fixture
def session(sandbox: Sandbox) -> Iterator[Session]:
    one = sandbox.session()
    yield one
    one.close()


def _descriptors() -> set[str]:
    """The open pipes of this process."""
    found = set()
    for one in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the folder's own, which is closed again
            found.add(f"{one.name} {one.readlink()}")
    return {one for one in found if " pipe:" in one}


def _children() -> set[int]:
    """Children of this process that run the worker, zombies among them."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            if not line or b"sandbox/worker.py" in line:  # a zombie has no command line
                found.add(int(pid))
    return found


def test_bytes_go_in_and_records_come_out_step_by_step(session: Session) -> None:
    task = session.start(TASKS, "words")
    assert [json.loads(line) for line in task.decompress(b"one two", 1000).splitlines()] == [
        {"word": "one"},
        {"word": "two"},
    ]
    assert task.decompress(b"three", 1000) == b'{"word": "three"}\n'
    task.close()


def test_a_step_larger_than_any_pipe_passes_whole(session: Session) -> None:
    task = session.start(TASKS, "echo")
    data = os.urandom(1 << 20)
    assert task.decompress(data, len(data)) == data
    task.close()


def test_the_next_task_of_a_session_has_the_same_child_and_another_session_has_not(sandbox: Sandbox) -> None:
    one, two = sandbox.session(), sandbox.session()
    first = one.start(TASKS, "echo")
    pid = first.pid
    first.close()
    second, other = one.start(TASKS, "words"), two.start(TASKS, "echo")
    assert second.pid == pid
    assert other.pid != pid
    for each in (second, other, one, two):
        each.close()


@pytest.mark.parametrize(
    ("task", "data", "words", "excess"),
    [
        ("abort", b"", "ended by signal", False),
        ("leave", b"", "ended with code 3", False),
        ("too_much", b"", "more than it was asked for", False),
        ("take_memory", b"200000000", "more than 67108864 bytes of memory", True),
    ],
)
def test_a_child_that_dies_or_takes_too_much_fails_its_task_alone(
    sandbox: Sandbox, session: Session, task: str, data: bytes, words: str, excess: bool
) -> None:
    bad, good = session.start(TASKS, task), session.start(TASKS, "echo")
    with pytest.raises(ChildFailed, match=words) as failed:
        bad.decompress(data, 100)
    assert failed.value.excess is excess
    with pytest.raises(ChildFailed, match="was ended"):
        bad.decompress(b"", 100)
    assert good.decompress(b"still here", 100) == b"still here"
    assert sandbox.living == 1
    good.close()


def test_a_child_that_neither_gives_nor_wants_anything_is_ended(session: Session, sandbox: Sandbox) -> None:
    """Whoever asks it until something comes would ask for ever."""
    task = session.start(TASKS, "idle")
    assert task.decompress(b"it may think about it", 100) == b""
    with pytest.raises(ChildFailed, match="neither gave nor wanted"):
        task.decompress(b"", 100)
    assert sandbox.living == 0


class EndsAnother(Kind):
    """A kind during whose comparison another session ends, as it may in a garbage collection."""

    __slots__ = ()
    others: list[Session] = []  # noqa: RUF012

    def __eq__(self, other: object) -> bool:
        while self.others:
            self.others.pop()
        return isinstance(other, Kind) and self.module == other.module

    __hash__ = Kind.__hash__


def test_a_session_that_ends_while_another_looks_for_its_child_takes_none_of_the_others(
    sandbox: Sandbox,
) -> None:
    kind = EndsAnother(TASKS.module, TASKS.memory)
    gone, session = sandbox.session(), sandbox.session()
    for one in (gone, session):
        one.start(TASKS, "echo").close()
    EndsAnother.others.append(gone)
    del one, gone
    found = session.start(kind, "echo")
    assert (EndsAnother.others, sandbox.living, len(_children())) == ([], 1, 1)
    found.close()
    session.close()
    assert sandbox.living == 0


def test_memory_below_the_limit_can_be_had(session: Session) -> None:
    task = session.start(TASKS, "take_memory")
    assert task.decompress(b"20000000", 100) == b"\0"
    task.close()


def test_a_child_that_is_silent_is_killed_after_a_steps_time(session: Session, sandbox: Sandbox) -> None:
    task = session.start(TASKS, "hang")
    assert task._child is not None
    task._child._step_s = 0.2
    with pytest.raises(ChildFailed, match="silent for 0") as failed:
        task.decompress(b"", 100)
    assert failed.value.excess
    assert sandbox.living == 0


@pytest.mark.parametrize(("own", "held"), [(2.0, 2), (90.0, 30), (None, 30)])
def test_a_kind_can_have_shorter_steps_than_the_sandbox_and_no_longer_ones(
    session: Session, own: float | None, held: int
) -> None:
    task = session.start(Kind(TASKS.module, TASKS.memory, step_s=own), "echo")
    assert task._child is not None and task._child._step_s == held
    task.close()


def test_a_child_is_ended_by_the_system_when_its_cpu_time_is_used_up(session: Session) -> None:
    task = session.start(Kind(TASKS.module, TASKS.memory, cpu_s=1), "hang")
    with pytest.raises(ChildFailed, match="after 1 s of CPU") as failed:
        task.decompress(b"", 100)
    assert failed.value.excess


def test_a_child_that_is_killed_from_outside_fails_its_task(session: Session) -> None:
    task = session.start(TASKS, "echo")
    assert task.pid is not None
    os.kill(task.pid, signal.SIGKILL)
    with pytest.raises(ChildFailed, match="the system ended it"):
        task.decompress(b"x" * 500_000, 100)


def test_a_refused_input_leaves_the_child_to_the_next_task(session: Session) -> None:
    bad = session.start(TASKS, "refuse")
    pid = bad.pid
    with pytest.raises(Refused):
        bad.decompress(b"", 100)
    good = session.start(TASKS, "echo")
    assert (good.pid, good.decompress(b"a", 1)) == (pid, b"a")
    good.close()


def test_a_task_that_is_dropped_in_the_middle_frees_its_child_and_a_session_ends_it(sandbox: Sandbox) -> None:
    session = sandbox.session()
    task = session.start(TASKS, "echo")
    task.decompress(b"begun", 2)
    del task
    assert sandbox.living == 1, "it waits for the session's next task"
    del session
    assert sandbox.living == 0


def test_what_is_forgotten_as_a_whole_in_a_circle_leaves_no_child(sandbox: Sandbox) -> None:
    for _ in range(3):
        session = sandbox.session()
        circle: list[object] = [session, session.start(TASKS, "echo")]
        circle.append(circle)
        del session, circle
        gc.collect()
        assert sandbox.living == 0


def test_a_task_outlives_its_session_by_itself_alone(sandbox: Sandbox) -> None:
    session = sandbox.session()
    task = session.start(TASKS, "echo")
    session.close()
    assert task.decompress(b"on", 2) == b"on"
    task.close()
    assert sandbox.living == 0


def test_no_more_children_live_than_may_and_who_waits_too_long_hears_that_it_is_busy(
    sandbox: Sandbox,
) -> None:
    session = sandbox.session()
    tasks = [session.start(TASKS, "echo") for _ in range(2)]
    with pytest.raises(SandboxBusy):
        sandbox.session().start(TASKS, "echo")
    assert (sandbox.living, len(_children())) == (2, 2)
    tasks.pop().close()
    other = sandbox.session().start(TASKS, "echo")
    assert (sandbox.living, len(_children())) == (2, 2), "it has the place of the one that waited"
    for task in (*tasks, other):
        task.close()


def test_who_waits_gets_the_place_that_becomes_free() -> None:
    sandbox = Sandbox(1, wait_s=60)
    holder = sandbox.session().start(TASKS, "echo")
    got: list[bytes] = []

    def wait() -> None:
        task = sandbox.session().start(TASKS, "echo")
        got.append(task.decompress(b"mine", 4))
        task.close()

    waiting = threading.Thread(target=wait)
    waiting.start()
    holder.close()
    waiting.join(60)
    assert got == [b"mine"]
    del holder
    gc.collect()
    assert sandbox.living == 0


def test_a_child_that_may_have_used_much_of_its_time_is_not_kept(sandbox: Sandbox) -> None:
    session = sandbox.session()
    task = session.start(TASKS, "echo")
    assert task._child is not None
    task._child.asked_s = TASKS.cpu_s
    task.close()
    assert sandbox.living == 0


def test_a_child_knows_no_environment(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASEVAULT_SECRET_FOR_TEST", "do-not-tell")
    task = session.start(TASKS, "seen")
    told = json.loads(task.decompress(b"", 10_000))
    task.close()
    assert "CASEVAULT_SECRET_FOR_TEST" not in told["environment"]
    assert set(told["environment"]) <= {"LC_CTYPE"}, "Python sets that itself"


def test_a_child_has_the_three_open_files_of_its_pipes(session: Session) -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    task = session.start(TASKS, "open_files")
    try:
        assert json.loads(task.decompress(b"", 100)) == [0, 1, 2]
    finally:
        os.close(read)
        os.close(write)
        task.close()


def test_what_is_tried_works_where_nothing_confines_it() -> None:
    harmless = {
        n: t for n, t in (tasks.TRIES | tasks.FILTERED).items() if n not in ("fork", "become a program")
    }
    try:
        assert [name for name, attempt in harmless.items() if not tasks.worked(attempt)] == []
    finally:
        Path("/tmp/casevault-sandbox-test").unlink()
        Path("/tmp/casevault-sandbox-folder").rmdir()


def test_a_child_opens_no_file_and_no_socket(session: Session) -> None:
    task = session.start(TASKS, "tries")
    assert json.loads(task.decompress(b"", 10_000)) == []
    task.close()


@pytest.mark.skipif(not LINUX, reason="the filter of system calls is Linux's")
def test_where_the_kernel_filters_system_calls_nothing_but_reading_writing_and_memory_is_left(
    session: Session,
) -> None:
    task = session.start(TASKS, "tries_beyond_limits")
    assert task.held == {"limits", "seccomp"}
    status = Path(f"/proc/{task.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert json.loads(task.decompress(b"", 10_000)) == []
    task.close()


@pytest.mark.skipif(not LINUX, reason="the filter of system calls is Linux's")
def test_a_child_that_may_begin_threads_begins_no_process(session: Session) -> None:
    may = Kind(TASKS.module, 256 << 20, threads=True)
    task = session.start(may, "thread")
    assert task.decompress(b"by a thread", 100) == b"by a thread"
    task.close()
    task = session.start(may, "tries_beyond_limits")
    assert json.loads(task.decompress(b"", 10_000)) == []
    task.close()
    task = session.start(TASKS, "thread")
    with pytest.raises(Refused):
        task.decompress(b"by a thread", 100)
