"""The resources, one thin module each: read the request, call custody's verb, write the answer."""

from intake_api.routes import (
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
