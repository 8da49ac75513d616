"""The files inside a bundle: listed, and read singly, under the same decision and the same audit as its content."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import Any

from flask import Response, request

from audit.entry import Action
from intake_api.calling import caller, custody
from intake_api.disposition import attachment
from intake_api.routes.blueprint import Blueprint
from intake_api.routes.content import BYTES, send
from intake_api.schemas.bundles import FilePage, FileQuery
from retention.archive import ArchivedFile, NoSuchFile, list_files, open_file
from retention.custody import reading
from retention.envelope.bundle_file import SealedFile
from retention.errors import Invalid

routes = Blueprint("files", __name__, description="The files inside bundles")


@routes.on("GET", "/bundles/<bundle>/files")
@routes.takes(FileQuery, "query")
@routes.gives(200, FilePage)
def index(query: dict[str, Any], bundle: str) -> Any:
    """The files of the archive that the bundle is (or of a nested one), in their stored order."""
    start, limit, inside = _place(query["cursor"]), query["limit"], query["inside"]
    asked = {"inside": inside} if inside else {}
    opened = reading.open_bundle(
        custody(), caller(), bundle, lambda _: (), action=Action.BUNDLE_LISTED, particulars=asked
    )
    with closing(opened):
        files = list_files(SealedFile(opened.sealed), opened.bundle.file_name, inside=inside)
        found = list(islice(opened.passing(files), start, start + limit + 1))
        opened.done()
    more = str(start + limit) if len(found) > limit else None
    return {"items": [_shown(file) for file in found[:limit]], "next": more}


@routes.on("GET", "/bundles/<bundle>/files/<path:path>")
@routes.gives(200, {"type": "string", "format": "binary"}, content_type=BYTES)
def read(bundle: str, path: str) -> Response:
    """One file's bytes."""
    opened = reading.open_bundle(custody(), caller(), bundle, lambda _: (), particulars={"file": path})
    try:
        file = open_file(SealedFile(opened.sealed), opened.bundle.file_name, path)
        headers = {"Content-Type": BYTES, "Content-Disposition": attachment(path)}
        if file.size is not None:
            headers["Content-Length"] = str(file.size)
        if request.method == "HEAD":  # nothing of the file is handed over, and the log says so
            opened.done()
            opened.close()
            return Response(headers=headers)
        return send(opened, opened.deliver(file.chunks), headers)
    except NoSuchFile:
        opened.close("no-such-file")
        raise
    except BaseException:
        opened.close()
        raise


def _place(cursor: str | None) -> int:
    """The cursor of a list of files is a place in the archive's own order, which never changes."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 9):
        raise Invalid("this cursor is not one of ours", {"cursor": "use the one that the previous page gave"})
    return int(cursor)


def _shown(file: ArchivedFile) -> dict[str, Any]:
    # What can be read is named exactly as it is asked for; a name that is a trick is made safe to show.
    return {
        "path": file.key if file.readable else file.path,
        "size": file.size,
        "compressed_size": file.packed_size,
        "modified": file.modified,
        "kind": file.kind.value,
        "readable": file.readable,
        "why_not": None if file.reason is None else file.reason.message,
    }
