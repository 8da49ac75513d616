"""An S3 service on loopback (moto's server in a thread) and buckets on it.

moto keeps versions and locks, and refuses to delete a locked version. It does not check credentials or checksums and
lets a compliance retention be shortened: what AWS refuses there, these tests cannot show.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from audit.mirror.store_s3 import S3MirrorStore

ORIGIN = "casevault.test/log"


class Now:
    """The real time: the bucket's locks are against it."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class Buckets:
    """One S3 service; `s3` is somebody with all rights to it, but no way around a lock."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.s3: Any = boto3.client("s3", endpoint_url=endpoint)

    def new(self, *, lock: bool = True, mode: str | None = "COMPLIANCE", days: int = 365) -> str:
        name = f"witness-{secrets.token_hex(8)}"
        self.s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
        if mode is not None:
            rule = {"DefaultRetention": {"Mode": mode, "Days": days}}
            locked = {"ObjectLockEnabled": "Enabled", "Rule": rule}
            self.s3.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=locked)
        return name

    def witness(self, bucket: str | None = None, origin: str = ORIGIN) -> S3MirrorStore:
        return S3MirrorStore(bucket or self.new(), origin, Now(), endpoint=self.endpoint)


@pytest.fixture(scope="session")
def buckets() -> Iterator[Buckets]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        try:
            yield Buckets(f"http://{host}:{port}")
        finally:
            server.stop()
