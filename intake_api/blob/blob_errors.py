"""The Blob service's errors: the only table, and how custody's refusals translate into them.

Rules:
- Codes, statuses and messages are the Blob service's own: clients act on them. Our own facts stand beside the message,
  in elements of their own.
- An exception that is not listed shows nothing but the request's id.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from intake_api.http.seats import Busy
from retention.domain.faults import (
    Conflict,
    CustodyError,
    Erased,
    Invalid,
    NotFound,
    QuotaExceeded,
    Refused,
    TakenOver,
    TooLarge,
    Unavailable,
)
from retention.envelope.format import KeyWrapperError, NewerFraming
from retention.objects.store_errors import KeyDestroyed, StoreError

ERRORS: Mapping[str, tuple[int, str]] = {
    "AuthenticationFailed": (
        403,
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly "
        "including the signature.",
    ),
    "AuthorizationFailure": (403, "This request is not authorized to perform this operation."),
    "AuthorizationPermissionMismatch": (
        403,
        "This request is not authorized to perform this operation using this permission.",
    ),
    "AuthorizationProtocolMismatch": (
        403,
        "This request is not authorized to perform this operation using this protocol.",
    ),
    "AuthorizationSourceIPMismatch": (
        403,
        "This request is not authorized to perform this operation using this source IP.",
    ),
    "BlobAlreadyExists": (409, "The specified blob already exists."),
    "BlobImmutableDueToPolicy": (
        409,
        "This operation is not permitted as the blob is immutable due to a policy.",
    ),
    "BlobNotFound": (404, "The specified blob does not exist."),
    "BlockCountExceedsLimit": (
        409,
        "The uncommitted block count cannot exceed the maximum limit of 100,000 blocks.",
    ),
    "BlockListTooLong": (400, "The block list may not contain more than 50,000 blocks."),
    "ConditionNotMet": (412, "The condition specified using HTTP conditional header(s) is not met."),
    "Crc64Mismatch": (
        400,
        "The CRC64 value specified in the request did not match with the CRC64 value calculated by the server.",
    ),
    "InternalError": (500, "Server encountered an internal error. Please try again after some time."),
    "InvalidBlobOrBlock": (400, "The specified blob or block content is invalid."),
    "InvalidBlockId": (400, "The specified block ID is invalid. The block ID must be Base64-encoded."),
    "InvalidBlockList": (400, "The specified block list is invalid."),
    "InvalidHeaderValue": (
        400,
        "The value for one of the HTTP headers is not in the correct format.",
    ),
    "InvalidInput": (400, "One of the request inputs is not valid."),
    "InvalidMd5": (
        400,
        "The MD5 value specified in the request is invalid. It must be 128 bits and Base64-encoded.",
    ),
    "InvalidMetadata": (400, "The metadata specified is invalid. It has characters that are not permitted."),
    "InvalidQueryParameterValue": (
        400,
        "Value for one of the query parameters specified in the request URI is invalid.",
    ),
    "InvalidResourceName": (400, "The specified resource name contains invalid characters."),
    "InvalidStructuredMessage": (400, "The structured message in the request body is not valid."),
    "InvalidUri": (400, "The requested URI does not represent any resource on the server."),
    "InvalidXmlDocument": (400, "XML specified is not syntactically valid."),
    "Md5Mismatch": (
        400,
        "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
    ),
    "MetadataTooLarge": (400, "The size of the specified metadata exceeds the maximum size permitted."),
    "MissingContentLengthHeader": (411, "Content-Length HTTP header is missing"),
    "MissingRequiredHeader": (400, "An HTTP header that's mandatory for this request is not specified."),
    "MissingRequiredQueryParameter": (
        400,
        "A query parameter that's mandatory for this request is not specified.",
    ),
    "NoAuthenticationInformation": (
        401,
        "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.",
    ),
    "NotModified": (304, "The condition specified using HTTP conditional header(s) is not met."),
    "OperationTimedOut": (500, "The operation could not be completed within the permitted time."),
    "OutOfRangeQueryParameterValue": (
        400,
        "One of the query parameters specified in the request URI is outside the permissible range.",
    ),
    "RequestBodyTooLarge": (
        413,
        "The request body is too large and exceeds the maximum permissible limit.",
    ),
    "ServerBusy": (503, "The server is busy."),
    "UnsupportedHeader": (400, "One of the headers specified in the request is not supported."),
    "UnsupportedHttpVerb": (405, "The resource doesn't support specified Http Verb."),
    "UnsupportedQueryParameter": (
        400,
        "One of the query parameters specified in the request URI is not supported.",
    ),
    "UnsupportedXmlNode": (400, "One of the XML nodes specified in the request body is not supported."),
}

_OF_CONFLICT = {
    "blob-complete": "BlobImmutableDueToPolicy",
    "block-list": "InvalidBlockList",
    "block-id-length": "InvalidBlobOrBlock",
    "too-many-blocks": "BlockCountExceedsLimit",
    "case-past-deadline": "AuthorizationFailure",
}


class BlobError(Exception):
    """An error of the Blob service. `code` names a row of ERRORS; the facts become elements beside its message."""

    def __init__(self, code: str, **facts: str) -> None:
        super().__init__(code)
        self.code = code
        self.status, self.message = ERRORS[code]
        self.facts = facts


def told(error: Exception) -> BlobError:
    """Translate `error` into what a caller is told."""
    if isinstance(error, BlobError):
        return error
    if isinstance(error, CustodyError):
        return _custody(error)
    if isinstance(error, Busy):
        return BlobError("ServerBusy", Reason=str(error))
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, KeyDestroyed):
        return BlobError("BlobNotFound")
    if full or isinstance(error, StoreError | KeyWrapperError | NewerFraming | DBAPIError | PoolTimeout):
        return BlobError("ServerBusy")
    return BlobError("InternalError")


def _custody(error: CustodyError) -> BlobError:
    facts = {"Reason": error.message}
    if isinstance(error, Invalid) and "file_name" in error.errors:
        return BlobError("InvalidResourceName", **facts)
    if isinstance(error, NotFound) and error.facts.get("kind") == "case":
        return BlobError("InvalidMetadata", **facts)
    if isinstance(error, Conflict):
        return BlobError(_OF_CONFLICT.get(error.reason or "", "BlobImmutableDueToPolicy"), **facts)
    return BlobError(_OF_ERROR.get(type(error), "InternalError"), **facts)


_OF_ERROR: Mapping[type[CustodyError], str] = {
    NotFound: "BlobNotFound",
    Erased: "BlobNotFound",
    Refused: "AuthorizationFailure",
    Invalid: "InvalidMetadata",
    TooLarge: "RequestBodyTooLarge",
    QuotaExceeded: "RequestBodyTooLarge",
    TakenOver: "ServerBusy",
    Unavailable: "ServerBusy",
}
