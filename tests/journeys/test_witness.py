"""The witness, as an auditor uses it: the published log, a bucket in other hands, and the pinned key.

Each way to tell another history is done for real, by somebody who has the service's machine and all of its keys.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from audit.mirror.store import MirrorStore
from tests.fakes.buckets import Buckets
from tests.fakes.buckets import buckets as buckets
from tests.journeys.installed import serving
from tests.journeys.served import ADMINISTRATOR, AUDITOR, CASE_SYSTEM, Ran, Served

ORIGIN = "casevault.local/log"
NOBODY = "https://127.0.0.1:9"


@dataclass(frozen=True)
class Told:
    """A service whose log is kept in a bucket, stopped; and its state as it was in the middle."""

    folder: Path
    backup: Path
    keys: Path
    bucket: str
    settings: dict[str, str]

    @property
    def place(self) -> str:
        return f"s3://{self.bucket}"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, buckets: Buckets) -> Told:
    folder, backup = tmp_path_factory.mktemp("told"), tmp_path_factory.mktemp("backup")
    bucket, keys = buckets.new(), folder / "keys.json"
    settings = {"CASEVAULT_WITNESS_BUCKET": bucket, "CASEVAULT_WITNESS_ENDPOINT": buckets.endpoint}
    witness = buckets.witness(bucket, ORIGIN)
    with serving(folder, **settings) as served:
        served.do("tenants", "register", "Contoso", "--directory", "contoso", who=ADMINISTRATOR)
        until_witnessed(served, witness)
        assert served.cli("audit", "keys", "-o", keys).code == 0
    shutil.copytree(folder / "state", backup / "state")
    with serving(folder, **settings) as served:
        for _ in range(3):
            served.do("cases", "open", served.case_number(), "--directory", "contoso", who=CASE_SYSTEM)
        until_witnessed(served, witness)
    return Told(folder, backup, keys, bucket, settings)


def until_witnessed(served: Served, witness: MirrorStore) -> None:
    """Wait for all that is logged now: first for its place in the tree, then, minutes later, for the witness."""
    size = served.until_sequenced()
    served.pass_time(timedelta(minutes=2))
    for _ in range(200):
        if (witness.newest() or 0) >= size:
            return
        time.sleep(0.1)
    raise AssertionError("the witness does not get the log")


def verify(served: Served, told: Told, *words: object, who: str | None = AUDITOR) -> Ran:
    return served.cli("audit", "verify", "--keys", told.keys, *words, who=who)


def bucket_of(told: Told, buckets: Buckets) -> tuple[object, ...]:
    return ("--witness", told.place, "--witness-endpoint", buckets.endpoint)


@pytest.fixture(scope="module")
def honest(told: Told) -> Iterator[Served]:
    with serving(told.folder, **told.settings) as served:
        yield served


def test_a_log_that_only_grew_agrees_with_its_witness(honest: Served, told: Told, buckets: Buckets) -> None:
    ran = verify(honest, told, *bucket_of(told, buckets))
    assert ran.code == 0, ran.err
    assert "is sound and agrees with the bucket" in ran.out
    found = verify(honest, told, *bucket_of(told, buckets), "--json").json
    assert found["good"] and found["witness"]["held"] >= 2
    assert found["witness"]["kept"] <= found["leaves"] == found["witness"]["missing"][1]
    assert verify(honest, told, *bucket_of(told, buckets), "--hashes", who=None).code == 0


def test_the_administrator_holds_the_records_against_the_witness_of_the_settings(
    honest: Served, told: Told
) -> None:
    ran = honest.cli("audit", "verify", "--state", honest.state, "--witness")
    assert (ran.code, ran.err) == (0, "")
    assert "agrees with the bucket" in ran.out
    rolled_back = honest.cli("audit", "verify", "--state", told.backup / "state", "--witness", told.place)
    assert rolled_back.code == 1
    assert "its tail is missing" in rolled_back.out and "3 case.opened" in rolled_back.out


def test_the_whole_log_is_checked_when_the_service_is_gone(
    honest: Served, told: Told, buckets: Buckets
) -> None:
    ran = honest.cli(
        *("audit", "verify", "--keys", told.keys, "--witness-alone"), *bucket_of(told, buckets), server=NOBODY
    )
    assert (ran.code, ran.err) == (0, "")


def test_a_rolled_back_service_lacks_its_tail(told: Told, buckets: Buckets, tmp_path: Path) -> None:
    """Back-up restored, witness forgotten in the settings: nothing in the service knows any better."""
    shutil.copytree(told.backup / "state", tmp_path / "state")
    with serving(tmp_path) as served:
        ran = verify(
            served, told, *bucket_of(told, buckets)
        )  # first: its own entry takes the lost ones' place
        assert ran.code == 1
        (line,) = (line for line in ran.out.splitlines() if "its tail is missing" in line)
        assert line.startswith("leaves ") and "3 case.opened" in line
        assert "do NOT agree" in ran.error
        assert verify(served, told).code == 0
        hashes = verify(served, told, *bucket_of(told, buckets), "--hashes", who=None)
        assert hashes.code == 1 and "its tail is missing" in hashes.out


def test_a_rolled_back_service_that_went_on_is_another_log(
    told: Told, buckets: Buckets, tmp_path: Path
) -> None:
    shutil.copytree(told.backup / "state", tmp_path / "state")
    with serving(tmp_path) as served:
        for _ in range(30):
            served.do("cases", "open", served.case_number(), "--directory", "contoso", who=CASE_SYSTEM)
        served.until_sequenced()
        assert verify(served, told).code == 0
        ran = verify(served, told, *bucket_of(told, buckets))
        assert ran.code == 1
        assert "differs from the one witnessed" in ran.out.splitlines()[0]


def test_a_log_rewritten_from_scratch_with_our_own_keys_is_found(
    told: Told, buckets: Buckets, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    for name in ("log-signing-key", "receipt-signing-key"):
        shutil.copy(told.folder / "state" / name, tmp_path / "state" / name)
    with serving(tmp_path) as served:
        for name in ("contoso", "fabrikam", "northwind"):
            served.do("tenants", "register", name, "--directory", name, who=ADMINISTRATOR)
        served.until_sequenced()
        assert verify(served, told).code == 0  # our signature, our tree: nothing in it shows
        ran = verify(served, told, *bucket_of(told, buckets), "--json")
        assert ran.code == 1
        assert ran.json["good"] is False
        assert ran.json["witness"]["first_other"] == 0
        told_so = verify(served, told, *bucket_of(told, buckets)).out.splitlines()
        assert told_so[0].startswith("leaf 0 differs from the one witnessed: the log was rewritten")


def test_a_witness_that_somebody_disturbed_is_named(
    honest: Served, told: Told, buckets: Buckets, tmp_path: Path
) -> None:
    copy = copied(told, buckets)
    buckets.s3.put_object(Bucket=copy, Key=f"{ORIGIN}/tile/0/000.p/1", Body=b"another")
    newest = buckets.witness(copy, ORIGIN).newest()
    assert newest is not None
    key = next(key for key in names(copy, buckets) if key.endswith(f"/{newest % 1000:03d}"))
    buckets.s3.delete_object(Bucket=copy, Key=key)
    ran = verify(honest, told, "--witness", f"s3://{copy}", "--witness-endpoint", buckets.endpoint)
    assert ran.code == 1
    assert f"somebody deleted {key.removeprefix(ORIGIN + '/')}" in ran.out
    folder = tmp_path / "witness"
    into_folder(told, buckets, folder)
    assert verify(honest, told, "--witness", folder).code == 0
    (folder / "checkpoint").rename(folder / "checkpoints")
    emptied = verify(honest, told, "--witness", folder)
    assert emptied.code == 1 and "keeps no checkpoint of casevault.local/log" in emptied.error


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("--witness", "/nowhere"), "/nowhere is not a folder"),
        (("--witness",), "name the witness"),
        (("--witness", "s3://not-there"), "NoSuchBucket"),
        (("--witness-alone",), "--witness-alone needs --witness"),
    ],
)
def test_a_witness_that_cannot_be_asked_is_no_good_news(
    honest: Served, told: Told, buckets: Buckets, place: tuple[str, ...], said: str
) -> None:
    ran = verify(honest, told, *place, "--witness-endpoint", buckets.endpoint)
    assert ran.code in (1, 2)
    assert said in ran.error


def names(bucket: str, buckets: Buckets) -> list[str]:
    found = buckets.s3.list_objects_v2(Bucket=bucket)
    assert not found["IsTruncated"]
    return [each["Key"] for each in found["Contents"]]


def copied(told: Told, buckets: Buckets) -> str:
    """The same witness in another bucket, to be harmed."""
    copy = buckets.new()
    for key in names(told.bucket, buckets):
        body = buckets.s3.get_object(Bucket=told.bucket, Key=key)["Body"].read()
        buckets.s3.put_object(Bucket=copy, Key=key, Body=body)
    return copy


def into_folder(told: Told, buckets: Buckets, folder: Path) -> None:
    """What `aws s3 sync` makes of the bucket, with the modes that a witness's folder has."""
    for key in names(told.bucket, buckets):
        file = folder / key.removeprefix(f"{ORIGIN}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(buckets.s3.get_object(Bucket=told.bucket, Key=key)["Body"].read())
        file.chmod(0o400)
