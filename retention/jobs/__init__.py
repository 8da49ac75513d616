"""What the clock does without a caller.

reconcile.py   After a restore: the records are held against the log's mirrors, the key store and the object store
               (P7).
replay.py      Acts of the log done again in the records of a restored database.
scrub.py       The scrubbing: everything that is stored is read back, again and again, at a pace that is set (P1).
sequencing.py  The clock's first step, whichever clock it is: reconcile, then sequence, then sign the receipts that
               wait (P7); then look for what was done to the database behind the service's back (P3).
sweep.py       The sweep: what the clock makes happen (P4, P9). Work is derived from state, never from messages.
"""
