"""Keys: data keys and what wraps them, signing keys, and where each is kept.

key_file.py       The key-encryption key in a local file, for the embedded default.
key_vault.py      The key-encryption key in Azure Key Vault or Managed HSM.
signing.py        Signing keys: one for the log's checkpoints, one for receipts, one that upload links' keys are
                  derived from, one that binds what allows a read to the service (`retention.domain.row_tag`).
signing_vault.py  Signing keys as secrets of a key vault, so that no machine has to keep a file.
vault_service.py  How this service speaks to a key vault: connections, patience, and what its refusals say.
"""
