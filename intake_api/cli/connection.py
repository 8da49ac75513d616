"""From options and environment to a `Client`: which server, which CA, whose token, which keys.

A service in development on the same machine needs no settings: its address and CA are found in its state folder
(CASEVAULT_STATE), and --as takes a token from its development issuer. Any other needs the server and a token; the
system's CAs count unless --ca names another.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from audit.tlog.checkpoint import NoteError, Verifier
from intake_api.cli.cli_errors import CliError
from intake_api.cli.client import Client
from intake_api.cli.options import FILE, PATH, shared
from intake_api.cli.print_tables import say
from intake_api.cli.tokens import FetchedToken, GivenToken, Rehearsed, TokenSource, token_of_command
from intake_api.state_location import kept_address, listen_is_set_from_environment, state_from_environment

DEFAULT_SERVER = "https://127.0.0.1:8443"
TOKEN_PATH = "/development/token"  # noqa: S105 - an address

_OPTIONS = (
    shared(
        "--server",
        envvar="CASEVAULT_SERVER",
        show_envvar=True,
        help=f"Address of the service.  [default: that of a service on this machine, or {DEFAULT_SERVER}]",
    ),
    shared(
        "--ca",
        type=PATH,
        envvar="CASEVAULT_CA",
        show_envvar=True,
        help="CA file that vouches for the service; for a service on this machine it is found automatically.",
    ),
    shared(
        "--token", envvar="CASEVAULT_TOKEN", show_envvar=True, help="Bearer token; safer in the environment."
    ),
    shared(
        "--token-command",
        envvar="CASEVAULT_TOKEN_COMMAND",
        show_envvar=True,
        metavar="COMMAND",
        help="Program that prints a token, run again when the token expires.",
    ),
    shared(
        "--as",
        "rehearsed",
        metavar="ROLE:NAME[@DIRECTORY]",
        help="Development only: be this person, e.g. engineer:alice, operator:olga@contoso, partner:pat/oem.",
    ),
)


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command the options above and the `Client` they lead to, as `client`."""

    @functools.wraps(command)
    def wrapper(
        *args: Any,
        server: str | None,
        ca: Path | None,
        token: str | None,
        token_command: str | None,
        rehearsed: str | None,
        **rest: Any,
    ) -> Any:
        server = server or local_server(rest.get("state"))
        ca = ca or local_ca(rest.get("state"))
        source = token_source(server, ca, token, token_command, rehearsed)
        return command(*args, client=Client(server, ca, source), **rest)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper


def local_server(state: Path | None) -> str:
    """Return the address of a service on this machine: from its settings, or from its state folder."""
    told = None
    if listen_is_set_from_environment(os.environ):
        from intake_api.config import listening_from_environment

        told = listening_from_environment(os.environ)
    return told or kept_address(state or state_from_environment(os.environ)) or DEFAULT_SERVER


def local_ca(state: Path | None) -> Path | None:
    """Return the CA that a service on this machine made in its state folder, if any."""
    found = (state or state_from_environment(os.environ)) / "tls" / "ca.pem"
    return found if found.is_file() else None


def token_source(
    server: str, ca: Path | None, token: str | None, command: str | None, rehearsed: str | None
) -> TokenSource | None:
    """Choose the token: --as before --token-command before --token, the most deliberate first."""
    if rehearsed is not None:
        who = Rehearsed.parse(rehearsed)
        say(f"development token: acting as {who}; not for production")
        return development_token(server, ca, who)
    if command is not None:
        return FetchedToken(functools.partial(token_of_command, command))
    return GivenToken(token) if token is not None else None


def development_token(server: str, ca: Path | None, who: Rehearsed) -> TokenSource:
    """Fetch tokens from the service's own development issuer."""
    issuer = Client(server, ca)

    def fetch() -> str:
        answer = issuer.call("POST", TOKEN_PATH, data=who.form()).json()
        return str(answer["access_token"])

    return FetchedToken(fetch)


def keys_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --keys: the pinned public keys of log and receipts."""
    return shared(
        "--keys",
        type=FILE,
        envvar="CASEVAULT_KEYS",
        show_envvar=True,
        help="Your pinned copy of the service's public keys (`casevault audit keys`); else the service is asked.",
    )(command)


def pinned_keys(client: Client, keys: Path | None) -> tuple[Verifier, Verifier]:
    """Return the log's and the receipts' keys: those the user keeps, else those the service names."""
    if keys is not None:
        return read_keys(keys)
    say(
        "the keys used are the service's own word: keep them with `casevault audit keys -o keys.json`, then pass --keys"
    )
    return parse_keys(client.get("/audit/keys"), "/audit/keys")


def read_keys(path: Path) -> tuple[Verifier, Verifier]:
    """Read the keys from a file written by `casevault audit keys`."""
    try:
        return parse_keys(json.loads(path.read_text("utf-8")), str(path))
    except (OSError, ValueError) as error:
        raise CliError(f"{path} is not a file of keys written by `casevault audit keys`: {error}") from None


def parse_keys(document: object, where: str) -> tuple[Verifier, Verifier]:
    """Parse a document of keys into (log key, receipt key)."""
    try:
        if not isinstance(document, Mapping):
            raise TypeError("not an object")  # noqa: TRY301 - one refusal for every wrong form
        return Verifier.parse(document["log"]), Verifier.parse(document["receipts"])
    except (KeyError, TypeError, AttributeError, NoteError) as error:
        raise CliError(f"{where} does not hold the two keys `log` and `receipts`: {error}") from None
