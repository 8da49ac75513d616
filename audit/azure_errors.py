"""The meaning of Azure Blob Storage's error responses."""

from __future__ import annotations

from azure.core.exceptions import HttpResponseError


def is_absent(error: HttpResponseError) -> bool:
    """Tell whether there is no such blob. A missing container is no proof of that: it says nothing of what it held."""
    return error.status_code == 404 and code_of(error) in {"BlobNotFound", "404"}


def is_conflict(error: HttpResponseError) -> bool:
    """Tell whether a condition on the blob's state did not hold."""
    return error.status_code == 412 or code_of(error) == "BlobAlreadyExists"


def code_of(error: HttpResponseError) -> str:
    """Return the service's own code for the error; the status where it gives none."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or error.status_code or type(error).__name__)
