"""Sending a file: over tus, in parallel, or through an upload link.

blob.py            The client of the Blob endpoint, by upload link: how a file is cut into blocks, and the calls.
offline_bundle.py  A saved bundle: what a stamp without a connection puts on a disk, to be sent from another
                   machine.
piped.py           Sending standard input as it arrives, its length declared at the end.
rate.py            How fast a file leaves this machine and in what pieces; and the threads that send it.
receipts.py        Receipts for a caller: awaited, checked offline (retention/domain/receipt.py), kept in a file.
remembered.py      Uploads begun on this machine, so that the same command resumes them after a crash or a reboot.
source.py          The file to send or save, its name and identity; a folder packed as one zip; the options of one
                   send.
through_link.py    Sending with an upload link and no token: through the Blob endpoint, in blocks, over several
                   connections.
tus.py             The client of tus 1.0.0: an upload resumable at any byte, and its spare connection.
with_token.py      Sending with a token, over tus: by one connection, or by several that each send a partial upload.
"""
