"""The steps of the demo, in order: the life of one bundle, from its collection to its tombstone.

Everything goes over HTTPS as the people concerned, except what only the service's own machine can do: moving the
development clock, one sweep at a chosen moment, and searching the disk.
"""

from __future__ import annotations

from intake_api.cli.demo.access import grant, read, refuse_stranger, verify_log
from intake_api.cli.demo.ending import close, deadline, last_second, prove
from intake_api.cli.demo.intake import meet, receive, register, upload

STEPS = (
    meet,
    register,
    upload,
    receive,
    refuse_stranger,
    grant,
    read,
    verify_log,
    close,
    last_second,
    deadline,
    prove,
)
