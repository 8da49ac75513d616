"""The shapes of requests and answers, one module a resource: marshmallow, which validates and documents in one.

access.py        Grants and consents.
audit.py         The audit log: what can be asked of it, and its proofs.
bundles.py       Bundles, and the collection that a stamp declares when it sends one.
cases.py         Cases, their history and assignments.
erasures.py      Erasures, by their confirmation numbers.
fields.py        The kinds of values: text that can be stored and shown anywhere, moments in RFC 3339, pages of
                 things.
receipts.py      Receipts as they are handed out: described alone, for what is signed is given as it was kept
                 (docs/formats.md).
service.py       The service about itself.
stamps.py        Tenants, stamps, and the consent to proactive collection.
upload_links.py  Upload links, and the check of one that somebody pasted.
"""
