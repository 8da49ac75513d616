"""The worker process: Microsoft's worker library, driven by JSON lines instead of a host's gRPC stream.

    python -I child.py <app root>

One command a line on stdin, one reply a line on the stdout that the process was started with; whatever the app prints
goes to stderr. The app root comes first on the path, as in a real worker; nothing of this repository is on it but what
lies there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
from protocol import make_protocol  # noqa: E402

sys.path.remove(HERE)
P = make_protocol()
OURS = ("audit", "function_app", "functions", "intake_api", "retention")


def wrap(name: str, message: Any) -> SimpleNamespace:
    """A request as the library takes it."""
    properties = {"host": "127.0.0.1", "protos": P}
    return SimpleNamespace(request=SimpleNamespace(**{name: message}), properties=properties)


def status(result: Any) -> dict[str, Any]:
    return {"ok": result.status == P.StatusResult.Success, "error": result.exception.message}


def plain(data: Any) -> Any:
    """The value of a TypedData; what a list is turned into is JSON."""
    kind = data.WhichOneof("data")
    value = None if kind is None else getattr(data, kind)
    if kind == "json":
        return json.loads(value)
    return value.decode() if isinstance(value, bytes) else value


class Commands:
    def __init__(self, app_root: str) -> None:
        import azure_functions_runtime as library
        from azure_functions_runtime.utils.threadpool import start_threadpool_executor

        start_threadpool_executor()
        self.library, self.app_root = library, app_root

    async def index(self) -> dict[str, Any]:
        request = P.WorkerInitRequest(host_version="4", function_app_directory=self.app_root)
        response = await self.library.worker_init_request(wrap("worker_init_request", request))
        loaded = {
            name: getattr(module, "__file__", None)
            for name, module in sys.modules.items()
            if name.split(".")[0] in OURS
        }
        return {**status(response.result), "loaded": loaded}

    async def metadata(self) -> dict[str, Any]:
        request = P.FunctionsMetadataRequest(function_app_directory=self.app_root)
        answer = await self.library.functions_metadata_request(wrap("functions_metadata_request", request))
        found = {function.name: describe(function) for function in answer.function_metadata_results}
        return {**status(answer.result), "functions": found}

    async def load(self, function_id: str) -> dict[str, Any]:
        request = P.FunctionLoadRequest(function_id=function_id)
        response = await self.library.function_load_request(wrap("function_load_request", request))
        return status(response.result)

    async def invoke(
        self, function_id: str, parameter: str, kind: str, value: str, trigger: dict[str, str]
    ) -> dict[str, Any]:
        data = P.TypedData(**{kind: bytes.fromhex(value) if kind == "bytes" else value})
        request = P.InvocationRequest(
            invocation_id=str(uuid.uuid4()),
            function_id=function_id,
            input_data=[P.ParameterBinding(name=parameter, data=data)],
            trigger_metadata={name: P.TypedData(json=text) for name, text in trigger.items()},
        )
        response = await self.library.invocation_request(wrap("invocation_request", request))
        outputs = {out.name: plain(out.data) for out in response.output_data}
        return {**status(response.result), "outputs": outputs, "trace": response.result.exception.stack_trace}


def describe(function: Any) -> dict[str, Any]:
    retry = function.retry_options
    policy = {
        "strategy": P.RpcRetryOptions.RetryStrategy.Name(retry.retry_strategy),
        "times": retry.max_retry_count,
        "delay": retry.delay_interval.ToSeconds(),
    }
    return {
        "id": function.function_id,
        "directions": {name: binding.direction for name, binding in function.bindings.items()},
        "bindings": [json.loads(raw) for raw in function.raw_bindings],
        "retry": policy if function.HasField("retry_options") else None,
    }


async def serve(replies: Any) -> None:
    commands = Commands(sys.argv[1])
    for line in sys.stdin:
        call = json.loads(line)
        reply = await getattr(commands, call.pop("do"))(**call)
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s", stream=sys.stderr)
    sys.path.insert(0, sys.argv[1])
    asyncio.run(serve(channel))
