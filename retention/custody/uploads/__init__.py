"""From the declaration of a bundle to its receipt.

block_list.py       What happens to staged blocks: committed by a list, listed, given up.
block_staging.py    Blobs that arrive in blocks, through an upload link: in parallel, in any order, sealed as they
                    come (P1).
completion.py       From the last byte to the receipt: a bundle is complete when what is stored has been read back.
concatenation.py    Concatenation: a bundle made of partial uploads that came in parallel (tus: concatenation).
declaration.py      Bundles before and beside their bytes: announced by a stamp, listed, claimed by a case.
handover.py         Taking an upload over: who may write to it, from which offset, and until when.
lease.py            Who writes to an upload: one request at a time, and how the one before is made to save and let
                    go.
manifests.py        The sealed manifest beside the parts (P1): objects, data key and key-encryption key alone give a
                    bundle back.
part_ends.py        When a part of an upload ends, and how many an upload may have. Pure.
quotas.py           Quotas: how many bytes a stamp, and a case, may have here. Asked before bytes move.
read_back_claim.py  Who reads a received bundle back: one at a time, whatever clocks and function workers there are.
unfinished.py       Unfinished uploads: where one stands, and giving it up.
upload_session.py   Receiving a bundle's bytes (P1): sealed as they arrive, kept whatever happens to the line.
"""
