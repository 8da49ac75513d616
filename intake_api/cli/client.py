"""The client of the service: HTTPS only, certificates always checked, the service's problems in one line.

Rules:
- A safe call (GET, HEAD) is repeated with back-off and jitter when the line breaks or the service is busy; any other
  is sent once, because only its caller knows whether to repeat it. A service that is down at the start is reported
  soon.
- A token that the service no longer accepts is renewed once, where its source can.
- Redirects are not followed: the token goes only to the server that was named.
"""

from __future__ import annotations

import random
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from intake_api.cli.cli_errors import CliError, ServiceProblem, Unreachable
from intake_api.cli.tokens import TokenSource
from intake_api.http.hosts import is_loopback_host

CONNECT_SECONDS, ANSWER_SECONDS = 30, 300
SILENT_SECONDS = 45
TRIES, TRIES_REFUSED = 5, 2
BUSY = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
_TOO_LONG = frozenset({HTTPStatus.REQUEST_URI_TOO_LONG, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE})
_WAYS = frozenset({".", ".."})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PAGE = 200
_LONGEST_PAUSE = 30.0


def pause_before(attempt: int, asked: str | None = None) -> float:
    """Return the seconds to wait before try number `attempt`: doubled each time, with jitter, at least `asked`."""
    longest = min(_LONGEST_PAUSE, 0.25 * 2**attempt)
    wanted = float(asked) if asked and asked.isascii() and asked.isdigit() else 0.0
    return max(min(wanted, _LONGEST_PAUSE), random.uniform(longest / 2, longest))  # noqa: S311 - jitter


_TCP = {"TCP_USER_TIMEOUT": SILENT_SECONDS * 1000, "TCP_NOTSENT_LOWAT": 1 << 17}
"""tcp(7), where the system has it: give up a connection when nothing sent is acknowledged for this long (a line can die
silently); and keep no more than this queued in the kernel, so that a slow line shows and progress is true."""


class _Line(requests.adapters.HTTPAdapter):
    """Connections over unreliable lines."""

    def init_poolmanager(self, *args: Any, **named: Any) -> None:
        known = [(getattr(socket, name), value) for name, value in _TCP.items() if hasattr(socket, name)]
        options = [(socket.IPPROTO_TCP, number, value) for number, value in known]
        named["socket_options"] = [*HTTPConnection.default_socket_options, *options]
        super().init_poolmanager(*args, **named)


