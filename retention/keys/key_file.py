"""The key-encryption key in a local file, for the embedded default.

1. The file is made only when asked to (`create`); a missing file is an error, never a reason to make a new key:
   a new key in the place of a lost one would open nothing.
2. It is a regular file of this user, readable by nobody else; any other is refused.
3. A key's id is derived from the key, so a damaged or foreign file cannot pass for the right one.
4. `rotate` adds a key and keeps the old ones for unwrapping. The file is replaced atomically: new file, fsync, rename*,
   fsync of the folder (* from here the new key is the current one). Rotations of several processes take turns.
5. Every call checks whether the file was replaced, so a running process follows another's rotation at once.
Keys are never dropped here: only a census of every stored wrapped key, in all processes, could show one unused.

Wrapping is AES-256-GCM; the associated data binds key id and bundle id (envelope/format.py).
    wrapped = nonce (12) | ciphertext of the data key (32) | tag (16)
Nonce: 96 random bits a wrap. A key makes one wrap a bundle, far below the 2^32 at which a collision of random nonces of
this length grows likely (2^-32; NIST SP 800-38D, 8.3).
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from retention.envelope import format as frames
from retention.envelope.data_keys import DATA_KEY_LENGTH, DataKey, WrappedKey
from retention.envelope.format import KeyFileRefused, UnknownKeyEncryptionKey, WrappedKeyBroken

FORMAT = "casevault-key-file-v1"
ALGORITHM = "AES-256-GCM"
_NONCE = 12
_SEALED = _NONCE + DATA_KEY_LENGTH + 16


@dataclass(frozen=True, slots=True)
class _Key:
    kek_id: str
    created: str
    secret: bytes = field(repr=False)


def _kek_id(secret: bytes) -> str:
    return "local-" + hashlib.sha256(b"casevault key id v1" + secret).hexdigest()[:16]


def _new_key(now: datetime) -> _Key:
    secret = os.urandom(32)
    return _Key(_kek_id(secret), now.isoformat(timespec="seconds"), secret)


def _encode(keys: tuple[_Key, ...]) -> bytes:
    listed = [
        {"id": key.kek_id, "created": key.created, "key": base64.b64encode(key.secret).decode("ascii")}
        for key in keys
    ]
    document = {"format": FORMAT, "current": keys[-1].kek_id, "keys": listed}
    return (json.dumps(document, indent=2) + "\n").encode("ascii")


def _decode(raw: bytes) -> tuple[_Key, ...] | None:
    """Parse the keys, the current one last; None if this is not a key file. A reason would quote the file."""
    try:
        document = json.loads(raw)
        keys = tuple(
            _Key(item["id"], item["created"], base64.b64decode(item["key"], validate=True))
            for item in document["keys"]
        )
        sound = document["format"] == FORMAT and document["current"] == keys[-1].kek_id
        sound = sound and all(len(key.secret) == 32 and key.kek_id == _kek_id(key.secret) for key in keys)
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    return keys if sound else None


def _read(path: Path) -> tuple[tuple[int, int, int], tuple[_Key, ...]]:
    """Read the file's identity and its keys; `KeyFileRefused` says what to do."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise KeyFileRefused(
            f"the key file {path} is missing. Restore it: no stored bundle can be opened without it. "
            "Create a new one only for a store without bundles."
        ) from None
    except OSError as error:
        raise KeyFileRefused(f"the key file {path} cannot be read: {error.strerror}.") from None
    try:
        status = os.fstat(fd)
        _refuse_unsafe(path, status)
        keys = _decode(os.read(fd, status.st_size))
    finally:
        os.close(fd)
    if keys is None:
        raise KeyFileRefused(
            f"{path} is not a key file, or is damaged. Restore it from its back-up; do not edit it."
        )
    return _identity(status), keys


