"""One upload by tuspy, as its first argument (JSON) says; prints {url, error} as it ends. As client.mjs does it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError
from tusclient.storage.filestorage import FileStorage


def main(task: dict[str, Any]) -> str:
    client = TusClient(task["endpoint"], headers=dict(task.get("headers", {})))
    renew(client, task)
    uploader = client.uploader(
        task["file"],
        chunk_size=task["chunk"],
        metadata=task["metadata"],
        retries=task.get("retries", 30),
        retry_delay=0.1,
        store_url=True,
        url_storage=FileStorage(task["storage"]),
        upload_checksum=task.get("checksum", False),
    )
    while uploader.offset < uploader.get_file_size():
        if "stop" in task and uploader.offset >= task["stop"]:
            break
        renew(client, task)
        uploader.upload_chunk()
        Path(task["progress"]).write_text(str(uploader.offset))
    return str(uploader.url)


def renew(client: TusClient, task: dict[str, Any]) -> None:
    client.set_headers({"Authorization": f"Bearer {Path(task['token']).read_text()}"})


if __name__ == "__main__":
    try:
        told = {"url": main(json.loads(sys.argv[1])), "error": None}
    except TusCommunicationError as error:  # with what the server said
        told = {"url": None, "error": f"{error} {error.status_code} {error.response_content!r}"}
    sys.stdout.write(json.dumps(told) + "\n")
