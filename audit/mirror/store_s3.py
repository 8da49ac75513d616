"""A mirror in an S3 bucket with Object Lock in compliance mode. Contract: `MirrorStore`.

Every object is put once (`If-None-Match: *`), with its SHA-256, locked until now + `period`: until then nobody can
delete or change that version, not even the account's root user. Credentials for the bucket still allow putting another
version above it, or a delete marker. Therefore `get` reads the OLDEST version of a name, and `disturbed` names every
object that has more than one version or a marker.

Names: `<origin of the log>/<path>`, so that one bucket serves many logs.
Needs s3:PutObject, PutObjectRetention, GetObject, GetObjectVersion, ListBucketVersions, GetBucketVersioning and
GetBucketObjectLockConfiguration, and nothing that deletes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import takewhile
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from audit.mirror.store import MirrorConflictError, MirrorError, MirrorUnavailableError, kept_sizes
from audit.times import Clock
from audit.tlog.tile_store import TileMissingError

DEFAULT_PERIOD = timedelta(days=365)
_COMPLIANCE = "COMPLIANCE"
_TAKEN = "PreconditionFailed"
_REFUSED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket"})
_SOON = Config(
    connect_timeout=5,
    read_timeout=20,
    retries={"mode": "standard", "total_max_attempts": 5},
    tcp_keepalive=True,
)


class _Version(NamedTuple):
    key: str
    id: str
    marker: bool


class S3MirrorStore:
    """A bucket as a mirror. `endpoint` is for S3 stores other than AWS; boto3 finds credentials and region."""

    def __init__(
        self,
        bucket: str,
        origin: str,
        clock: Clock,
        *,
        endpoint: str | None = None,
        period: timedelta = DEFAULT_PERIOD,
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{origin}/"
        self._clock = clock
        self._period = period
        try:
            self._s3: Any = boto3.client("s3", endpoint_url=endpoint, config=_SOON)
        except (BotoCoreError, ValueError) as error:  # a missing profile, an invalid endpoint
            raise MirrorError(f"{self.place} cannot be used: {error}") from None

    @property
    def place(self) -> str:
        return f"the bucket {self._bucket}"

    def keep(self, path: str, data: bytes) -> None:
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        try:
            with self._errors(f"{path} cannot be kept"):
                self._put(path, data, digest)
        except _TakenError:
            if self.get(path) != data:
                raise MirrorConflictError(f"{self.place} keeps a different {path}") from None
            with self._errors(f"{path} cannot be inspected"):  # an earlier try may have stopped just here
                self._check_locked(path, self._first(path).id)

    def get(self, path: str) -> bytes:
        first = self._first(path)
        with self._errors(f"{path} cannot be read"):
            found = self._s3.get_object(Bucket=self._bucket, Key=first.key, VersionId=first.id)
            data: bytes = found["Body"].read()
        return data

    def _first(self, path: str) -> _Version:
        own = takewhile(lambda version: version.key == self._prefix + path, self._versions(path))
        kept = [version for version in own if not version.marker]
        if not kept:
            raise TileMissingError(path)
        return kept[-1]

    def sizes(self, start: int = 0) -> Iterator[int]:
        return kept_sizes(self._children, start)

    def newest(self) -> int | None:
        return next(kept_sizes(self._children, largest_first=True), None)

    def time(self) -> datetime:
        with self._errors("the bucket cannot be asked for the time"):
            answer = self._s3.list_object_versions(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])

    def disturbed(self) -> Iterator[str]:
        above = ""  # the key of the version just above: the newest comes first
        for version in self._versions(""):
            name = version.key.removeprefix(self._prefix)
            if version.marker:
                yield f"somebody deleted {name}: the kept version is below a delete marker"
            elif version.key == above:
                yield f"somebody overwrote {name}: the kept version is below another"
            above = "" if version.marker else version.key

    def inspect(self) -> list[str]:
        try:
            with self._errors("the bucket cannot be inspected"):
                versioning = self._s3.get_bucket_versioning(Bucket=self._bucket).get("Status")
                lock = self._lock_configuration()
        except MirrorError as error:
            return [str(error)]
        found = []
        if versioning != "Enabled":
            found.append(f"{self.place} keeps no versions: enable versioning on it")
        if lock.get("ObjectLockEnabled") != "Enabled":
            found.append(f"{self.place} has no Object Lock: make a bucket with Object Lock enabled")
        rule = lock.get("Rule", {}).get("DefaultRetention", {})
        days = rule.get("Days", 0) or 365 * (rule.get("Years", 0) or 0)
        if rule.get("Mode") != _COMPLIANCE or timedelta(days=days) < self._period:
            found.append(
                f"{self.place} locks for {days} days in mode {rule.get('Mode', 'none')} by default: set its default "
                f"retention to mode COMPLIANCE and {self._period.days} days or more"
            )
        return found

    def _lock_configuration(self) -> dict[str, Any]:
        try:
            answer = self._s3.get_object_lock_configuration(Bucket=self._bucket)
        except ClientError as error:
            if _code(error) == "ObjectLockConfigurationNotFoundError":
                return {}
            raise
        configuration: dict[str, Any] = answer["ObjectLockConfiguration"]
        return configuration

    def _put(self, path: str, data: bytes, digest: str) -> None:
        until = self._clock.now() + self._period
        key = self._prefix + path
        done = self._s3.put_object(
            Bucket=self._bucket,
            Key=key,
            Body=data,
            IfNoneMatch="*",
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=digest,
            ObjectLockMode=_COMPLIANCE,
            ObjectLockRetainUntilDate=until,
        )
        # Checked, not believed: a store that ignores the lock's headers responds 200 all the same.
        kept, locked_until = self._check_locked(path, done.get("VersionId", "null"))
        if locked_until < until - timedelta(seconds=1) or kept["ContentLength"] != len(data):
            raise MirrorError(
                f"{self.place} locked {path} until {locked_until} instead of {until}, or kept "
                f"{kept['ContentLength']} of {len(data)} bytes"
            )

    def _check_locked(self, path: str, version: str) -> tuple[dict[str, Any], datetime]:
        kept = self._s3.head_object(Bucket=self._bucket, Key=self._prefix + path, VersionId=version)
        until = kept.get("ObjectLockRetainUntilDate")
        if kept.get("ObjectLockMode") != _COMPLIANCE or not until:
            raise MirrorError(
                f"{self.place} did not lock {path}: `casevault doctor` says which setting to change"
            )
        return kept, until

    def _children(self, folder: str) -> set[str]:
        """List the names ever kept in the folder: neither a delete marker nor another version hides one."""
        found: set[str] = set()
        for page in self._pages(folder, Delimiter="/"):
            found.update(version["Key"] for version in page.get("Versions", ()))
            found.update(common["Prefix"] for common in page.get("CommonPrefixes", ()))
        return {key.removeprefix(self._prefix + folder) for key in found}

    def _versions(self, below: str) -> Iterator[_Version]:
        """Yield all versions and markers of names that start with `below`, by name, newest first within one."""
        for page in self._pages(below):
            found = [(version, False) for version in page.get("Versions", ())]
            found += [(marker, True) for marker in page.get("DeleteMarkers", ())]
            # The page has two lists; a stable sort by name and age merges them.
            found.sort(key=lambda each: each[0]["LastModified"], reverse=True)
            found.sort(key=lambda each: str(each[0]["Key"]))
            yield from (_Version(each["Key"], each["VersionId"], marker) for each, marker in found)

    def _pages(self, below: str, **asked: str) -> Iterator[dict[str, Any]]:
        position: dict[str, str] = {}
        while True:
            with self._errors("the bucket cannot be listed"):
                page: dict[str, Any] = self._s3.list_object_versions(
                    Bucket=self._bucket, Prefix=self._prefix + below, **asked, **position
                )
            yield page
            if not page.get("IsTruncated"):
                return
            markers = {"KeyMarker": "NextKeyMarker", "VersionIdMarker": "NextVersionIdMarker"}
            position = {name: page[found] for name, found in markers.items() if page.get(found)}

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = _code(error)
            if code == _TAKEN:
                raise _TakenError from None
            kind = MirrorError if code in _REFUSED else MirrorUnavailableError
            raise kind(f"{self.place}: {what}: {code}") from error
        except (BotoCoreError, OSError) as error:
            raise MirrorUnavailableError(f"{self.place}: {what}: {type(error).__name__}") from error


class _TakenError(Exception):
    """A name that is taken."""


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))
