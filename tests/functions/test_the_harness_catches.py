"""Mistakes that only the worker sees: each must be caught by this harness, or the tests on it prove nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.functions.worker.client import StartWorker, Worker, WorkerDied

StartOn = Callable[[str], Worker]

HEAD = """
import typing
import azure.functions as func
app = func.FunctionApp()
"""
TIMER = '@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")\n'
OUT = '@app.queue_output(arg_name="out", queue_name="q-one", connection="AzureWebJobsStorage")\n'
QUEUE = '@app.queue_trigger(arg_name="message", queue_name="q-one", connection="AzureWebJobsStorage")\n'

SOUND = (
    HEAD
    + TIMER
    + OUT
    + "def tick(timer: func.TimerRequest, out: func.Out[typing.List[str]]) -> None:\n    out.set(['a'])\n"
)
FOR_CHECKERS = SOUND.replace(
    "import typing", "import typing\nif typing.TYPE_CHECKING:\n    from decimal import Decimal"
)
# The mistake, and a piece of what the host is told of it.
NOT_INDEXED = {
    "a list in Out": (
        SOUND.replace("typing.List[str]", "list[str]"),
        "binding out has invalid non-type annotation",
    ),
    "an annotation imported for type checking only": (
        "from __future__ import annotations\n" + FOR_CHECKERS.replace("-> None:", "-> Decimal:"),
        "'Decimal' is not defined",
    ),
    "two apps": (SOUND + "second = func.FunctionApp()\n", "More than one FunctionApp"),
    "no app": ("import azure.functions\n", "Could not find top level function app"),
    "two functions of one name": (
        SOUND + TIMER + "def tick(timer: func.TimerRequest) -> None: ...\n",
        "does not have a unique function name",
    ),
    "a parameter without a binding": (
        SOUND.replace("timer: func.TimerRequest", "timer: func.TimerRequest, more: str"),
        "declared in Python but not in the function definition",
    ),
    "a binding without a parameter": (
        SOUND.replace(", out: func.Out[typing.List[str]]", ""),
        "Extra parameters in binding definition",
    ),
    "a trigger's parameter of another type": (
        SOUND.replace("timer: func.TimerRequest", "timer: func.QueueMessage"),
        "do not match the corresponding function parameter",
    ),
    "a module that is not deployed": ("import left_behind\n" + SOUND, "No module named 'left_behind'"),
    "an error at import": (SOUND + "raise ValueError('on purpose')\n", "on purpose"),
}


@pytest.fixture
def start_on(start_worker: StartWorker, tmp_path: Path) -> StartOn:
    """Starts a worker on a folder with this function_app.py alone."""

    def start(source: str) -> Worker:
        (tmp_path / "function_app.py").write_text(source)
        return start_worker(tmp_path)

    return start


def test_a_sound_app_is_indexed_and_its_list_becomes_messages(start_on: StartOn) -> None:
    worker = start_on(SOUND)
    assert worker.index() == ""
    assert worker.run_timer("tick").outputs == {"out": ["a"]}


@pytest.mark.parametrize(("source", "told"), NOT_INDEXED.values(), ids=NOT_INDEXED.keys())
def test_a_mistake_in_the_declaration_stops_the_index_of_the_whole_app(
    start_on: StartOn, source: str, told: str
) -> None:
    worker = start_on(source)
    assert told in worker.index()
    assert worker.functions == {}


def test_a_value_returned_without_a_return_binding_fails_the_invocation(start_on: StartOn) -> None:
    worker = start_on(HEAD + TIMER + "def tick(timer: func.TimerRequest):\n    return 'lost'\n")
    assert worker.index() == ""
    answer = worker.run_timer("tick")
    assert not answer.ok
    assert "$return" in answer.error


def test_an_output_that_is_no_message_fails_the_invocation(start_on: StartOn) -> None:
    worker = start_on(SOUND.replace("['a']", "[{'bundle': 'x'}]"))
    assert worker.index() == ""
    assert not worker.run_timer("tick").ok


def test_an_exit_in_a_function_kills_the_worker(start_on: StartOn) -> None:
    worker = start_on(HEAD + TIMER + "def tick(timer: func.TimerRequest) -> None:\n    raise SystemExit(3)\n")
    assert worker.index() == ""
    with pytest.raises(WorkerDied, match="exit code 3"):
        worker.run_timer("tick")


def test_what_an_app_prints_does_not_disturb_the_replies(start_on: StartOn) -> None:
    noisy = HEAD + QUEUE + "def take(message: func.QueueMessage) -> None:\n    print(message.dequeue_count)\n"
    worker = start_on(noisy)
    assert worker.index() == ""
    assert worker.deliver("take", "x", dequeue_count=4).ok
    assert "4" in worker.log().splitlines()


def test_our_own_app_with_the_modern_list_would_not_be_indexed(
    start_worker: StartWorker, app_root: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "wwwroot"
    shutil.copytree(app_root, copy)
    sweeping = copy / "functions" / "timers.py"
    source = sweeping.read_text()
    assert "func.Out[List[str]]" in source
    sweeping.write_text(source.replace("func.Out[List[str]]", "func.Out[list[str]]"))
    assert "sweep" in start_worker(copy).index()
