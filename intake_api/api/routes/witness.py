"""The C2SP witness protocol for others' logs: `add-checkpoint`, and the last cosigned checkpoints.

No token: a request is as good as the signature on its checkpoint (tlog-witness). That specification makes bodies plain
text, so its statuses are here and not with the API's problems.
"""

from __future__ import annotations

from flask import Blueprint, Response, abort, request

from audit.cosigning.client import SIZE_TYPE
from audit.cosigning.server import MAX_REQUEST_BYTES, CosigningServer, Verdict, origin_hash

_STATUS = {
    Verdict.COSIGNED: 200,
    Verdict.MALFORMED: 400,
    Verdict.UNSIGNED: 403,
    Verdict.UNKNOWN_LOG: 404,
    Verdict.CONFLICT: 409,
    Verdict.INCONSISTENT: 422,
}
_TEXT = "text/plain; charset=utf-8"


def witness_blueprint(core: CosigningServer) -> Blueprint:
    """Make the blueprint; the `url_prefix` it is registered under is both submission and monitoring prefix."""
    blueprint = Blueprint("witness", __name__)
    by_hash = {origin_hash(origin): origin for origin in core.origins}

    @blueprint.post("/add-checkpoint")
    def add_checkpoint() -> Response:
        # Read all of it, within the API's own bound: a client that still sends reads no response.
        body = request.get_data(cache=False)
        if len(body) > MAX_REQUEST_BYTES:
            abort(413)
        outcome = core.add_checkpoint(body)
        if outcome.verdict is Verdict.CONFLICT:
            return Response(f"{outcome.size}\n", 409, content_type=SIZE_TYPE)
        return Response(outcome.lines or f"{outcome.why}\n", _STATUS[outcome.verdict], content_type=_TEXT)

    @blueprint.get("/<hash_>/checkpoint")
    def last_checkpoint(hash_: str) -> Response:
        origin = by_hash.get(hash_)
        note = None if origin is None else core.last(origin)
        if note is None:
            abort(404)
        return Response(note, content_type=_TEXT)

    return blueprint
