"""The transparency log (C2SP): the Merkle tree over the entries, its checkpoints, tiles and proofs, and their
checks.

checkpoint.py        Signed notes (C2SP signed-note) and checkpoints (C2SP tlog-checkpoint), with Ed25519. Pure.
merkle.py            The Merkle tree of RFC 6962 / RFC 9162 over SHA-256. Pure.
overdue.py           Which bundles should be gone and are not, told from the leaves alone (P4, P9). Pure.
proofs.py            Proofs for outsiders: made from tiles and a signed checkpoint, checked without the log.
rebuild.py           The tree, built a second time from the leaves, and held against tiles and signed roots.
tile_store.py        The tree as static files: C2SP tlog-tiles. What a mirror copies and an outsider verifies.
tile_store_azure.py  The log's tiles and checkpoints in a container of Azure Blob Storage.
unaccounted.py       Which reads nothing in the log allowed, and which grants nobody used, told from the leaves
                     alone (P2, P6). Pure.
"""
