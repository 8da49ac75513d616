"""The shapes of requests and responses, one module per resource, validated and documented by marshmallow.

access.py        Grants, requests for approval, and consents.
audit.py         The audit log: its queries, entries, reports and proofs.
bundles.py       Bundles, and the collection that a stamp declares when it sends one.
cases.py         Cases, their history and assignments.
erasures.py      Erasures, by their confirmation numbers.
fields.py        The kinds of values: text safe to store and show, moments in RFC 3339, pages, problem details.
notices.py       Notices, and the receivers that they are sent to.
receipts.py      Receipts as they are handed out: only described here, as signed documents are sent as they were kept.
reviews.py       Reviews of grants that are over.
service.py       The service's own health and readiness.
stamps.py        Tenants, stamps, and the consent to proactive collection.
text.py          Lines of a file, and searching.
upload_links.py  Upload links, and the check of a pasted one.
"""
