"""What is read under a grant, and what the log shows.

audit_reports.py  Two questions that people put to the log: who read a case, and which grants nobody used.
bundle_reads.py   Reading: the one way to plaintext (P2, P3).
log_queries.py    The log, shown to those who may see it: found by page, exported, proven.
opening_entry.py  The entry of an opening: seen as written before the first byte, and followed until the signed tree
                  holds it (P3).
"""