def _refuse_unsafe(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileRefused(f"{path} is not a regular file; name the key file itself.")
    if status.st_uid != os.geteuid():
        raise KeyFileRefused(f"the key file {path} belongs to another user; run: chown {os.geteuid()} {path}")
    if status.st_mode & 0o077:
        raise KeyFileRefused(
            f"the key file {path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o}); "
            f"run: chmod 600 {path}. If others may have read it, rotate the key afterwards."
        )


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_mode


def _write_new(path: Path, keys: tuple[_Key, ...]) -> Path:
    """Write a durable file beside `path`, to be renamed to it."""
    fresh = path.with_name(f"{path.name}.{os.urandom(4).hex()}.new")
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KeyFileRefused(f"the key file cannot be written in {path.parent}: {error.strerror}.") from None
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(_encode(keys))
            file.flush()
            os.fsync(fd)
    except BaseException:
        fresh.unlink()
        raise
    return fresh


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock the file against all other processes; lock again if the file was replaced meanwhile."""
    while True:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(fd), path.stat()):
                yield
                return
        finally:
            os.close(fd)


class LocalKeyWrapper:
    """A wrapper with the key file at `path`; refuses a bad file at once. Contract: `KeyWrapper`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._identity, self._keys = _read(path)

    @classmethod
    def create(cls, path: Path, now: datetime) -> LocalKeyWrapper:
        """Make a new key file, mode 0600. `KeyFileRefused` if anything is at `path`: it is never overwritten."""
        fresh = _write_new(path, (_new_key(now),))
        try:
            os.link(fresh, path)
        except FileExistsError:
            raise KeyFileRefused(
                f"{path} exists already and was left unchanged. Move it away only if no stored bundle needs it."
            ) from None
        finally:
            fresh.unlink()
        _sync_folder(path.parent)
        return cls(path)

    def rotate(self, now: datetime) -> str:
        """Add a key, make it current and return its id. Re-wrap the stored keys afterwards."""
        _read(self._path)  # a missing or unsafe file is refused with its reason before it is locked
        with _locked(self._path):
            _, keys = _read(self._path)
            key = _new_key(now)
            fresh = _write_new(self._path, (*keys, key))
            try:
                fresh.rename(self._path)  # *
            except BaseException:
                fresh.unlink()
                raise
            _sync_folder(self._path.parent)
        return key.kek_id

    def _current_keys(self) -> tuple[_Key, ...]:
        with self._lock:
            try:
                unchanged = _identity(self._path.stat()) == self._identity
            except FileNotFoundError:
                unchanged = False
            if not unchanged:
                self._identity, self._keys = _read(self._path)
            return self._keys

    @property
    def current_kek_id(self) -> str:
        return self._current_keys()[-1].kek_id

    def wrap(self, data_key: DataKey, bundle_id: str) -> WrappedKey:
        key = self._current_keys()[-1]
        nonce = os.urandom(_NONCE)
        sealed = AESGCM(key.secret).encrypt(nonce, data_key.reveal(), _bound(key, bundle_id))
        return WrappedKey(key.kek_id, ALGORITHM, nonce + sealed)

    def unwrap(self, wrapped: WrappedKey, bundle_id: str) -> DataKey:
        if wrapped.algorithm != ALGORITHM or len(wrapped.sealed) != _SEALED:
            raise WrappedKeyBroken(f"the data key of {bundle_id} was not wrapped by a key file")
        key = next((key for key in self._current_keys() if key.kek_id == wrapped.kek_id), None)
        if key is None:
            raise UnknownKeyEncryptionKey(
                f"the key file {self._path} does not hold the key {wrapped.kek_id}, which wrapped this bundle's key. "
                "It is another installation's file or an old copy: put back the right one."
            )
        nonce, sealed = wrapped.sealed[:_NONCE], wrapped.sealed[_NONCE:]
        try:
            return DataKey(AESGCM(key.secret).decrypt(nonce, sealed, _bound(key, bundle_id, wrapped.framing)))
        except InvalidTag:
            raise WrappedKeyBroken("the wrapped key was altered, or belongs to another bundle") from None


def _bound(key: _Key, bundle_id: str, framing: int = frames.CURRENT) -> bytes:
    return frames.bound(frames.DATA_KEY, key.kek_id, bundle_id, framing=framing)
