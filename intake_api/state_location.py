"""Where a service's state folder is on this machine, and the address kept in it.

Nothing here loads the service: the command line uses it for each call.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SERVING = "serving.lock"
"""A file in the state folder: locked by the processes that serve it, it holds the address where they listen."""


def state_from_environment(environ: Mapping[str, str]) -> Path:
    """Return the state folder, as `retention.config` reads it."""
    return Path(environ.get("CASEVAULT_STATE", "casevault-state")).resolve()


def listen_is_set_from_environment(environ: Mapping[str, str]) -> bool:
    """Return whether CASEVAULT_LISTEN is set; reading its value takes the service's own modules."""
    return "CASEVAULT_LISTEN" in environ


def kept_address(state: Path) -> str | None:
    """Return the address where this state folder's service listens, or last did; None if it recorded none."""
    try:
        address = (state / SERVING).read_text("ascii")
    except (OSError, ValueError):
        return None
    return address if address.startswith("https://") else None
