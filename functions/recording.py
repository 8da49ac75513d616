"""The timers beside the sweep: the log's sequencer (and its witness), the read-back of received bundles, the scrubbing.

The first run of `sequence` in a process reconciles the records with the log and the key store (P7).

Timers of their own: reading bundles back takes minutes, a signed checkpoint is promised within seconds, and the host
does not start a timer again while it still runs.
"""

from __future__ import annotations

import azure.functions as func

from functions.settings import Settings
from functions.triggers import LOG, GetServices, new_blueprint, note_lateness, retried
from retention.scrub import Pace, scrub_next
from retention.sequencing import sequence_once
from retention.sweep import SweepReport, verify_received
from retention.witnessing import witness_once

READ_BACK = 4
"""Bundles read in one run: all of them must fit in the host's functionTimeout."""


def recording_blueprint(settings: Settings, services: GetServices) -> func.Blueprint:
    """The functions `sequence`, `read_back` and `scrub`."""
    blueprint = new_blueprint()

    @blueprint.function_name("sequence")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.sequence_schedule, run_on_startup=False)
    @retried(blueprint)
    def sequence(timer: func.TimerRequest) -> None:
        note_lateness("the sequencer", timer)
        parts = services()
        parts.custody.write_counts()
        checkpoint = sequence_once(parts)
        witness_once(parts)
        LOG.info("sequence: the log has %d entries", checkpoint.size if checkpoint else 0)

    @blueprint.function_name("read_back")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.read_back_schedule, run_on_startup=False)
    @retried(blueprint)
    def read_back(timer: func.TimerRequest) -> None:
        note_lateness("the read-back", timer)
        report = SweepReport()
        verify_received(services().custody, report, limit=READ_BACK)
        LOG.info("read_back: %d read back, %d failed", report.verified, report.failed)

    @blueprint.function_name("scrub")
    @blueprint.timer_trigger(arg_name="timer", schedule=settings.scrub_schedule, run_on_startup=False)
    @retried(blueprint)
    def scrub(timer: func.TimerRequest) -> None:
        note_lateness("the scrubbing", timer)
        pace = Pace(settings.custody.scrub_period)
        for _ in range(READ_BACK):
            if not scrub_next(services().custody, pace):
                break

    return blueprint
