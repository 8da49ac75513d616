"""The resources, one thin module each: read the request, call custody's verb, write the answer.

audit.py         The audit log: entries for those who may see them, checkpoints and proofs for anybody who doubts
                 them.
blueprint.py     flask-smorest's blueprint, typed, with a stricter reader: what a schema does not know is an error,
                 not ignored.
bodies.py        Bytes of a bundle, from a request's body into custody: whatever happens to the line, what came is
                 kept.
bundles.py       Bundles: sent in one piece, listed, shown, claimed, moved.
cases.py         Cases: opened, closed, reopened and staffed by the case system.
consents.py      Consents: the customer lets one partner see one case (P6).
content.py       A bundle's content, whole or by ranges (RFC 9110 section 14). The hot path: no schema, one
                 decision, one entry.
erasures.py      Erasures: asked for by case or bundle, found again by their confirmation number.
files.py         The files inside a bundle: listed, and read singly, under the same decision and the same audit as
                 its content.
grants.py        Grants: access that engineers give themselves, for one case, with a reason and an end.
preflight.py     Preflight: would this collection be accepted? Asked before bytes move; nothing is made by it.
service.py       The service about itself: is it up, is it ready, what do its problems mean.
stamps.py        Stamps, and the consent to proactive collection from them.
tenants.py       Tenants: registered by the administrator.
upload_links.py  Upload links: for clients that know the Blob service and nothing else.
uploads.py       Uploads that can be continued: tus 1.0.0. The rules of the protocol are in
                 `intake_api.tus.protocol`.
witness.py       The C2SP witness protocol for logs of others: `add-checkpoint`, and the checkpoints cosigned last.
"""

from intake_api.api.routes import (
    audit,
    bundles,
    cases,
    consents,
    content,
    erasures,
    files,
    grants,
    preflight,
    service,
    stamps,
    tenants,
    upload_links,
    uploads,
)

RESOURCES = (
    tenants.routes,
    stamps.routes,
    cases.routes,
    preflight.routes,
    uploads.routes,
    upload_links.routes,
    bundles.routes,
    content.routes,
    files.routes,
    grants.routes,
    consents.routes,
    erasures.routes,
    audit.routes,
    service.routes,
)
