"""What `intake_api.serve.granian_server` relies on beside Granian's public interface, as it is in the pinned release.

The behaviour is tested on real processes (test_renewing.py, test_stopping.py). After an upgrade these tests fail first
and name the part that changed.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest
from granian.net import SocketSpec  # type: ignore[attr-defined]
from granian.server.mp import MPServer, WorkerProcess

from intake_api.serve import granian_server

OVERRIDDEN = {
    "_init_shared_socket": "self",
    "_spawn_worker": "self, idx, target, callback_loader",
    "_reload": "self, spawn_target, target_loader",
    "serve": "self, spawn_target, target_loader, wrap_loader",
    "shutdown": "self, exit_code",
    "signal_handler_interrupt": "self, args, kwargs",
}
CALLED = {
    "_stop_workers": "self",
    "_call_hooks": "hooks",
    "build_ssl_context": "self, cert, key, password, proto, ca, crl, client_verify",
}
OF_A_WORKER = {"start": "self", "is_alive": "self", "terminate": "self", "kill": "self"}
ATTRIBUTES = {
    *("backlog", "bind_addr", "bind_port", "hooks_reload", "wrks"),
    *("interrupt_children", "interrupt_signal", "main_loop_interrupt", "reload_signal"),
}
SHARED_SOCKET = {"_ssp", "_shd", "_sfd", "_sso"}
"""What a worker is given of the listening socket."""


def parameters(function: object) -> str:
    assert callable(function)
    return ", ".join(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        *((MPServer, name, expected) for name, expected in {**OVERRIDDEN, **CALLED}.items()),
        *((WorkerProcess, name, expected) for name, expected in OF_A_WORKER.items()),
    ],
)
def test_a_method_that_is_relied_on_takes_what_it_took(kind: type, name: str, expected: str) -> None:
    assert parameters(getattr(kind, name)) == expected


def test_the_server_has_the_attributes_that_are_read_and_set() -> None:
    assert set(vars(MPServer("app"))) >= ATTRIBUTES


def test_a_worker_is_given_the_shared_socket_under_these_names() -> None:
    assert set(re.findall(r"self\.(_s\w+)", inspect.getsource(MPServer._spawn_worker))) == {
        "_ssp",
        "_shd",
        "_sso",
    }
    assert set(re.findall(r"self\.(_s\w+)", inspect.getsource(MPServer._init_shared_socket))) >= {
        "_shd",
        "_sfd",
        "_sso",
    }


def test_a_listener_is_built_from_address_port_and_backlog() -> None:
    shared = SocketSpec("127.0.0.1", 0, 16).build()
    assert isinstance(shared.get_fd(), int)


def test_the_loop_asks_for_a_renewal_before_a_stop_of_the_workers() -> None:
    loop = inspect.getsource(MPServer._serve_loop)
    assert "if self.reload_signal:" in loop
    assert "self._reload(spawn_target, target_loader)" in loop


def test_nothing_private_is_used_that_is_not_named_here() -> None:
    source = Path(granian_server.__file__).read_text()
    server = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    own = {node.name for node in server.body if isinstance(node, ast.FunctionDef)}
    own |= {
        node.attr
        for node in ast.walk(server)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and node.attr not in vars(MPServer("app"))
    }
    used = {
        node.attr
        for node in ast.walk(server)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    assert used - own - {"_on_stop"} <= {*OVERRIDDEN, *CALLED, *ATTRIBUTES, *SHARED_SOCKET}
