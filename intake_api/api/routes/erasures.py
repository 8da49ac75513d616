"""Erasures: requested by case or bundle, found again by their confirmation number."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from intake_api.api.authentication import caller, custody
from intake_api.api.looks import looked_at
from intake_api.api.routes.blueprint import Blueprint
from intake_api.schemas.erasures import Erasure, ErasurePage, ErasureRequest, Report
from intake_api.schemas.fields import PageQuery
from intake_api.schemas.receipts import ErasureReceipt
from retention.custody import receipts
from retention.custody.context import about
from retention.custody.erasure import erasure_steps

routes = Blueprint("erasures", __name__, description="Erasure on demand, with receipts")


@routes.on("POST", "/bundles/<bundle>/erasures")
@routes.takes(ErasureRequest)
@routes.gives(202, Erasure)
def erase_bundle(body: dict[str, Any], bundle: str) -> Any:
    """Erase one bundle: unreadable from now on, proven soon."""
    return erasure_steps.request_bundle_erasure(custody(), caller(), bundle, body["reason"])


@routes.on("POST", "/cases/<number>/erasures")
@routes.takes(ErasureRequest)
@routes.gives(202, Erasure)
def erase_case(body: dict[str, Any], number: str) -> Any:
    """Erase all of a case's bundles."""
    return erasure_steps.request_case_erasure(custody(), caller(), number, body["reason"])


@routes.on("POST", "/bundles/<bundle>/report")
@routes.takes(Report)
@routes.gives(202, Erasure)
def report_bundle(body: dict[str, Any], bundle: str) -> Any:
    """Report sensitive data, received inadvertently, in one bundle of your case: it is erased at once."""
    return erasure_steps.report_bundle(custody(), caller(), bundle, body["reason"])


@routes.on("POST", "/cases/<number>/report")
@routes.takes(Report)
@routes.gives(202, Erasure)
def report_case(body: dict[str, Any], number: str) -> Any:
    """Report sensitive data, received inadvertently, in your case: all its bundles are erased at once."""
    return erasure_steps.report_case(custody(), caller(), number, body["reason"])


@routes.on("GET", "/erasures")
@routes.takes(PageQuery, "query")
@routes.gives(200, ErasurePage)
def index(query: dict[str, Any]) -> Any:
    """List the erasures that you are allowed to see, newest first."""
    return erasure_steps.list_erasures(custody(), caller(), query["cursor"], query["limit"])


@routes.on("GET", "/erasures/<confirmation>")
@routes.gives(200, Erasure)
def show(confirmation: str) -> Any:
    """Show one erasure."""
    return _found(confirmation)


@routes.on("GET", "/erasures/<confirmation>/receipt")
@routes.gives(200, described=ErasureReceipt)
def receipt(confirmation: str) -> Any:
    """Return the signed erasure receipt, with the proof that it was logged."""
    return receipts.hand_out(custody(), _found(confirmation).id)


def _found(confirmation: str) -> Row[Any]:
    found = erasure_steps.find_erasure(custody(), caller(), confirmation)
    looked_at(**about(found), subject=found.id)
    return found
