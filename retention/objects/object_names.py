"""The names of all objects, built here and nowhere else.

    <bundle id>/<part id>.sealed     a committed part, the manifest, or the contents index     object store
    <bundle id>/<part id>.partial    a part being written                   object store
    <bundle id>.key                  the wrapped data key                   key store
    <bundle id>.key.partial          a wrapped key being written            key store
    <bundle id>.destroyed            the note that the key was destroyed    key store

Ids are checked against one pattern with no dot and no slash, so a name cannot leave its folder, and each name can be
read back to its id without guessing.
"""

from __future__ import annotations

import re

from retention.objects.store_errors import BadName

_ID = re.compile(r"[a-z]{3}_[a-z2-7]{26}")

SEALED = ".sealed"
PARTIAL = ".partial"
INDEX_BLOB = ".index"
KEY = ".key"
KEY_PARTIAL = ".key.partial"
KEY_DESTROYED = ".destroyed"


def is_id(text: str) -> bool:
    """Tell whether this is an id as the service makes them: three letters, `_`, 26 base32 characters."""
    return _ID.fullmatch(text) is not None


def _checked(identifier: str) -> str:
    if not is_id(identifier):
        raise BadName(
            "not an id: expected three lower-case letters, an underscore, 26 characters of a-z and 2-7"
        )
    return identifier


def bundle_folder(bundle_id: str) -> str:
    """Name a bundle's folder."""
    return _checked(bundle_id)


def index_blob(bundle_id: str) -> str:
    """Name the blob beside a bundle's that holds its contents index (Azure)."""
    return _checked(bundle_id) + INDEX_BLOB


def part_object(bundle_id: str, part_id: str) -> str:
    """Name a committed part's object."""
    return f"{_checked(bundle_id)}/{_checked(part_id)}{SEALED}"


def part_partial(bundle_id: str, part_id: str) -> str:
    """Name the object of a part being written."""
    return f"{_checked(bundle_id)}/{_checked(part_id)}{PARTIAL}"


def key_object(bundle_id: str) -> str:
    """Name a wrapped key's object."""
    return _checked(bundle_id) + KEY


def key_partial(bundle_id: str) -> str:
    """Name the object of a wrapped key being written."""
    return _checked(bundle_id) + KEY_PARTIAL


def key_destroyed(bundle_id: str) -> str:
    """Name the note that a key was destroyed."""
    return _checked(bundle_id) + KEY_DESTROYED


def id_in(name: str, suffix: str) -> str | None:
    """Return the id in a file name that ends in `suffix`; None for any other name."""
    stem = name.removesuffix(suffix)
    return stem if stem != name and is_id(stem) else None
