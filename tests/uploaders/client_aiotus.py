"""One upload by aiotus, as its first argument (JSON) says; prints {url, error} as it ends. As client.mjs does it."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import sys
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import aiotus


async def main(task: dict[str, Any]) -> str | None:
    trusted = ssl.create_default_context(cafile=task["authority"])
    config = aiotus.RetryConfiguration(
        retry_attempts=task.get("retries", 30), max_retry_period_seconds=0.1, ssl=trusted
    )
    sent = {
        "metadata": {key: value.encode() for key, value in task["metadata"].items()},
        "config": config,
        "headers": {"Authorization": f"Bearer {Path(task['token']).read_text()}"},
        "chunksize": task["chunk"],
    }
    with ExitStack() as opened:
        if task.get("parallel"):
            content = Path(task["file"]).read_bytes()
            size = -(-len(content) // task["parallel"])
            pieces = [BytesIO(content[at : at + size]) for at in range(0, len(content), size)]
            url = await aiotus.upload_multiple(task["endpoint"], pieces, **sent)
        else:
            file = opened.enter_context(Path(task["file"]).open("rb"))
            url = await aiotus.upload(task["endpoint"], file, **sent)
    if url is None:
        return None
    told = await aiotus.metadata(url, config=config, headers=sent["headers"])
    assert told is not None and told == sent["metadata"], told
    return str(url)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)  # why it gave up
    location = asyncio.run(main(json.loads(sys.argv[1])))
    sys.stdout.write(json.dumps({"url": location, "error": None if location else "it gave up"}) + "\n")
