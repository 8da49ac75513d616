"""Work on one bundle (an erasure, a read-back) on its way through a queue: {"bundle": "<bundle id>"}, as JSON. Pure.

- A message is a hint that there is work, never the work: custody decides from state (P4), so a message may be lost,
  repeated, late or out of order.
- Whatever is not exactly this object is refused. Error texts say what is wrong and quote nothing: anybody who can
  write to the queue could have put anything there.
"""

from __future__ import annotations

import json
import re

from retention.ids import Kind

MAX_BYTES = 256
_BUNDLE = re.compile(rf"{Kind.BUNDLE.value}_[a-z2-7]{{26}}")


class BadMessage(ValueError):
    """This is no work on a bundle."""


def write_message(bundle_id: str) -> str:
    """The message for one bundle."""
    return json.dumps({"bundle": bundle_id})


def read_message(body: bytes) -> str:
    """The bundle id that `body` names. BadMessage."""
    if len(body) > MAX_BYTES:
        raise BadMessage(f"the message has more than {MAX_BYTES} bytes")
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise BadMessage("the message is not JSON") from None
    if not isinstance(fields, dict) or fields.keys() != {"bundle"}:
        raise BadMessage("the message is not an object with the one field 'bundle'")
    bundle_id = fields["bundle"]
    if not isinstance(bundle_id, str) or not _BUNDLE.fullmatch(bundle_id):
        raise BadMessage("'bundle' is not a bundle id")
    return bundle_id
