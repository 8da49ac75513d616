"""The log: what was done to whose data, kept so that no change goes unnoticed.

cosigning/       Witnesses (C2SP tlog-witness): ours cosigned by others, and others' cosigned by us.
log/             The log in the database: entries appended, sequenced, queried, exported, verified, recovered.
mirror/          Our own copies of the log outside the service, in a folder or in S3, and the log compared with them.
tlog/            The transparency log (C2SP): the Merkle tree over the entries, its checkpoints, tiles and proofs,
                 and their checks.
azure_errors.py  The meaning of Azure Blob Storage's error responses.
durable.py       Files and folders that survive a crash, and a lock on a folder.
entry.py         An audit entry and its exact bytes in the tree. Pure.
http_client.py   The one HTTP client for others' servers (witnesses that cosign, an issuer of tokens): bounded in time
                 and bytes.
leaf_reader.py   Leaves parsed by the shapes of leaves parsed before. Pure.
times.py         The clock that is passed in, and the two forms of a moment: microseconds in rows, RFC 3339 in
                 leaves.
"""
