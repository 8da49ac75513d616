"""The one HTTP client for others' servers (witnesses that cosign, an issuer of tokens, webhooks): bounded in time and
bytes.

- One deadline for the whole exchange: name look-up, connecting, handshake, sending, head and body. Every blocking step
  gets the time left, so a server that drips a byte now and then gains nothing.
- One bound for all bytes read, head and framing included; the body has its own below it.
- No redirect is followed: it could lead elsewhere. No compression is requested: no small response becomes a large one.
- Where the address is a caller's choice, `may_connect` says of each address of the name, once it was looked up, whether
  it may be connected to: so a name that points into the own network leads nowhere.
- The environment is not consulted: no proxy, no netrc, no authorities, no key log. Only settings modules read it.

Built on the standard library: an HTTP client that reads the environment and times each step separately cannot keep
these.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import certifi

HEAD_BYTES = 1 << 17
_PORTS = {"http": 80, "https": 443}
_AGENT = "casevault"


class OutsideError(OSError):
    """A failed exchange; the text says why, and quotes nothing of what was sent or received."""


class ForbiddenAddressError(OutsideError):
    """A name with no address that may be connected to."""


class Reply(NamedTuple):
    """A complete response; `content_type` is empty where it has none."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpClient:
    """An HTTP client with bounds: `seconds` for a whole exchange, `most_bytes` of a response's body. `authorities`: a
    PEM bundle to trust in place of the system's. `may_connect`: whether an address may be connected to."""

    seconds: float
    most_bytes: int
    authorities: Path | None = None
    may_connect: Callable[[str], bool] | None = None

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Send a GET and return the response; OutsideError if there is none."""
        return self._exchange("GET", url, None, headers or {})

    def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        """Send a POST and return the response; OutsideError if there is none."""
        return self._exchange("POST", url, body, headers or {})

    def _exchange(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        deadline = _Deadline(self.seconds)
        try:
            scheme, host, port, target = _parts(url)
            connection = _Connection(host, port, deadline, self._context() if scheme == "https" else None)
            connection.budget = self.most_bytes + HEAD_BYTES
            connection.may_connect = self.may_connect
            with closing(connection):
                sent = {"Accept-Encoding": "identity", "User-Agent": _AGENT, "Connection": "close", **headers}
                connection.request(method, target, body, sent)
                with closing(connection.getresponse()) as response:
                    return self._read_reply(response)
        except OutsideError:
            raise
        except TimeoutError:
            raise OutsideError(f"took longer than {self.seconds:g} seconds") from None
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an invalid host name
            raise OutsideError(type(error).__name__) from error

    def _read_reply(self, response: http.client.HTTPResponse) -> Reply:
        body = response.read(self.most_bytes + 1)
        if len(body) > self.most_bytes:
            raise OutsideError(f"longer than {self.most_bytes} bytes")
        if response.length:
            raise OutsideError(f"ended {response.length} bytes before its end")
        return Reply(response.status, response.headers.get("Content-Type", ""), body)

    def _context(self) -> ssl.SSLContext:
        # Not `create_default_context`, which writes the session's keys to SSLKEYLOGFILE.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.authorities or certifi.where())
        return context


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds left; TimeoutError when there are none."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Connection(http.client.HTTPConnection):
    """A connection that connects, sends and reads within the deadline, and reads `budget` bytes at most."""

    budget = HEAD_BYTES
    may_connect: Callable[[str], bool] | None = None

    def __init__(self, host: str, port: int, deadline: _Deadline, context: ssl.SSLContext | None) -> None:
        super().__init__(host, port)
        self._deadline, self._tls = deadline, context
        if context is not None:
            self.default_port = _PORTS["https"]  # or the Host header would name it

    def connect(self) -> None:
        plain = self._connected()
        try:
            plain.settimeout(self._deadline.left())
            bare = self._tls.wrap_socket(plain, server_hostname=self.host) if self._tls else plain
        except BaseException:
            plain.close()
            raise
        self.sock = _TimedSocket(bare, self._deadline, self.budget)

    def _connected(self) -> socket.socket:
        problem: OSError = OSError("the host name has no address")
        for family, kind, protocol, _, address in _addresses(self.host, self.port, self._deadline):
            if self.may_connect is not None and not self.may_connect(str(address[0])):
                problem = ForbiddenAddressError("the host name has no address that may be connected to")
                continue
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(self._deadline.left())
                made.connect(address)
            except OSError as error:
                made.close()
                problem = error
            else:
                return made
        raise problem


class _TimedSocket:
    """The part of a socket that `http.client` needs."""

    def __init__(self, bare: socket.socket, deadline: _Deadline, budget: int) -> None:
        self._bare, self._deadline, self._budget = bare, deadline, budget
        self._reader: io.BufferedReader | None = None

    def sendall(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            self._bare.settimeout(self._deadline.left())
            left = left[self._bare.send(left) :]

    def makefile(self, _mode: str) -> io.BufferedReader:
        self._reader = io.BufferedReader(_TimedReader(self._bare, self._deadline, self._budget))
        return self._reader

    def close(self) -> None:
        if self._reader is None:  # else it is the reader's, which may be in the middle of a body
            self._bare.close()


class _TimedReader(io.RawIOBase):
    def __init__(self, bare: socket.socket, deadline: _Deadline, budget: int) -> None:
        self._bare, self._deadline, self._budget = bare, deadline, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._bare.settimeout(self._deadline.left())
        read = self._bare.recv_into(buffer)
        self._budget -= read
        if self._budget < 0:
            raise OutsideError("longer than the limit for a response")
        return read

    def close(self) -> None:
        self._bare.close()
        super().close()


def _addresses(host: str, port: int, deadline: _Deadline) -> list[Any]:
    """Look up the name's addresses. A look-up cannot be cancelled: one that takes too long is left to its thread."""
    found: queue.SimpleQueue[list[Any] | OSError | UnicodeError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.put(error)

    threading.Thread(target=look_up, name="name-look-up", daemon=True).start()
    try:
        addresses = found.get(timeout=deadline.left())
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(addresses, list):
        return addresses
    raise addresses


def _parts(url: str) -> tuple[str, str, int, str]:
    """Split a URL into scheme, host, port and target; ValueError if it cannot be used."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        raise ValueError("the address must be http(s)://host, without a user name")
    target = parts.path or "/"
    return (
        parts.scheme,
        parts.hostname,
        parts.port or _PORTS[parts.scheme],
        target + (parts.query and f"?{parts.query}"),
    )
