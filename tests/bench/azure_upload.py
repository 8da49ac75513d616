"""How fast, and in how much memory, a bundle is sealed into Blob Storage, against a sink, over https.

    python -m tests.bench.azure_upload [MiB] [uploads at once]

Seals `MiB` of random bytes in parts as custody does, in this one process, and prints MB/s, processor seconds a GB and
the memory at its peak above what the imports take. Plain sending of the same blocks is measured beside it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from azure.storage.blob import BlobServiceClient

from retention.custody.uploads.upload_session import PART_SIZE
from retention.envelope import format as fmt
from retention.envelope.data_keys import DataKey
from retention.envelope.part_stream import PartSealer, SealingWriter
from retention.objects.azure.blob_service import connect_by_string
from retention.objects.azure.part_store import AzureBlobObjectStore
from retention.objects.store import RESERVE_MAX
from tests.bench.measure import median
from tests.bench.table import Row
from tests.fakes.ids import bundle, part
from tests.keyvault.vault import make_certificate

CONTENT = [os.urandom(fmt.FIRST_PLAINTEXT), os.urandom(fmt.LATER_PLAINTEXT)]


def seal(store: AzureBlobObjectStore, number: int, size: int) -> None:
    """One upload, as custody's: parts of PART_SIZE, pieces that fill a segment."""
    key, left, count = DataKey.generate(), size, 0
    while left > 0:
        count += 1
        with store.new_part(bundle(number), part(count)) as writer:
            sealing = SealingWriter(PartSealer(key, bundle(number), part(count)), writer)
            while left > 0 and sealing.length < PART_SIZE:
                piece = CONTENT[sealing.length > 0]
                sealing.write(piece)
                left -= len(piece)
            sealing.finish()
            writer.commit()
    store.complete(bundle(number), [part(each + 1) for each in range(count)])


def plain(store: AzureBlobObjectStore, number: int, size: int) -> None:
    """The same blocks, not sealed: what sending alone costs."""
    with store.new_part(bundle(number), part(1)) as writer:
        for _ in range(size // RESERVE_MAX):
            writer.reserve(RESERVE_MAX)
            writer.advance(RESERVE_MAX)
        writer.commit()


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass(frozen=True, slots=True)
class Measured:
    """One way of sending, once."""

    rate: float
    """MB a second."""
    cpu: float
    """Processor seconds a GB, of this process."""
    grown: float
    """MiB that the peak of memory has grown by."""


def measure(
    work: Callable[[AzureBlobObjectStore, int, int], None],
    service: BlobServiceClient,
    size: int,
    uploads: int,
    first: int,
) -> Measured:
    store = AzureBlobObjectStore(service, "bundles")
    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    threads = [threading.Thread(target=work, args=(store, first + n, size)) for n in range(uploads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gigabytes = uploads * size / 1e9
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Measured(1000 * gigabytes / wall, cpu / gigabytes, peak() - before)


@contextmanager
def sink() -> Iterator[BlobServiceClient]:
    """A client of a sink in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "server.pem"
        make_certificate(certificate)
        os.environ["REQUESTS_CA_BUNDLE"] = str(certificate)
        command = [sys.executable, Path(__file__).with_name("azure_sink.py"), certificate]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdin is not None
            port = int(process.stdout.readline())
            endpoint = f"https://127.0.0.1:{port}/account"
            yield connect_by_string(f"AccountName=account;AccountKey=a2V5;BlobEndpoint={endpoint};")
            process.stdin.close()


def compare(size: int, rounds: int) -> list[Row]:
    """Rows of the table; sealed and plain in turn, and four sealed at once."""
    sealed, plainly, many = [], [], []
    with sink() as service:
        for turn in range(rounds + 1):
            one = measure(seal, service, size, 1, 10 * turn)
            other = measure(plain, service, size, 1, 10 * turn + 1)
            four = measure(seal, service, size, 4, 10 * turn + 2)
            if turn:  # the first round warms up
                sealed.append(one), plainly.append(other), many.append(four)
    rate = median([each.rate for each in sealed])
    told = f"{median([each.cpu for each in sealed]):.2f} s/GB, without the intake before it"
    return [
        Row("Azure: sealed into staged blocks, https, null sink", rate, "MB/s", 350, 600, note=told),
        Row("Azure: four at once", median([each.rate for each in many]), "MB/s", 350, 600),
        Row("Azure: the same blocks, not sealed", median([each.rate for each in plainly]), "MB/s"),
    ]


def main() -> None:
    size = int(sys.argv[1] if len(sys.argv) > 1 else 1024) << 20
    uploads = int(sys.argv[2] if len(sys.argv) > 2 else 1)
    with sink() as service:
        for number, (name, work) in enumerate((("sealed", seal), ("plain", plain), ("sealed", seal))):
            found = measure(work, service, size, uploads, 100 * number)
            print(
                f"{name:8} {uploads} x {size >> 20} MiB: {found.rate:6.0f} MB/s  {found.cpu:5.2f} CPU s/GB  "
                f"peak {peak():5.0f} MiB (+{found.grown:.0f})"
            )


if __name__ == "__main__":
    main()
