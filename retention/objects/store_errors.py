"""What can go wrong in the stores. Nothing here knows of HTTP; no message holds key material."""

from __future__ import annotations


class StoreError(Exception):
    """Any failure of an object store or key store."""


class StoreFull(StoreError):
    """No room is left. What was being written is gone; nothing half-written stays behind."""


class StoreUnavailable(StoreError):
    """The store cannot be used now, or erred. The call may or may not have taken effect: reload before trusting."""


class BadName(StoreError, ValueError):
    """Not an id that this service makes, so it can name no object."""


class PartExists(StoreError):
    """Parts are immutable: this name is taken, or being written."""


class PartMissing(StoreError):
    """No such part: never committed, destroyed, or destroyed while it was being written."""


class KeyExists(StoreError):
    """This bundle has its data key already."""


class KeyMissing(StoreError):
    """This bundle never had a data key here."""


class KeyDestroyed(StoreError):
    """This bundle's data key was destroyed. That is final: none will be kept for this bundle again."""
