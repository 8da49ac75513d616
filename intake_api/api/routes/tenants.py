"""Tenants: registered by the administrator."""

from __future__ import annotations

from typing import Any

from intake_api.api.authentication import caller, custody
from intake_api.api.routes.blueprint import Blueprint
from intake_api.schemas.fields import PageQuery
from intake_api.schemas.stamps import NewTenant, Tenant, TenantPage
from retention.custody.access import manage_stamps

routes = Blueprint("tenants", __name__, description="Customers of the service")


@routes.on("POST", "/tenants")
@routes.takes(NewTenant)
@routes.gives(201, Tenant)
def register(body: dict[str, Any]) -> Any:
    """Register a customer."""
    return manage_stamps.register_tenant(custody(), caller(), body["name"], body["directory"])


@routes.on("GET", "/tenants")
@routes.takes(PageQuery, "query")
@routes.gives(200, TenantPage)
def index(query: dict[str, Any]) -> Any:
    """List the customers that you are allowed to see."""
    return manage_stamps.list_tenants(custody(), caller(), query["cursor"], query["limit"])
