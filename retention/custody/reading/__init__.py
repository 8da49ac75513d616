"""Reading under a grant, and showing the log.

audit_reports.py  Two reports on the log: who read a case, and which grants nobody used.
bundle_reads.py   Reading bundles: the only way to plaintext (P2, P3).
event_logs.py     A bundle's files as Windows event logs, over a bundle that is open.
file_bytes.py     A file of a bundle as bytes, over a bundle that is open, passed on while the grant lives.
file_lines.py     A screen of a file's lines, over a bundle that is open.
file_lists.py     The files of a bundle's archive, listed: whole, or a page at a time.
file_text.py      A bundle's files as text: lines and events searched, over a bundle that is open.
kept_lists.py     Lists of files, kept for the further pages of whoever is reading them.
log_queries.py    The log, shown to those allowed to see it: by page, exported, proven, with names for its ids.
opening_entry.py  The entry of an opening: read back before the first byte, and followed into the signed tree (P3).
"""
