"""Signing keys in local files: one for the log's checkpoints, one for receipts, one for upload links.

A file holds an Ed25519 seed in hex, mode 0600. It is made when the state folder is, and never made again: a new key in
the place of a lost one would sign what nobody can compare with what was signed before.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from audit.checkpoint import Signer

SEED_BYTES = 32


class SigningKeyRefused(Exception):
    """The file is missing, open to others, or not a seed; the text says what to do."""


def create_signing_key(path: Path) -> None:
    """Make a new key file, whole or not at all; FileExistsError when anything is at `path`."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SEED_BYTES).hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, path)
    finally:
        fresh.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_signing_key(path: Path, name: str) -> Signer:
    """The signer behind the file, known to verifiers as `name`."""
    return Signer(name, read_secret(path))


def read_secret(path: Path) -> bytes:
    """The 32 bytes that the file holds in hex. SigningKeyRefused."""
    try:
        mode = path.stat().st_mode
        text = path.read_text().strip()
    except FileNotFoundError:
        raise SigningKeyRefused(f"{path} is missing; put the key back from where you keep it") from None
    except (OSError, UnicodeDecodeError):
        raise SigningKeyRefused(f"{path} cannot be read as a signing key") from None
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise SigningKeyRefused(f"{path} is open to other users; run: chmod 600 {path}")
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        raise SigningKeyRefused(f"{path} does not hold a signing key; put the right file back")
    return seed
