"""Keys: the key-encryption key, signing keys, and the places where they are kept.

key_file.py         The key-encryption key in a local file, for the embedded default.
key_vault.py        The key-encryption key in Azure Key Vault or Managed HSM.
signing.py          The service's signing keys in local files, and the keys derived for upload links.
signing_secrets.py  Signing keys as secrets of a key vault, so that no machine has to keep a file.
vault_service.py    The connection to a key vault: its client, its patience, and the reading of its refusals.
"""
