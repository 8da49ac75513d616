"""° The Host header: one, and a name that can be one (RFC 9112 section 3.2). Pure.

The server hands a missing one over as empty, and two joined by a comma, which no name here may hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+;=-]+)(:[0-9]{0,5})?", re.ASCII)


def is_one_host(environ: Mapping[str, Any]) -> bool:
    """Whether the request says which host it is for; HTTP/1.0 need not."""
    host = environ.get("HTTP_HOST", "")
    if not host:
        return bool(environ.get("SERVER_PROTOCOL") != "HTTP/1.1")
    return _HOST.fullmatch(host) is not None
