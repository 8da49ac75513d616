"""The rules of the domain, without I/O: cases, bundles, grants, deadlines, links, receipts.

actor.py         The caller, as custody sees it.
approval.py      Approval of access: which grants wait for the customer's answer, and what an answer does (P2). Pure.
bundle.py        A bundle's life, and the rules for an acceptable collection.
case.py          A case's life.
characters.py    The characters allowed in text from outside, which is stored, logged and shown to others unchanged.
                 Pure.
deadline.py      When a bundle's data must be gone: a pure function of its history (P4, P9).
faults.py        The refusals and failures of custody.
grants.py        Who is allowed to read what, until when (P2, P6). Denial is a value with a reason; the unknown is
                 denied.
ids.py           Opaque ids: three letters for the kind, an underscore, 130 random bits in base32.
notice.py        Notices: short messages to people and programs that something happened with their data. Pure.
receipt.py       A receipt as issued, and its offline check. Pure: a document, two verifier keys, no service (P5).
review.py        Review of grants: somebody else looks at what was done under each, after its end (P3). Pure.
row_tag.py       The keyed tag that binds a row to the service, so that a row alone opens nothing (P2, P6). Pure.
trusted_time.py  The current time, judged from several sources, none of them believed alone (P4). Pure.
upload_link.py   Upload links: what one can allow, when it can be used, and the collection of a blob sent through it.
                 Pure.
"""
