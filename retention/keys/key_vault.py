"""The key-encryption key in Azure Key Vault or Managed HSM. Contract: `KeyWrapper` (envelope/data_keys.py).

1. The key-encryption key never leaves the vault, which does every wrap and unwrap, under its rules of the moment. The
   SDK's CryptographyClient is not used: it works locally where it thinks it can, and for an AES key of a Managed HSM,
   whose bytes it does not get, it silently makes a random one and wraps with that (4.11.3).
2. A new data key is wrapped by the key's current version, asked for at each wrap: disabling or rotating a key counts at
   once. A wrapped key names the version that wrapped it, and no other is tried.
3. Only versions of the configured key are ever asked to unwrap: a stored object cannot send us to another vault.
4. The wrapped bytes bind the bundle, since the vault's wrapping takes no associated data:
       salt 16 | data key 32 | HMAC-SHA-256 32 by the data key, over the salt and the bundle id (envelope/format.py)
   The whole is under the key-encryption key. Moving it to another bundle would take that bundle's HMAC, and so the data
   key. Nothing else uses the data key as an HMAC key: sealing only derives from it, with another construction (HKDF
   takes it as message). The salt makes two wraps differ: AES key wrap (RFC 3394) is deterministic.
5. RSA-OAEP proves who is allowed to unwrap, not who wrapped: anybody who knows the public key and can write to the key
   store could plant a data key of their own for a future bundle. AES key wrap has no such gap. docs/azure.md says which
   to choose.
6. The vault's refusals become causes that a person can act on: a disabled, expired or forbidden key is
   `KeyWrapperUnavailable`, so reads fail closed and an upload is refused before its first byte is accepted.

Throttling and passing faults are waited out: vault_service.py.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.core.rest import HttpRequest, HttpResponse
from azure.keyvault.keys import KeyClient, KeyVaultKey

from retention.envelope import format as frames
from retention.envelope.data_keys import DATA_KEY_LENGTH, DataKey, WrappedKey
from retention.envelope.format import KeyWrapperUnavailable, UnknownKeyEncryptionKey, WrappedKeyBroken
from retention.keys.vault_service import VaultPatience, inner_code, vault_options

_KEY_URL = re.compile(r"(https://[a-zA-Z0-9.-]+(?::[0-9]+)?)/keys/([a-zA-Z0-9-]{1,127})")
_VERSION = re.compile(r"[0-9a-f]{32}")
_SALT = 16
_MAC = 32

# By the key's kind; -HSM: the same, in hardware.
ALGORITHMS = {
    "RSA": "RSA-OAEP-256",
    "RSA-HSM": "RSA-OAEP-256",
    "oct": "A256KW",
    "oct-HSM": "A256KW",
}

_CAUSES = {
    "KeyDisabled": "is disabled; enable it in the vault to read and receive again",
    "KeyExpired": "has expired; rotate it, or move its expiry",
    "KeyNotYetValid": "is not valid yet; check its activation date",
    "ForbiddenByRbac": "is forbidden to this service; give its identity Key Vault Crypto Service Encryption User",
    "ForbiddenByFirewall": "is in a vault whose firewall does not let this service in",
}
_STATUS = {
    401: "is in a vault that does not accept this service's identity",
    403: _CAUSES["ForbiddenByRbac"],
    404: "is not in the vault, or was deleted; recover it, or correct CASEVAULT_KEY_URL",
    429: "is in a vault that is throttling; try again later",
}


class KeyVaultWrapper:
    """A wrapper with the key at `key_url`: https://<vault>/keys/<name>, without a version. Contract: `KeyWrapper`."""

    def __init__(
        self, key_url: str, credential: TokenCredential, patience: VaultPatience | None = None
    ) -> None:
        match = _KEY_URL.fullmatch(key_url)
        if match is None:
            raise ValueError(
                f"the key URL {key_url!r} must be https://<vault>/keys/<name>, without a version"
            )
        self._key_url = key_url.lower()  # names of vaults and keys are compared without case
        vault_url, self._name = match.groups()
        self._keys = KeyClient(
            vault_url,
            credential,
            **vault_options(patience),
        )

    @property
    def current_kek_id(self) -> str:
        """Return the full identifier of the key's current version. `KeyWrapperUnavailable` if that is disabled."""
        return self._kek_id(self._current())

    def _current(self) -> KeyVaultKey:
        with self._named_causes():
            key = self._keys.get_key(self._name)
        if not key.properties.enabled:
            raise self._unavailable(_CAUSES["KeyDisabled"])
        return key

    def _kek_id(self, key: KeyVaultKey) -> str:
        return f"{self._key_url}/{key.properties.version}"

    def rotate(self, now: datetime) -> str:
        """Have the vault make a new current version and return its id. Re-wrap the stored keys afterwards.

        The vault dates the version by its own clock; `now` is unused, and here because `RotatingKeyWrapper` has it.
        """
        with self._named_causes():
            return self._kek_id(self._keys.rotate_key(self._name))

    def wrap(self, data_key: DataKey, bundle_id: str) -> WrappedKey:
        key = self._current()
        kind = str(getattr(key.key_type, "value", key.key_type))
        if kind not in ALGORITHMS:
            raise self._unavailable(f"is of kind {kind}; an RSA or AES key is needed")
        salt = os.urandom(_SALT)
        payload = salt + data_key.reveal() + _bound(data_key.reveal(), salt, bundle_id)
        with self._named_causes():
            sealed = self._asked(str(key.properties.version), "wrapkey", ALGORITHMS[kind], payload)
        return WrappedKey(self._kek_id(key), ALGORITHMS[kind], sealed)

    def _asked(self, version: str, operation: str, algorithm: str, value: bytes) -> bytes:
        """Ask the vault for an operation by one version of the key; return its result."""
        content = {"alg": algorithm, "value": _encoded(value)}
        answer: HttpResponse = self._keys.send_request(
            HttpRequest("POST", f"/keys/{self._name}/{version}/{operation}", json=content)
        )
        answer.raise_for_status()
        return _decoded(answer.json()["value"])

    def unwrap(self, wrapped: WrappedKey, bundle_id: str) -> DataKey:
        version = wrapped.kek_id.lower().removeprefix(f"{self._key_url}/")
        if not _VERSION.fullmatch(version):
            raise UnknownKeyEncryptionKey(
                f"the key {wrapped.kek_id}, which wrapped this bundle's key, is not a version of {self._key_url}. "
                "Set CASEVAULT_KEY_URL to the key that this store was made with."
            )
        if not wrapped.sealed or wrapped.algorithm not in ALGORITHMS.values():
            raise WrappedKeyBroken(f"the data key of {bundle_id} was not wrapped by a key vault")
        return _opened(self._unwrapped(wrapped, version), bundle_id, wrapped.framing)

    def _unwrapped(self, wrapped: WrappedKey, version: str) -> bytes:
        with self._named_causes():
            try:
                return self._asked(version, "unwrapkey", wrapped.algorithm, wrapped.sealed)
            except HttpResponseError as error:
                if error.status_code == 400:
                    raise WrappedKeyBroken("the wrapped key was altered, or is another key's") from None
                if error.status_code == 404:
                    raise UnknownKeyEncryptionKey(
                        f"the vault has no key {wrapped.kek_id}. Recover it if it was deleted."
                    ) from None
                raise

    def _unavailable(self, cause: str) -> KeyWrapperUnavailable:
        return KeyWrapperUnavailable(f"the key {self._key_url} {cause}", cause)

    @contextmanager
    def _named_causes(self) -> Iterator[None]:
        """Turn the vault's refusals into causes. Its messages are left out: they may quote what was sent."""
        try:
            yield
        except HttpResponseError as error:
            status = error.status_code or (401 if isinstance(error, ClientAuthenticationError) else 0)
            cause = _CAUSES.get(inner_code(error)) or _STATUS.get(status, f"cannot be used now ({status})")
            raise self._unavailable(cause) from None
        except AzureError as error:
            raise self._unavailable(f"cannot be reached ({type(error).__name__})") from None
        except (ValueError, KeyError):  # a challenge for another domain, or an odd response
            raise self._unavailable("is at an address that does not respond as a key vault does") from None


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _bound(secret: bytes, salt: bytes, bundle_id: str, framing: int = frames.CURRENT) -> bytes:
    message = frames.bound(frames.DATA_KEY_IN_VAULT, salt, bundle_id, framing=framing)
    return hmac.digest(secret, message, "sha256")


def _opened(payload: bytes, bundle_id: str, framing: int) -> DataKey:
    if len(payload) != _SALT + DATA_KEY_LENGTH + _MAC:
        raise WrappedKeyBroken("the wrapped bytes are not a data key of this service")
    salt, secret, mac = payload[:_SALT], payload[_SALT:-_MAC], payload[-_MAC:]
    if not hmac.compare_digest(mac, _bound(secret, salt, bundle_id, framing)):
        raise WrappedKeyBroken("the wrapped key belongs to another bundle")
    return DataKey(secret)
