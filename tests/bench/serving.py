"""What a bench's child process runs: the whole service, the service without its clock, or one that discards."""

from __future__ import annotations

import multiprocessing
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from flask import Flask, request

from intake_api.config import ServerSettings, from_environment
from intake_api.serve.certificates import TlsFiles
from intake_api.serve.parent import Server, serve
from intake_api.serve.worker import load
from retention.assembly import initialise

PIECE = 1 << 20


def discarding() -> Any:
    """Reads bodies as fast as the server hands them over."""
    app = Flask("discard")

    @app.put("/<path:name>")
    def take(name: str) -> str:
        stream, left = request.environ["wsgi.input"], int(request.headers["Content-Length"])
        while left and (piece := stream.read(min(PIECE, left))):
            left -= len(piece)
        return "" if not left else "cut"

    return app


def main(what: str, settings: ServerSettings) -> int:
    if what == "whole":
        return serve(settings)
    assert settings.certificate is not None and settings.key is not None
    tls = TlsFiles(settings.certificate, settings.key, None)
    server = Server(settings, lambda: tls)
    if what == "quiet":
        first = multiprocessing.Process(target=initialise, args=(settings.custody,))  # as `serve` does
        first.start()
        first.join()
        loader: Any = partial(load, settings, None, server.is_draining)
    else:
        loader = discarding
    server.serve(target_loader=loader, wrap_loader=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], from_environment(os.environ)))
