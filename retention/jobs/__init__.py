"""The work that the clock does without a caller.

reconcile.py     Reconciliation after a restore: records checked against the log's mirrors, key and object store (P7).
replay.py        Repeating the log's acts in the records of a restored database.
scrub.py         The scrubbing: all stored bundles are read back, again and again, at a set pace (P1).
send_notices.py  Sending notices (`retention.domain.notice`): what waits is sent, receiver by receiver, in its order.
sequencing.py    The clock's steps for the log: catch up, sequence, sign receipts, detect alterations; compare;
                 mirror and cosign (P3, P7).
sweep.py         The sweep: the clock's work on bundles (P4, P9), derived from state, never from messages.
"""
