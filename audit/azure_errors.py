"""What answers of Azure Blob Storage mean, for those who keep something there."""

from __future__ import annotations

from azure.core.exceptions import HttpResponseError


def is_absent(error: HttpResponseError) -> bool:
    """No such blob. A missing container is not that: it proves nothing of what it held."""
    return error.status_code == 404 and code_of(error) in {"BlobNotFound", "404"}


def is_conflict(error: HttpResponseError) -> bool:
    """A condition on the blob's state did not hold."""
    return error.status_code == 412 or code_of(error) == "BlobAlreadyExists"


def code_of(error: HttpResponseError) -> str:
    """The service's own code of the error; the status where it names none."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or error.status_code or type(error).__name__)
