"""The Blob service's checksum: CRC-64/NVME, as x-ms-content-crc64 carries it."""

from __future__ import annotations

import base64

from awscrt.checksums import crc64nvme  # type: ignore[import-untyped]


def crc64_of(content: bytes) -> str:
    """Return the checksum of `content`: eight bytes, least significant first, in base64."""
    return base64.b64encode(crc64nvme(content).to_bytes(8, "little")).decode("ascii")
