"""The sources of the bearer token. A token is never shown, logged or written to a file.

- an option or the environment;
- a command of the user's, so that no long-lived token lies around; it is run again when the service says that the token
  has expired;
- in development, the service's own development issuer; stderr says so every time.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from intake_api.cli.cli_errors import CliError
from retention.domain.actor import KIND_OF_ROLE, OURS_ALONE, Role

ROLE_OF_WORD = {word: role for role, word in KIND_OF_ROLE.items() if role not in OURS_ALONE}
COMMAND_SECONDS = 60


class TokenSource(Protocol):
    """A source of tokens. `token(renew=True)` asks for a new one; None when there is none."""

    def token(self, *, renew: bool = False) -> str | None: ...


class GivenToken:
    """The token that the user typed or set."""

    def __init__(self, text: str) -> None:
        self._text = text.strip()
        if not self._text or not self._text.isascii() or any(c.isspace() for c in self._text):
            raise CliError("the token is empty or has spaces in it: check --token or CASEVAULT_TOKEN")

    def token(self, *, renew: bool = False) -> str | None:
        return None if renew else self._text


class FetchedToken:
    """A token fetched on demand; kept in memory until it is refused."""

    def __init__(self, fetch: Callable[[], str]) -> None:
        self._fetch = fetch
        self._text: str | None = None

    def token(self, *, renew: bool = False) -> str | None:
        if renew or self._text is None:
            self._text = self._fetch()
        return self._text


def token_of_command(command: str) -> str:
    """Run the user's command and return what it prints, stripped."""
    try:
        words = shlex.split(command)
        # The user names the program to run; no shell reads it.
        done = subprocess.run(  # noqa: S603
            words, stdout=subprocess.PIPE, timeout=COMMAND_SECONDS, check=True, text=True
        )
    except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
        why = (
            f"it ended with {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else error
        )
        raise CliError(f"the token command failed: {why}") from None
    token = done.stdout.strip()
    if not token:
        raise CliError("the token command printed no token")
    return token


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """A person to act as in development: ROLE:NAME[@DIRECTORY] or partner:NAME/PARTNER."""

    role: Role
    subject: str
    directory: str | None = None
    partner: str | None = None

    @classmethod
    def parse(cls, text: str) -> Rehearsed:
        word, colon, who = text.partition(":")
        role = ROLE_OF_WORD.get(word)
        if role is None or not colon:
            raise CliError(
                f"--as takes ROLE:NAME[@DIRECTORY], not {text!r}; ROLE is one of {', '.join(ROLE_OF_WORD)}"
            )
        mark = "/" if role is Role.PARTNER_ENGINEER else "@"
        subject, marked, home = who.partition(mark)
        if not subject or (marked and not home):
            raise CliError(
                f"--as {text!r} has no name: give one, like engineer:alice, operator:olga@contoso or partner:pat/oem"
            )
        if role is Role.PARTNER_ENGINEER:
            return cls(role, subject, partner=home or None)
        return cls(role, subject, directory=home or None)

    def form(self) -> dict[str, str]:
        """Fill in the development issuer's form."""
        told = {"directory": self.directory, "partner": self.partner}
        return {"subject": self.subject, "role": self.role.value, **{k: v for k, v in told.items() if v}}

    def __str__(self) -> str:
        home = f" of {self.directory or self.partner}" if self.directory or self.partner else ""
        return f"{KIND_OF_ROLE[self.role]} {self.subject}{home}"
