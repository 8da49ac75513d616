"""Content-Disposition for names that others chose (RFC 6266, RFC 8187). Pure."""

from __future__ import annotations

from urllib.parse import quote

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !#$&()+,-.;=@[]^_`{}~")


def attachment(name: str) -> str:
    """Return a header that saves, never shows, the file: its name in ASCII for old clients, and as it is."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1] or "file"
    plain = "".join(c if c in _PLAIN else "_" for c in last)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(last, safe='', errors='replace')}"
