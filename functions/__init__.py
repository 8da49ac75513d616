"""The clock's door: Azure Functions triggers translated into calls of custody, and nothing else.

app.py       The function app: four blueprints under one FunctionApp.
config.py    What the function app is configured with. The only module of this package that reads the environment.
queues.py    Work on one bundle (an erasure, a read-back) on its way through a queue: {"bundle": "<bundle id>"}, as
             JSON. Pure.
timers.py    The timers beside the sweep: the log's sequencer, its witness, its cosigners, and the scrubbing.
triggers.py  What the functions share: how they get their services, and how a timer that fails is repeated.
"""
