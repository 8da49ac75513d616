"""When a part of an upload ends, and how many parts an upload can have. Pure.

Rules:
- A part ends when it is full, when its request ends, and when its first byte is `seconds` old: a killed process, a
  power cut or an unreachable store can lose only what came since. So parts end by time as well as by size.
- The more parts an upload has, the longer the next can stay open: the time doubles with every DOUBLED_EVERY parts.
  Each part costs a commit and, in Blob Storage, at least one of the 50,000 blocks of its blob.
- An upload that has MOST_PARTS cannot be continued: so many short requests are not an upload.

The arithmetic for 60 seconds: 2 GB at 20 KB/s are 100,000 s, so 1,667 parts. The longest upload, 30 days without a
pause, has 2,048 parts of 60 s (34 hours), as many of 120 s (68 h), of 240 s (137 h) and of 480 s (273 h), and 780 of
960 s for the rest: 8,972. In blocks: MOST_PARTS, and one for each 8 MiB, which `retention.config_azure` bounds.
"""

from __future__ import annotations

DOUBLED_EVERY = 2048
MOST_PARTS = 16_384


def open_seconds(seconds: float, parts: int) -> float:
    """Return how many seconds the next part of an upload with `parts` parts can stay open."""
    return float(seconds * 2 ** (parts // DOUBLED_EVERY))
