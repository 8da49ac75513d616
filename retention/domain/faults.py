"""What custody can answer instead of doing what was asked.

Rules:
- An error carries a stable machine `code`, a sentence for a person (what was wrong, what to do), and facts
  that are safe to show. It knows nothing of HTTP or of the command line: each door has its own table.
- No error text holds key material, a token, or another tenant's facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import ClassVar


class CustodyError(Exception):
    """Base of all refusals and failures that a caller may be told about."""

    code: ClassVar[str] = "custody-error"

    def __init__(self, message: str, *, reason: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.facts: Mapping[str, object] = facts
        self.again_after: timedelta | None = None
        """Set when this caller has been refused so often that it ought to wait."""
        self.entered = False
        """Whether the log has an entry of it, or counts it."""


class NotFound(CustodyError):
    """There is no such thing, or the caller may not know that there is (another tenant's)."""

    code = "not-found"


class Refused(CustodyError):
    """The caller is known and may not do this; `reason` says why, and an entry was written (P3)."""

    code = "refused"


class Invalid(CustodyError):
    """The request breaks a rule of the thing itself; `errors` names the fields."""

    code = "invalid"

    def __init__(self, message: str, errors: Mapping[str, str] | None = None, **facts: object) -> None:
        super().__init__(message, reason=None, **facts)
        self.errors: Mapping[str, str] = dict(errors or {})


class Conflict(CustodyError):
    """The thing is not in a state that allows this; `reason` says which."""

    code = "conflict"


class OffsetMismatch(CustodyError):
    """An upload was continued at another offset than the one that is kept."""

    code = "offset-mismatch"

    def __init__(self, expected: int) -> None:
        super().__init__(
            f"the upload continues at offset {expected}; ask for the offset and go on there", offset=expected
        )
        self.expected = expected


class TakenOver(CustodyError):
    """Another request took this upload over; this one keeps what it had recorded and stops."""

    code = "upload-taken-over"


class TooLarge(CustodyError):
    """More bytes than were declared, or than a bundle may have."""

    code = "too-large"


class QuotaExceeded(CustodyError):
    """A stamp's or a case's quota has no room for a bundle of this size; an entry was written (P3)."""

    code = "quota-exceeded"

    def __init__(self, of: str, *, left: int, size: int) -> None:
        super().__init__(
            f"the {of}'s quota has room for {left} more bytes, not for {size}; what is erased makes room",
            reason=f"{of}-quota",
            left=left,
        )


class Erased(CustodyError):
    """The bundle is gone or going; only its tombstone answers (P7)."""

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
    """What is stored of the bundle is not what was sealed: found twice, and recorded (P1)."""

    code = "seal-broken"

    def __init__(self, bundle: str) -> None:
        super().__init__(
            "what is stored of this bundle is not what was sealed; nothing more of it is shown, and it is recorded as "
            "damaged: have it sent again",
            reason="bundle-damaged",
            bundle=bundle,
        )


class Unavailable(CustodyError):
    """A part that custody needs does not answer; nothing was done, try again later."""

    code = "unavailable"


class Passing(Unavailable):
    """The store gave something else than was sealed, and what was sealed when it was asked again."""

    def __init__(self) -> None:
        super().__init__("the store erred for a moment; nothing is damaged, try again", reason="store")
