"""The log in the database: entries appended, put in order, found, exported, recovered.

append.py         Appending to the log, reading one entry, redacting one entry.
export.py         The log in forms that other tools read. Each is a stream of text, one piece an entry.
ocsf.py           Entries as OCSF 1.8.0 events. Pure.
query.py          Finding entries: newest first by page for people, oldest first as a stream for export; and who
                  read, by grant.
sequencer.py      The sequencer gives committed entries their place in the tree and publishes signed checkpoints.
tables.py         The log's tables. SQLAlchemy Core; the same on SQLite and PostgreSQL.
tail_recovery.py  Adopting the tail: what a restored database lacks of its own log is put back from the tiles of a
                  mirror or witness.
verify.py         The walker: is this log what it was when it was signed? It names the first bad leaf and what is
                  wrong with it.
"""
