"""How a file is sent: over tus, in parallel, or through an upload link.

blob.py          Uploading through an upload link, over the Blob endpoint: blocks, in any order, over several
                 connections.
pace.py          How fast a file leaves this machine, and in what pieces.
piped.py         What comes through a pipe, sent as it comes: how long it is is known at its end, and told then.
receipts.py      Receipts as a caller meets them: waited for, checked offline (retention/domain/receipt.py), kept in
                 a file.
remembered.py    Uploads begun on this machine, so that the same command goes on where it was cut: after a crash,
                 after a reboot.
saved_bundle.py  A saved bundle: what a stamp without a connection puts on a disk, to be sent from another machine.
source.py        What is sent or saved: one file on this machine, the name it gets, and what tells it from others.
through_link.py  Sending with an upload link and no token: through the Blob endpoint, in blocks, over several
                 connections.
tus.py           Uploading over tus 1.0.0 (creation), resumable at any byte.
with_token.py    Sending with a token: over tus, by one connection or by several.
"""
