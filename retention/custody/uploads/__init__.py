"""From the declaration of a bundle to its receipt.

block_list.py       Staged blocks: committed by a block list, listed, or given up.
block_staging.py    Blobs that arrive in blocks, through an upload link: in parallel, in any order, sealed on
                    arrival (P1).
completion.py       From the last byte to the receipt: a bundle is complete once the stored bytes are read back.
concatenation.py    Concatenation: a bundle made of partial uploads sent in parallel (tus: concatenation).
declaration.py      The records of bundles: declared by a stamp, listed, claimed by a case.
handover.py         Upload handover: who is allowed to write to an upload, from which offset, and until when.
lease.py            The lease of an upload: one writer at a time, and how the previous one is made to save and let
                    go.
manifests.py        The sealed manifest beside the parts (P1): objects, data key and key-encryption key alone restore
                    a bundle.
part_ends.py        When a part of an upload ends, and how many parts an upload can have. Pure.
quotas.py           Quotas: how many bytes a stamp and a case can store. Checked before bytes move.
read_back_claim.py  The claim on a received bundle: one reader at a time, across all clocks and function workers.
unfinished.py       Unfinished uploads: their offset, and giving one up.
upload_session.py   Receiving a bundle's bytes (P1): sealed on arrival, kept even if the connection breaks.
"""
