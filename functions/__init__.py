"""The clock's door: Azure Functions triggers translated into calls of custody, and nothing else.

app.py       The function app: four blueprints under one FunctionApp.
config.py    The function app's settings, and the check of its schedules. Alone in this package reads the environment.
queues.py    The queues: messages that each name one bundle, and the functions that erase it or read it back.
timers.py    The timers: sweep, tidy, sequence, witness, cosign, scrub and index.
triggers.py  What the functions share: how they get their services, and how a failed timer is retried.
"""
