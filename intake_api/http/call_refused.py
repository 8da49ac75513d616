"""Calls that HTTP itself makes wrong, whatever they are about: no length, wrong type, impossible range."""

from __future__ import annotations

from collections.abc import Mapping


class CallRefused(Exception):
    """A call that HTTP makes wrong. `code` names a row of `problem_codes`; the response carries `headers`."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
        **facts: object,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.reason = reason
        self.headers: Mapping[str, str] = dict(headers or {})
        self.facts: Mapping[str, object] = facts
