"""° Content-Disposition for a name that others chose (RFC 6266, RFC 8187). Pure."""

from __future__ import annotations

from urllib.parse import quote

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !#$&()+,-.;=@[]^_`{}~")


def attachment(name: str) -> str:
    """Save it, never show it; the name in ASCII for old readers, and as it is."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1] or "file"
    plain = "".join(c if c in _PLAIN else "_" for c in last)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(last, safe='', errors='replace')}"
