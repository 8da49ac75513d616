"""The log in the database: entries appended, sequenced, queried, exported, verified, recovered.

append.py         Appending to the log, reading one entry, redacting one entry.
export.py         The log in forms that other tools read, each a stream of text, one piece an entry.
ocsf.py           Entries as OCSF 1.8.0 events. Pure.
query.py          Queries of entries: newest first by page for people, oldest first as a stream for export; and who
                  read, by grant.
row_check.py      Rows of the log checked against their leaves, each on its own. Pure.
sequencer.py      The sequencer: gives committed entries their place in the tree and publishes signed checkpoints.
tables.py         The log's tables in SQLAlchemy Core, the same on SQLite and PostgreSQL.
tail_recovery.py  Recovery after a restore: the log's lost tail from a mirror, lost tiles from the database, and row
                  gaps.
verify.py         The walker: checks that the log is what was signed, and names the first bad leaf and its fault.
"""
