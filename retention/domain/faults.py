"""The refusals and failures of custody.

Rules:
- An error carries a stable machine `code`, a sentence for a person (what was wrong, what to do), and facts
  that are safe to show. It knows nothing of HTTP or the command line: each door has its own table.
- No error text holds key material, a token, or another tenant's facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import ClassVar


class CustodyError(Exception):
    """Base of all refusals and failures that a caller can be told of."""

    code: ClassVar[str] = "custody-error"

    def __init__(self, message: str, *, reason: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.facts: Mapping[str, object] = facts
        self.again_after: timedelta | None = None
        """Set when this caller has been refused so often that it should wait."""
        self.entered = False
        """Whether the log has an entry of this error, or counts it."""


class NotFound(CustodyError):
    """No such thing, or one that the caller is not allowed to know of (another tenant's)."""

    code = "not-found"


class Refused(CustodyError):
    """A known caller is not allowed to do this; `reason` says why, and an entry was written (P3)."""

    code = "refused"


class Invalid(CustodyError):
    """A request that breaks a rule of the thing itself; `errors` names the fields."""

    code = "invalid"

    def __init__(self, message: str, errors: Mapping[str, str] | None = None, **facts: object) -> None:
        super().__init__(message, reason=None, **facts)
        self.errors: Mapping[str, str] = dict(errors or {})


class Conflict(CustodyError):
    """A thing whose state does not allow this; `reason` says which state."""

    code = "conflict"


class OffsetMismatch(CustodyError):
    """An attempt to continue an upload at an offset other than the recorded one."""

    code = "offset-mismatch"

    def __init__(self, expected: int) -> None:
        super().__init__(
            f"the upload stands at offset {expected}: ask for the offset and continue there", offset=expected
        )
        self.expected = expected


class TakenOver(CustodyError):
    """Another request took over this upload; this one keeps what it had recorded and stops."""

    code = "upload-taken-over"


class TooLarge(CustodyError):
    """More bytes than were declared, or than a bundle is allowed to have."""

    code = "too-large"


class QuotaExceeded(CustodyError):
    """A stamp's or case's quota without room for a bundle of this size; an entry was written (P3)."""

    code = "quota-exceeded"

    def __init__(self, of: str, *, left: int, size: int) -> None:
        super().__init__(
            f"the {of}'s quota has room for {left} more bytes, not for {size}; erase bundles to make room",
            reason=f"{of}-quota",
            left=left,
        )


class Erased(CustodyError):
    """An erased bundle, or one being erased; only its tombstone can be read (P7)."""

    code = "erased"

    def __init__(self, bundle: str, *, state: str, cause: str | None, erased_at: datetime | None) -> None:
        done = "was erased" if state == "erased" else "is being erased"
        super().__init__(
            f"this bundle {done}; only its tombstone is kept",
            bundle=bundle,
            state=state,
            cause=cause,
            erased_at=erased_at,
        )


class Damaged(CustodyError):
    """A bundle whose stored bytes are not the sealed ones: found twice, and recorded (P1)."""

    code = "seal-broken"

    def __init__(self, bundle: str) -> None:
        super().__init__(
            f"the stored bytes of bundle {bundle} are not those that were sealed; no more of it is shown, and it is "
            "recorded as damaged: have it sent again",
            reason="bundle-damaged",
            bundle=bundle,
        )


class Unavailable(CustodyError):
    """A dependency of custody that does not respond; nothing was done, try again later."""

    code = "unavailable"


class Passing(Unavailable):
    """A store that returned other bytes than were sealed, and the sealed ones when asked again."""

    def __init__(self) -> None:
        super().__init__(
            "the store returned wrong bytes once and right ones after; nothing is damaged, try again",
            reason="store",
        )
