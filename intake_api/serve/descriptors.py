"""File descriptors: as many as the processes may need, or fewer connections.

A process with none left cannot accept, or open a part or a connection to the database; the server library never
recovers from a failed accept. So connections are bounded below the limit, and the limit is raised where allowed.

The arithmetic, per process: its connections, FOR_A_THREAD for each thread (a part's file, a connection to a store, a
copy of a socket), two for each connection to the database, and APART (the log, the listening socket, what Python and
the server hold). On top of it, where allowed, HANDSHAKES: the server counts a connection only once its TLS handshake is
done, and those before are closed a moment later (idle_connections.py).
"""

from __future__ import annotations

import logging
import resource
from dataclasses import replace

from intake_api.config import ServerSettings
from retention.config import SettingError

LOG = logging.getLogger(__name__)
FOR_A_THREAD = 3
APART = 128
HANDSHAKES = 4096


def needed(settings: ServerSettings, connections: int) -> int:
    """Return the descriptors that a process with so many connections needs."""
    return connections + FOR_A_THREAD * settings.threads + 2 * settings.custody.database_connections + APART


def fit_descriptors(settings: ServerSettings) -> ServerSettings:
    """Raise this process's limit, which its children inherit, to what they need; where that is not allowed, return
    settings with fewer connections. SettingError when not even one for each thread is left."""
    wanted = needed(settings, settings.connections)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted + HANDSHAKES if hard == resource.RLIM_INFINITY else min(wanted + HANDSHAKES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return settings
    connections = soft - needed(settings, 0)
    if connections < settings.threads:
        raise SettingError(
            f"{settings.threads} threads need {needed(settings, settings.threads)} file descriptors, but this process "
            f"is allowed {soft}: raise the limit (ulimit -n, LimitNOFILE), or lower CASEVAULT_THREADS"
        )
    LOG.warning(
        "serving at most %d connections at once, not %d: %d file descriptors are allowed, %d needed",
        *(connections, settings.connections, soft, wanted),
    )
    return replace(settings, connections=connections)
