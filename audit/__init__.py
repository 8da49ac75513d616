"""The log: what was done to whose data, kept so that nobody can change it unnoticed.

cosigning/       Witnesses (C2SP tlog-witness): ours cosigned by others, and others' cosigned by us.
log/             The log in the database: entries appended, put in order, found, exported, recovered.
mirror/          Our own copies of the log outside the service, in a folder or in S3, and the log held against them.
tlog/            The transparency log (C2SP): the Merkle tree over the entries, its checkpoints, tiles and proofs,
                 and their checks.
azure_errors.py  What answers of Azure Blob Storage mean, for those who keep something there.
durable.py       Folders that outlast a crash, and that one process at a time works in.
entry.py         An audit entry and the exact bytes that stand for it in the tree. Pure.
http_client.py   The one HTTP client for others' servers: witnesses that cosign, an issuer of tokens. Bounded,
                 whatever they do.
times.py         The two forms of a moment: microseconds since the epoch in rows, RFC 3339 with six decimals in
                 leaves.
"""
