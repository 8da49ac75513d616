"""The transparency log (C2SP): the Merkle tree over the entries, its checkpoints, tiles and proofs, and their
checks.

approvals.py         The approvals that grants rest on, from the leaves alone (P2). Pure.
checkpoint.py        Signed notes (C2SP signed-note) and checkpoints (C2SP tlog-checkpoint), with Ed25519. Pure.
kept.py              What a walk through the log has to remember, by id: in memory, or wherever the caller keeps it.
                     Pure.
merkle.py            The Merkle tree of RFC 6962 / RFC 9162 over SHA-256. Pure.
overdue.py           The bundles that outlived their deadline, from the leaves alone (P4, P9). Pure.
proofs.py            Proofs for outsiders: made from tiles and a signed checkpoint, checked without the log.
rebuild.py           The tree rebuilt from the leaves, and compared with tiles and signed roots.
spilled.py           Maps for a walk through a log of any size: what was used last in memory, the rest in a temporary
                     file.
tile_store.py        The tree as static files (C2SP tlog-tiles), copied by a mirror and verified by outsiders.
tile_store_azure.py  The log's tiles and checkpoints in a container of Azure Blob Storage.
unaccounted.py       The reads that nothing in the log allowed, and the unused grants, from the leaves alone (P2, P6).
                     Pure.
"""
