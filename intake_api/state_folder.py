"""The state folder of a service on this machine, as its callers find it: where it is, and the address kept in it.

Nothing here loads the service: the command line asks for each call.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SERVING = "serving.lock"
"""In the state folder: held by the processes that serve it, and tells where they listen."""


def state_from_environment(environ: Mapping[str, str]) -> Path:
    """The state folder, as `retention.config` reads it."""
    return Path(environ.get("CASEVAULT_STATE", "casevault-state")).resolve()


def listen_is_set_from_environment(environ: Mapping[str, str]) -> bool:
    """True when the service's settings say where it listens; reading them takes the service's own modules."""
    return "CASEVAULT_LISTEN" in environ


def kept_address(state: Path) -> str | None:
    """Where the service of this state folder listens, or listened last; None where it has not said so."""
    try:
        told = (state / SERVING).read_text("ascii")
    except (OSError, ValueError):
        return None
    return told if told.startswith("https://") else None
