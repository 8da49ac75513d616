"""The verbs of custody: each checks the rules, changes the records and writes its entry in one commit.

access/             People, stamps and cases, and what lets somebody read.
erasure/            The end of bundles: by deadline or by request, to the proof that they are gone.
notices/            Notices (`retention.domain.notice`): written with the act, sent later, and who gets them.
reading/            Reading under a grant, and showing the log.
uploads/            From the declaration of a bundle to its receipt.
backlog.py          The backlog of the clock's work, as figures from the records: what is due, late, pending, or
                    waiting for the log.
bundle_moves.py     Moves: a bundle sent for the wrong case is put into the right one.
compare_records.py  Comparison of the records with the log, the key store and the object store, after a start (P7).
contents_index.py   The sealed contents index of a bundle (P1, P7): made by the clock, read under a grant.
context.py          The parts that every verb of custody works with, its entries and its refusals.
counted_entries.py  Bounded entries for a caller's repeated acts, so that nobody can fill the log (P3).
failed_work.py      Failed work on one bundle (erasing it, fixing its parts, reading it back): noted, and tried again
                    later.
key_rotation.py     Rotation of the key-encryption key: data keys are wrapped anew, bundles are never touched.
log_gate.py         The gate: nothing is opened until the records are known to be as new as the log (P6).
log_rules.py        The rules in force, written to the log for checks that use the leaves alone (P1, P4).
receipts.py         Receipts: custody's acts, signed, and provable to somebody who does not trust us (P5).
redaction.py        Redaction: particulars that name a person are removed; the leaves stay, and the tree still
                    verifies.
resending.py        Resending: a bundle erased on demand is refused for a while when it is sent again.
timekeeping.py      Timekeeping: comparing the process's clock with others, and recording the sure time for the next
                    start (P4).
"""
