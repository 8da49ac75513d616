"""The service's signing keys in local files, and the keys derived for upload links.

There is one signing key for the log's checkpoints, one for receipts, one secret that upload links' keys are derived
from, and one that binds the records that allow a read (`retention.domain.row_tag`). Each is a seed of 32 bytes, written
in hex. It is made with the service, once, and never again: signatures by a new key in the place of a lost one could not
be compared with the earlier ones. Here they are local files, mode 0600; `signing_vault` keeps them where many machines
can read them.

- Losing the secret of upload links makes every link useless and nothing else: links are issued anew.
- A link's key = HKDF-SHA256(secret, info = `casevault upload link v1 | <link id>`), and is stored nowhere: one link's
  holder can learn nothing about another link, and the database holds nothing that signs.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Protocol

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from audit.durable import sync_folder
from audit.tlog.checkpoint import Signer

SEED_BYTES = 32
LOG_KEY, RECEIPT_KEY, LINK_KEY = "log-signing-key", "receipt-signing-key", "link-signing-key"
BINDING_KEY = "binding-key"
COSIGNING_KEY = "cosigning-key"
"""The key that cosigns others' checkpoints, where that is offered."""
SIGNING_KEYS = (LOG_KEY, RECEIPT_KEY, LINK_KEY, BINDING_KEY)


class SigningKeyRefused(Exception):
    """A key that is missing, open to others, not a seed, or unavailable now; the text says what to do."""


class SigningKeys(Protocol):
    """A place where the seeds are kept. Every such place passes tests/contracts/.

    - `read` returns the 32 bytes. `SigningKeyRefused` when they are missing or unavailable: never others.
    - `make_missing` makes the key unless there is one. Callers take turns: `initialise` holds a lock.
    """

    def read(self, name: str) -> bytes: ...

    def make_missing(self, name: str) -> None: ...


class SigningKeyFiles:
    """Seeds in files of the state folder. Contract: `SigningKeys`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> bytes:
        return read_secret(self._folder / name)

    def make_missing(self, name: str) -> None:
        if not (self._folder / name).exists():
            with suppress(FileExistsError):  # another process was first
                create_signing_key(self._folder / name)


def create_signing_key(path: Path) -> None:
    """Make a new key file, completely or not at all; FileExistsError when anything is at `path`."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(f"{new_seed()}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, path)
    finally:
        fresh.unlink()
    sync_folder(path.parent)


def load_signing_key(path: Path, name: str) -> Signer:
    """Read the signer in the file, known to verifiers as `name`."""
    return Signer(name, read_secret(path))


def read_secret(path: Path) -> bytes:
    """Read the 32 bytes that the file holds in hex; SigningKeyRefused if it does not."""
    try:
        mode = path.stat().st_mode
        text = path.read_text().strip()
    except FileNotFoundError:
        raise SigningKeyRefused(f"{path} is missing; restore the key from its back-up") from None
    except (OSError, UnicodeDecodeError):
        raise SigningKeyRefused(
            f"{path} cannot be read as a signing key; restore it from its back-up"
        ) from None
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise SigningKeyRefused(f"{path} is open to other users; run: chmod 600 {path}")
    seed = parse_seed(text)
    if seed is None:
        raise SigningKeyRefused(f"{path} does not hold a signing key; restore the right file")
    return seed


def new_seed() -> str:
    """Make a seed, in the form in which it is kept."""
    return secrets.token_bytes(SEED_BYTES).hex()


def parse_seed(text: str) -> bytes | None:
    """Parse a kept seed; None if `text` is not one. No error: its text might quote what was read."""
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        return None
    return seed if len(seed) == SEED_BYTES else None


_INFO = b"casevault upload link v1|"


class LinkKeys:
    """The source of links' keys. Not shown, not pickled. `secret` is None in a process that needs no links."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes | None) -> None:
        self._secret = secret

    def key_of(self, link_id: str) -> bytes:
        """Derive the 32 bytes that sign this link's addresses."""
        if self._secret is None:
            raise SigningKeyRefused(f"this process holds no key of upload links, so none for {link_id}")
        return HKDF(SHA256(), 32, None, _INFO + link_id.encode()).derive(self._secret)

    def __repr__(self) -> str:
        return "LinkKeys(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("link keys cannot be pickled or copied")
