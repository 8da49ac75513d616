"""What is this machine, and what only looks like it."""

from __future__ import annotations

import pytest

from intake_api.http.hosts import is_loopback_address
from intake_api.identity import ensure_loopback


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.255.0.9", "::1", "localhost", "LOCALHOST", "::ffff:127.0.0.1"]
)
def test_loopback_is_accepted(host: str) -> None:
    ensure_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",  # noqa: S104 - it is the point
        "::",
        "",
        "10.0.0.1",
        "128.0.0.1",
        "127.0.0.1.example",
        "localhost.example",
        "host.docker.internal",
        "::ffff:10.0.0.1",
        "127.1",
        "2130706433",
        "unix",
    ],
)
def test_anything_else_is_refused_with_what_to_do(host: str) -> None:
    with pytest.raises(ValueError, match=r"works only on .* bind to loopback"):
        ensure_loopback(host)
    assert not is_loopback_address(host)


def test_a_name_is_no_address() -> None:
    assert not is_loopback_address("localhost")
