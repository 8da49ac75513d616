"""The timers beside the sweep: the log's sequencer, its witness, its cosigners, and the scrubbing.

The first run of `sequence` in a process reconciles the records with the log and the key store (P7).

A timer each: a signed checkpoint is promised within seconds, scrubbing takes minutes, witnesses are others' servers
that may hang, and the host does not start a timer again while it still runs.
"""

from __future__ import annotations

import azure.functions as func

from functions.settings import Settings
from functions.triggers import LOG, GetServices, new_blueprint, note_lateness, retried
from retention.scrub import Pace, scrub_next
from retention.sequencing import sequence_once
from retention.witnessing import cosign_once, witness_once

SCRUBBED = 4
"""Bundles scrubbed in one run: all of them must fit in the host's functionTimeout."""


def recording_blueprint(settings: Settings, services: GetServices) -> func.Blueprint:
    """The functions `sequence`, `witness`, `cosign` and `scrub`."""
    blueprint = new_blueprint()

    @blueprint.function_name("sequence")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.sequence_schedule, run_on_startup=False)
    @retried(blueprint)
    def sequence(timer: func.TimerRequest) -> None:
        note_lateness("the sequencer", timer)
        parts = services()
        parts.custody.write_counts()
        checkpoint = sequence_once(parts)
        LOG.info("sequence: the log has %d entries", checkpoint.size if checkpoint else 0)

    @blueprint.function_name("witness")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.witness_schedule, run_on_startup=False)
    @retried(blueprint)
    def witness(timer: func.TimerRequest) -> None:
        note_lateness("the witness", timer)
        witness_once(services())

    @blueprint.function_name("cosign")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.cosign_schedule, run_on_startup=False)
    @retried(blueprint)
    def cosign(timer: func.TimerRequest) -> None:
        note_lateness("cosigning", timer)
        cosign_once(services())

    @blueprint.function_name("scrub")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.scrub_schedule, run_on_startup=False)
    @retried(blueprint)
    def scrub(timer: func.TimerRequest) -> None:
        note_lateness("the scrubbing", timer)
        pace = Pace(settings.custody.scrub_period)
        for _ in range(SCRUBBED):
            if not scrub_next(services().custody, pace):
                break

    return blueprint
