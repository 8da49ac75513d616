"""Preflight: would this collection be accepted? Asked before bytes move; it changes nothing."""

from __future__ import annotations

from typing import Any

from intake_api.api.authentication import caller, custody
from intake_api.api.routes import upload_bytes
from intake_api.api.routes.blueprint import Blueprint
from intake_api.schemas.bundles import Admitted, Preflight
from retention.custody.uploads import declaration
from retention.domain.faults import TooLarge

routes = Blueprint("preflight", __name__, description="Whether a collection would be accepted")


@routes.on("POST", "/uploads/preflight")
@routes.takes(Preflight)
@routes.gives(200, Admitted)
def preflight(declared: dict[str, Any]) -> Any:
    """Respond 200 if this upload would be created now, else with the problem that its creation would give."""
    most = custody().limits.max_bundle_size
    if declared["size"] > most:
        raise TooLarge(f"the bundle has {declared['size']} bytes, the limit is {most}", limit=most)
    collection = upload_bytes.collection_of(declared, declared["filename"], declared["size"])
    left = declaration.check_upload(
        custody(), caller(), collection, case_number=declared["case"], stamp_id=declared["stamp"]
    )
    return {
        "accepted": True,
        "max_size": most,
        "stamp_left": left.stamp,
        "case_left": left.case,
    }
