"""What the operations share: custody, the requests that write, and how long a silent body is waited for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from intake_api.pump import Body
from retention.custody.context import Custody
from retention.custody.staging import Stoppable

if TYPE_CHECKING:
    from intake_api.blob.calls import Call


TAKEN = "casevault.body-taken"
"""In the environment of a request whose body somebody reads: an answer need not wait for it any more."""


@dataclass(frozen=True, slots=True)
class Shared:
    custody: Custody
    blocks: Stoppable
    stall_seconds: float

    def body(self, call: Call) -> Body:
        """The request's body, for whoever reads it to its end."""
        call.environ[TAKEN] = True
        body: Body = call.environ["wsgi.input"]
        return body
