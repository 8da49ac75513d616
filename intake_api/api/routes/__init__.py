"""The resources, one thin module each: read the request, call custody's verb, write the response.

approvals.py         Requests for the customer's approval of a grant, and the policy that says which grants wait for
                     one.
audit.py             The audit log: entries for those allowed to see them, checkpoints and proofs for anybody.
blueprint.py         flask-smorest's blueprint, typed, with a stricter reader: unknown fields are errors.
bundles.py           Bundles: sent in one piece, listed, shown, claimed, moved.
cases.py             Cases: opened, closed, reopened and staffed by the case system.
consents.py          Consents: the customer lets one partner see one case (P6).
content.py           A bundle's content, whole or by ranges (RFC 9110 section 14).
erasures.py          Erasures: requested by case or bundle, found again by their confirmation number.
events.py            A file inside a bundle as a Windows event log: its events, by time, level, provider, id and text.
files.py             The files inside a bundle: listed, and read one at a time, with its content's decision and
                     audit.
grants.py            Grants: access that engineers give themselves, for one case, with a reason and an end.
notices.py           Notices: who is told that something happened with a customer's data, and what became of each
                     message.
reviews.py           Reviews: an auditor looks at each grant after its end, and signs it off or questions it.
service.py           The service itself: whether it is up, whether it is ready, and what its problems mean.
stamps.py            Stamps, and the consent to proactive collection from them.
tenants.py           Tenants: registered by the administrator.
text.py              A file inside a bundle as text: a screen of its lines, and searching one file or all.
upload_bytes.py      A bundle's bytes, from a request's body into custody: whatever happens to the line, what came
                     is kept.
upload_links.py      Upload links: for clients that know the Blob service and nothing else.
upload_preflight.py  Preflight: would this collection be accepted? Asked before bytes move; it changes nothing.
uploads.py           Resumable uploads: tus 1.0.0. The rules of the protocol are in `intake_api.tus.protocol`.
witness.py           The C2SP witness protocol for others' logs: `add-checkpoint`, and the last cosigned
                     checkpoints.
"""

from intake_api.api.routes import (
    approvals,
    audit,
    bundles,
    cases,
    consents,
    content,
    erasures,
    events,
    files,
    grants,
    notices,
    reviews,
    service,
    stamps,
    tenants,
    text,
    upload_links,
    upload_preflight,
    uploads,
)

RESOURCES = (
    tenants.routes,
    stamps.routes,
    cases.routes,
    upload_preflight.routes,
    uploads.routes,
    upload_links.routes,
    bundles.routes,
    content.routes,
    files.routes,
    text.routes,
    events.routes,
    grants.routes,
    approvals.routes,
    reviews.routes,
    consents.routes,
    erasures.routes,
    notices.routes,
    audit.routes,
    service.routes,
)
