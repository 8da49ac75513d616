"""The errors of the stores. None knows of HTTP; no message holds key material."""

from __future__ import annotations


class StoreError(Exception):
    """Any failure of an object store or key store."""


class StoreFull(StoreError):
    """A store without free space. The part being written is gone; nothing half-written remains."""


class StoreUnavailable(StoreError):
    """A store that cannot be used now, or failed. The call may or may not have taken effect: reload to find out."""


class BadName(StoreError, ValueError):
    """A text that is not an id of this service, so it can name no object."""


class PartExists(StoreError):
    """A part whose name is taken, or being written: parts are immutable."""


class PartMissing(StoreError):
    """A part that does not exist: never committed, destroyed, or destroyed while it was being written."""


class KeyExists(StoreError):
    """A bundle that has its data key already."""


class KeyMissing(StoreError):
    """A bundle that never had a data key here."""


class KeyDestroyed(StoreError):
    """A bundle whose data key was destroyed. That is final: none will be kept for it again."""
