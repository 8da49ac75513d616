"""The verbs of custody: each checks the rules, changes the records and writes its entry in one commit.

access/             Who there is, which cases they have, and what lets them read.
erasure/            How bundles end: by deadline or by request, to the proof that they are gone.
reading/            What is read under a grant, and what the log shows.
uploads/            From the declaration of a bundle to its receipt.
bundle_moves.py     Moves: a bundle that came for the wrong case goes to the right one.
context.py          What every verb of custody works with, and how it speaks.
counted_entries.py  Entries of what one caller does again and again, bounded so that nobody can fill the log (P3).
key_rotation.py     Rotation of the key-encryption key: data keys are wrapped anew, bundles are never touched.
log_gate.py         Whether the records are as new as the log: until that is known, nothing is opened (P6).
log_rules.py        The rules in force, told to the log: what a check from the leaves alone has to know (P1, P4).
receipts.py         Receipts: what custody did, signed, and provable by somebody who does not trust us (P5).
redaction.py        Redaction: what stands beside entries and names a person goes; the leaves stay, and the tree
                    still verifies.
resending.py        What was erased on demand and is sent again: refused for a while.
timekeeping.py      Keeping the process's clock honest: others' clocks are asked, and what is sure is recorded for
                    the next start (P4).
work_state.py       How the work stands, read from the records: what is due, late, pending, waiting for the log or
                    its witness.
"""
