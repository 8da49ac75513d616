"""Signing keys as secrets of a key vault, so that no machine has to keep a file. Contract: `SigningKeys`.

1. Secrets, not keys: Key Vault has no Ed25519 keys (its curves are P-256, P-384, P-521 and secp256k1), and checkpoints
   and receipts are Ed25519 notes, which any C2SP verifier reads. So the seed is fetched at the start and stays in
   memory; the vault decides who is allowed to have it.
2. A vault of its own, not the key-encryption key's: closing that one to stop all reading does not stop the log, and
   access to one does not give access to the other.
3. The current version counts. A deleted, disabled or refused secret is an error, never a reason for another.
   The vault itself refuses to set a secret under the name of a deleted one.
4. A seed is in no repr, log, exception or message of ours: the vault's own errors are left out, causes included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.credentials import TokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.keyvault.secrets import SecretClient

from retention.keys.signing import SigningKeyRefused, new_seed, parse_seed
from retention.keys.vault_service import VaultPatience, inner_code, vault_options

_PREFIX = "casevault-"
_CAUSES = {
    "SecretDisabled": "is disabled; enable it in the vault",
    "ForbiddenByRbac": "is forbidden to this service; give its identity Key Vault Secrets User",
    "ForbiddenByFirewall": "is in a vault whose firewall does not let this service in",
    "ObjectIsDeletedButRecoverable": "was deleted; recover it: a new key is never made in the place of a lost one",
}
_STATUS = {
    401: "is in a vault that does not accept this service's identity",
    403: _CAUSES["ForbiddenByRbac"],
    404: "is not in the vault; run `casevault init` for a new service, or recover the secret if it was deleted",
    409: _CAUSES["ObjectIsDeletedButRecoverable"],
    429: "is in a vault that is throttling; try again later",
}


class SigningSecrets:
    """Seeds in the vault at `vault_url`, each under its name with the prefix `casevault-`."""

    def __init__(
        self, vault_url: str, credential: TokenCredential, patience: VaultPatience | None = None
    ) -> None:
        self._url = vault_url.rstrip("/")
        self._secrets = SecretClient(self._url, credential, **vault_options(patience))

    def read(self, name: str) -> bytes:
        with self._named_causes(name):
            text = self._secrets.get_secret(_PREFIX + name).value or ""
        seed = parse_seed(text.strip())
        if seed is None:
            raise self._refused(name, "does not hold a signing key; restore the right value")
        return seed

    def make_missing(self, name: str) -> None:
        with self._named_causes(name):
            try:
                self._secrets.get_secret(_PREFIX + name)
            except ResourceNotFoundError:
                self._secrets.set_secret(_PREFIX + name, new_seed(), content_type="Ed25519 seed in hex")

    def _refused(self, name: str, cause: str) -> SigningKeyRefused:
        return SigningKeyRefused(f"the secret {self._url}/secrets/{_PREFIX}{name} {cause}")

    @contextmanager
    def _named_causes(self, name: str) -> Iterator[None]:
        try:
            yield
        except HttpResponseError as error:
            status = error.status_code or (401 if isinstance(error, ClientAuthenticationError) else 0)
            cause = _CAUSES.get(inner_code(error)) or _STATUS.get(status, f"is unavailable now ({status})")
            raise self._refused(name, cause) from None
        except AzureError as error:
            raise self._refused(name, f"cannot be reached ({type(error).__name__})") from None
        except (ValueError, KeyError):  # a challenge for another domain, or an odd response
            raise self._refused(name, "is at an address that does not respond as a key vault does") from None