class _Bearer(requests.auth.AuthBase):
    """The caller's token; without this class requests would use the user's netrc entry."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


Get = Callable[[Mapping[str, object]], Any]


class Items:
    """A list of the service's, page by page: while one is gone through, the next is fetched, never more. After the last
    item `more` says whether the limit left any out.

    `get` fetches the first page, what `another` makes the others: another thread needs a connection of its own.
    """

    def __init__(
        self, get: Get, another: Callable[[], Get], params: Mapping[str, object], limit: int | None
    ) -> None:
        self._get, self._another, self._limit = get, another, limit
        self._wanted = {name: value for name, value in params.items() if value is not None}
        self.more = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        left = self._limit
        page = self._get(self._asked(left))
        get: Get | None = None
        while True:
            found = page["items"][:left]
            self.more = bool(page.get("next")) or len(found) < len(page["items"])
            left = None if left is None else left - len(found)
            if left == 0 or not page.get("next"):
                yield from found
                return
            get = get or self._another()
            coming = _fetch_ahead(get, {**self._asked(left), "cursor": page["next"]})
            yield from found
            page = coming()

    def _asked(self, left: int | None) -> dict[str, object]:
        return {**self._wanted, "limit": PAGE if left is None else min(PAGE, left)}


def _fetch_ahead(get: Get, wanted: Mapping[str, object]) -> Callable[[], Any]:
    """Begin to fetch a page; the returned function waits for it, and raises what went wrong.

    A daemon's thread, so that an interrupted program ends at once, whatever the line does.
    """
    told: SimpleQueue[tuple[Any, Exception | None]] = SimpleQueue()

    def fetch() -> None:
        try:
            told.put((get(wanted), None))
        except Exception as error:
            told.put((None, error))

    Thread(target=fetch, daemon=True).start()

    def wait() -> Any:
        page, error = told.get()
        if error is not None:
            raise error
        return page

    return wait


class Client:
    """One service, as one caller. `tokens` is None for calls without a token."""

    def __init__(
        self,
        server: str,
        ca: Path | None = None,
        tokens: TokenSource | None = None,
        sleep: Callable[[float], None] = time.sleep,
        read_problem: Callable[[requests.Response], Mapping[str, Any]] | None = None,
    ) -> None:
        self._read_problem = read_problem or _problem
        self.server = _checked(server)
        self.sleep = sleep
        self._tokens, self._ca = tokens, ca
        self._verify: str | bool = str(ca) if ca is not None else True
        if ca is not None and not ca.is_file():
            raise CliError(f"the CA file {ca} does not exist: check --ca or CASEVAULT_CA")
        self._answered = False
        self._session = requests.Session()
        # One idle connection is kept: with more slots, a broken one would leave an empty slot before the spare's.
        self._session.mount("https://", _Line(pool_maxsize=1))
        # This machine is not reached through a proxy.
        self._session.trust_env = not is_loopback_host(urlsplit(self.server).hostname or "")

    def another(self) -> Client:
        """Make a client for the same caller with a connection of its own, for another thread."""
        return Client(self.server, self._ca, self._tokens, self.sleep, self._read_problem)

    def elsewhere(
        self, server: str, read_problem: Callable[[requests.Response], Mapping[str, Any]]
    ) -> Client:
        """Make a client for another server, without the token: that goes only to the server that was named."""
        return Client(server, self._ca, None, self.sleep, read_problem)

    @property
    def authorities(self) -> Path | None:
        """The file of CAs that vouch for the server; None: the system's."""
        return self._ca

    @property
    def has_token(self) -> bool:
        """True when calls carry somebody's token."""
        return self._tokens is not None

    def get(self, path: str, params: Mapping[str, object] | None = None) -> Any:
        """Fetch the JSON at `path`."""
        return _json(self.call("GET", path, params=params))

    def text(self, path: str) -> str:
        """Fetch the text at `path`."""
        return self.call("GET", path).content.decode()

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Post `body`, without the names that have no value, and return the response's JSON."""
        said = {name: value for name, value in (body or {}).items() if value is not None}
        return _json(self.call("POST", path, json=said))

    def items(self, path: str, limit: int | None = None, **params: object) -> Items:
        """Fetch the items of a list, page by page, up to `limit`."""
        return Items(
            lambda wanted: self.get(path, wanted), lambda: partial(self.another().get, path), params, limit
        )

    def knock(self) -> None:
        """Use or open a connection, so that one is ready; from any thread. CliError when none can be had."""
        self._once("GET", "/healthz", None, {})

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        data: Iterable[bytes] | bytes | Mapping[str, str] | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """Send one request and return its response if good (2xx or 304); else raise a CliError."""
        asked = {"params": params, "headers": headers, "json": json, "data": data, "stream": stream}
        tries = TRIES if method in SAFE else 1
        for attempt in range(1, tries + 1):
            try:
                answer = self._authorised(method, path, asked)
            except Unreachable as error:
                # Where nothing listened from the start there is nothing to wait for; a restart passes.
                if attempt == (tries if self._answered or not error.refused else min(tries, TRIES_REFUSED)):
                    raise
                self.sleep(pause_before(attempt))
                continue
            if answer.ok and not answer.is_redirect:
                return answer
            problem = ServiceProblem(answer.status_code, self._read_problem(answer))
            if answer.status_code not in BUSY or attempt == tries:
                raise problem
            self.sleep(pause_before(attempt, answer.headers.get("Retry-After")))
        raise AssertionError("the last try returns or raises")

    def _authorised(self, method: str, path: str, asked: Mapping[str, Any]) -> requests.Response:
        token = self._tokens.token() if self._tokens else None
        answer = self._once(method, path, token, asked)
        if answer.status_code != HTTPStatus.UNAUTHORIZED or self._tokens is None:
            return answer
        renewed = self._tokens.token(renew=True)
        return answer if renewed is None else self._once(method, path, renewed, asked)

    def _once(self, method: str, path: str, token: str | None, asked: Mapping[str, Any]) -> requests.Response:
        try:
            answer = self._session.request(
                method,
                self.server + path,
                auth=_Bearer(token),
                # Passed here, not set on the session: there the environment would override it.
                verify=self._verify,
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                allow_redirects=False,
                **asked,
            )
        except (requests.exceptions.RequestException, HTTPError, OSError) as error:
            raise self._explain(_innermost(error)) from None
        self._answered = True
        return answer

    def _explain(self, cause: BaseException) -> CliError:
        """Explain a broken call: a bad certificate stays bad; any other break, within TLS too, may pass."""
        if isinstance(cause, ssl.SSLCertVerificationError):
            return CliError(f"{self.server} could not prove who it is: {cause.verify_message} (see --ca)")
        if isinstance(cause, ssl.SSLError) and cause.reason == "NO_CERTIFICATE_OR_CRL_FOUND":
            return CliError(f"{self._verify} holds no certificate: check --ca or CASEVAULT_CA")
        if isinstance(cause, ConnectionRefusedError):
            refused = Unreachable(
                f"{self.server} cannot be reached: connection refused, nothing listens there (see --server)"
            )
            refused.refused = True
            return refused
        text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        return Unreachable(f"{self.server} cannot be reached: {text}")


def segment(text: str) -> str:
    """Make `text` one segment of a path, its slashes too: between real ones requests would drop `.` and follow `..`.

    CliError where it is nothing but one of those: it would be followed even escaped, and no file or id is called so.
    """
    if text in _WAYS:
        raise CliError(f"{text!r} names nothing at the service: give a name or an id")
    return quote(text, safe="")


def _checked(server: str) -> str:
    try:
        parts = urlsplit(server)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
        raise CliError(
            f"--server must be an https:// address, like https://casevault.example.com, not {server!r}"
        )
    return server.rstrip("/")


def _json(answer: requests.Response) -> Any:
    if answer.status_code == HTTPStatus.NO_CONTENT:
        return None
    try:
        return answer.json()
    except requests.exceptions.JSONDecodeError:
        raise CliError("the response is not JSON: is this a casevault service?") from None


def _problem(answer: requests.Response) -> Mapping[str, Any]:
    try:
        problem = answer.json()
    except requests.exceptions.RequestException:
        problem = None
    if isinstance(problem, Mapping):
        return problem
    if answer.status_code in _TOO_LONG:  # the server's own, before the service is asked
        return {"detail": "the request's address is too long: shorten the values that the command was given"}
    return {"detail": f"the server responded {answer.status_code} {answer.reason}"}


def _innermost(error: BaseException) -> BaseException:
    """Find the first cause: requests and urllib3 wrap it several times, as `reason` or as an argument."""
    while True:
        wrapped = (getattr(error, "reason", None), *error.args)
        inner = next((each for each in wrapped if isinstance(each, BaseException)), None)
        if inner is None and isinstance(error, HTTPError):  # urllib3 has the system's error only as the cause
            inner = error.__cause__
        if inner is None:
            return error
        error = inner
