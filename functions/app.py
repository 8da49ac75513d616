"""The function app: four blueprints under one FunctionApp.

Rules of every function here:
- It translates its trigger into calls of custody and decides nothing. The embedded clock makes the same calls.
- It may run twice, late, or beside itself: custody derives the work from state (P4).
- It is given its services by a callable, and calls it in the invocation only.
"""

from __future__ import annotations

import azure.functions as func

from functions.erasing import erasing_blueprint
from functions.read_back_queue import read_back_blueprint
from functions.recording import recording_blueprint
from functions.settings import Settings
from functions.sweeping import sweeping_blueprint
from functions.triggers import GetServices


def create_app(settings: Settings, services: GetServices) -> func.FunctionApp:
    """The app with all its functions."""
    app = func.FunctionApp()
    for blueprint in (sweeping_blueprint, erasing_blueprint, read_back_blueprint, recording_blueprint):
        app.register_functions(blueprint(settings, services))
    return app
