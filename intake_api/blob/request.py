"""A parsed request, what all operations share, and the headers of every response."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row
from werkzeug.datastructures import EnvironHeaders, Headers
from werkzeug.http import http_date
from werkzeug.wrappers import Response

from intake_api.blob import documents
from intake_api.blob.addresses import Place, read_path
from intake_api.blob.blob_errors import BlobError
from intake_api.blob.sas import VERSION, read_query
from intake_api.http.hosts import is_one_host
from intake_api.http.pump import Body
from retention.custody.context import Custody
from retention.custody.uploads.block_staging import Stoppable

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

BUNDLE = "x-casevault-bundle"
"""A header that tells a sender its blob's bundle id, which receipts and the service's people use."""
_ECHOED = re.compile(r"[\x21-\x7e]{1,1024}", re.ASCII)


@dataclass(slots=True)
class Call:
    """A parsed request. Its query is never shown: the signature lets in whoever holds it."""

    environ: WSGIEnvironment
    request_id: str
    method: str
    headers: Headers
    place: Place
    query: dict[str, str]

    @property
    def address(self) -> str:
        return str(self.environ.get("REMOTE_ADDR", ""))

    @property
    def secure(self) -> bool:
        return self.environ.get("wsgi.url_scheme") == "https"

    @property
    def blob(self) -> str:
        """The blob's name, for operations on one."""
        return self.place.blob or ""

    def __repr__(self) -> str:
        return f"Call({self.request_id})"


def new_request_id() -> str:
    """Make a request id in the Blob service's form, as which clients parse it."""
    text = secrets.token_hex(16)
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def read(environ: WSGIEnvironment, request_id: str) -> Call:
    """Parse the WSGI environ into a Call; BlobError if it is malformed."""
    if not is_one_host(environ):
        raise BlobError("InvalidHeaderValue", HeaderName="Host")
    query = read_query(environ.get("QUERY_STRING", ""))
    if query is None:
        raise BlobError("InvalidQueryParameterValue")
    try:
        path = environ.get("PATH_INFO", "").encode("latin-1").decode()
    except UnicodeError:
        raise BlobError("InvalidUri") from None
    headers = Headers(EnvironHeaders(environ))
    return Call(environ, request_id, environ["REQUEST_METHOD"], headers, read_path(path), query)


def etag_of(bundle: Row[Any]) -> str:
    """Return the blob's ETag, made from its bundle's id: a whole blob never changes."""
    return f'"0x{sha256(bundle.id.encode()).hexdigest()[:15].upper()}"'


def modified_of(bundle: Row[Any]) -> datetime:
    """Return when the blob was made whole."""
    moment: datetime = bundle.received_at or bundle.created_at
    return moment


def version_headers(bundle: Row[Any]) -> dict[str, str]:
    """Return the headers that name the blob's version and bundle."""
    return {"ETag": etag_of(bundle), "Last-Modified": http_date(modified_of(bundle)), BUNDLE: bundle.id}


def refusal(error: BlobError, environ: WSGIEnvironment, request_id: str, now: datetime) -> Response:
    """Make the response to an error, as the Blob service does; HEAD gets the code alone."""
    document = documents.error(error.code, error.message, request_id, now.isoformat(), error.facts)
    bodiless = environ["REQUEST_METHOD"] == "HEAD" or error.status == 304
    response = Response(b"" if bodiless else document, error.status, content_type="application/xml")
    if bodiless:  # given a type, some clients read a document of it: the C++ SDK, so pyarrow
        del response.headers["Content-Type"]
    response.headers["x-ms-error-code"] = error.code
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "SharedAccessSignature"
    if error.status == 503:
        response.headers["Retry-After"] = "2"
    return response


def finish(response: Response, environ: WSGIEnvironment, request_id: str) -> Response:
    """Add the headers of every response."""
    headers = response.headers
    headers["x-ms-request-id"] = headers["X-Request-Id"] = request_id
    headers["x-ms-version"] = _echo(environ.get("HTTP_X_MS_VERSION")) or VERSION
    if client_id := _echo(environ.get("HTTP_X_MS_CLIENT_REQUEST_ID")):
        headers["x-ms-client-request-id"] = client_id
    headers.setdefault("Cache-Control", "no-store")  # a blob's own, set by its sender, is kept
    headers["X-Content-Type-Options"] = "nosniff"
    return response


def _echo(text: str | None) -> str | None:
    return text if text is not None and _ECHOED.fullmatch(text) else None


TAKEN = "casevault.body-taken"
"""A key in the WSGI environ of a request whose body an operation reads: a refusal need not drain it."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all operations share: custody, the requests that write, and how long a silent body is waited for."""

    custody: Custody
    blocks: Stoppable
    stall_seconds: float

    def body(self, call: Call) -> Body:
        """Return the request's body, for an operation that reads it to its end."""
        call.environ[TAKEN] = True
        body: Body = call.environ["wsgi.input"]
        return body
