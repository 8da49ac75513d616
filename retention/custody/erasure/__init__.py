"""How bundles end: by deadline or by request, to the proof that they are gone.

erasure_steps.py  Erasure: begun by the timer or by a request, carried through by whoever comes next (P4, P5, P7,
                  P8).
proof.py          The end of an erasure (P5): the tombstone of each bundle, and with the last one the proof and its
                  receipt.
"""
