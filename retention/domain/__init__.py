"""The rules of the domain, without I/O: cases, bundles, grants, deadlines, links, receipts.

actor.py         Who acts, as custody sees it.
bundle.py        A bundle's life, and what makes a collection acceptable.
case.py          A case's life.
characters.py    Which characters a text from outside may hold: it is stored, logged, and shown to others as it is.
                 Pure.
deadline.py      When a bundle's data must be gone: a pure function of its history (P4, P9).
faults.py        What custody can answer instead of doing what was asked.
grants.py        Who may read what, until when (P2, P6). Denial is a value with a reason; the unknown is denied.
ids.py           Opaque ids: three letters for the kind, an underscore, 130 random bits in base32.
receipt.py       A receipt as it is handed out, and how anybody checks it. Pure: a document, two verifier keys, no
                 service (P5).
row_tag.py       What binds a row to the service: a keyed tag, so that a row alone opens nothing (P2, P6). Pure.
trusted_time.py  What time it is, judged by several sources, none of which is believed alone (P4). Pure.
upload_link.py   Upload links: what one may allow, when it may be used, and which collection a blob through it is.
                 Pure.
"""
