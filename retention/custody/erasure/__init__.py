"""The end of bundles: by deadline or by request, to the proof that they are gone.

erasure_steps.py  Erasure: begun by the clock or a request, and resumable at every step (P4, P5, P7, P8).
proof.py          The end of an erasure (P5): each bundle's tombstone and, with the last, the proof and its receipt.
"""
