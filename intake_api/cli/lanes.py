"""Several threads that do one work together, each over a connection of its own.

They are daemons: nobody waits for a request under way when the user stops the program, or when one of them has failed
for good.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


def run(count: int, lane: Callable[[], None]) -> None:
    """Run `lane` in so many threads to the end of all, or to the first error, which is raised here."""
    changed = threading.Condition()
    running = count
    errors: list[BaseException] = []

    def one() -> None:
        nonlocal running
        error: BaseException | None = None
        try:
            lane()
        except Exception as raised:
            error = raised
        with changed:
            running -= 1
            errors.extend([error] if error is not None else [])
            changed.notify_all()

    for number in range(count):
        threading.Thread(target=one, name=f"lane-{number}", daemon=True).start()
    with changed:
        while running and not errors:
            changed.wait()
    if errors:
        raise errors[0]
