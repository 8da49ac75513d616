"""The resources, one thin module each: read the request, call custody's verb, write the answer."""

from intake_api.routes import bundles, cases, service, stamps, tenants, uploads

RESOURCES = (
    tenants.routes,
    stamps.routes,
    cases.routes,
    uploads.routes,
    bundles.routes,
    service.routes,
)
