"""The line to a real service: straight, and through a proxy that takes whole bodies first, or does not."""

from __future__ import annotations

import socket

import pytest

from intake_api.cli.cli_errors import CliError
from intake_api.cli.doctor.proxy_buffering import takes_no_body_first
from tests.intake_api.serve.conftest import service as service
from tests.intake_api.serve.conftest import serving as serving
from tests.intake_api.serve.serving import Service, free_port
from tests.servers.buffering_proxy import BufferingProxy


def at(port: int) -> str:
    return f"https://127.0.0.1:{port}"


def test_a_straight_line_is_good(service: Service) -> None:
    said = takes_no_body_first(at(service.port), service.state / "tls" / "ca.pem")
    assert said == "bodies come through as they are sent"


def test_a_proxy_that_takes_whole_bodies_first_is_found_and_one_that_does_not_is_not(
    service: Service,
) -> None:
    tls = service.state / "tls"
    holding, passing = (
        BufferingProxy(service.port, str(tls / "server.pem"), buffering=each) for each in (True, False)
    )
    with pytest.raises(CliError, match=r"takes whole bodies.*plain text.*a-proxy-in-front"):
        takes_no_body_first(at(holding.port), tls / "ca.pem")
    assert takes_no_body_first(at(passing.port), tls / "ca.pem").startswith("bodies come through")


def test_a_line_that_cannot_be_tried_says_why(service: Service) -> None:
    with pytest.raises(CliError, match="could not be tested: ConnectionRefusedError"):
        takes_no_body_first(at(free_port()), service.state / "tls" / "ca.pem")


def test_a_host_that_says_nothing_at_all_is_no_proxy_that_holds_bodies(service: Service) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(CliError, match="tested: TimeoutError"),
    ):
        takes_no_body_first(at(silent.getsockname()[1]), service.state / "tls" / "ca.pem", 0.5)
