#!/usr/bin/env bash
# cloudpathlib 0.26.0 and pyarrow 26.0.1: a `with` block that raises in mid-write leaves a committed, cut blob on Azure.
#
# Guess before the run: a writer to Azure Blob Storage whose `with` block is left by an exception commits nothing, as
# smart_open does on S3; of adlfs (fsspec's close commits) a cut blob was expected.
# Seen: cloudpathlib's `CloudPath.open("wb")`, pyarrow's `AzureFileSystem.open_output_stream`, obstore 0.12.1's
# `FsspecStore.open` and, as guessed, adlfs 2026.8.0 (through universal_pathlib too) commit what was written so far, under
# the blob's final name. smart_open 9.0.2, obstore's own `open_writer` and azure-storage-blob 12.31.1 (`upload_blob` of a
# reader that raises) commit nothing. A collector that dies of an error in its own code leaves what looks like a whole log
# bundle; only a size or digest that was announced beforehand tells.
#
# Against Azurite 3.37.0 on loopback, with its published development account. Needs node, npm and python3.
set -euo pipefail

PORT=20418
work=$(mktemp -d)
azurite=
trap '[ -z "$azurite" ] || kill "$azurite" 2>/dev/null; rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund azurite@3.37.0
python3 -m venv venv
venv/bin/pip install --quiet adlfs==2026.8.0 'cloudpathlib[azure]==0.26.0' obstore==0.12.1 fsspec==2026.9.0 pyarrow==26.0.1 \
    'smart_open[azure]==9.0.2' universal_pathlib==0.3.10 azure-storage-blob==12.31.1

node node_modules/azurite/dist/src/blob/main.js --blobHost 127.0.0.1 --blobPort "$PORT" --inMemoryPersistence --silent --skipApiVersionCheck > azurite.out &
azurite=$!
for _ in $(seq 60); do (: > "/dev/tcp/127.0.0.1/$PORT") 2>/dev/null && break; sleep 0.5; done

cat > write.py <<'PY'
import sys
from contextlib import suppress

import adlfs, obstore, pyarrow.fs, smart_open
from azure.storage.blob import BlobServiceClient
from cloudpathlib import AzureBlobClient
from obstore.fsspec import FsspecStore
from obstore.store import AzureStore
from upath import UPath

PORT = sys.argv[1]
ACCOUNT, KEY = "devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
URL = f"http://127.0.0.1:{PORT}/{ACCOUNT}"
STRING = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={URL};"
RUST = {"config": {"account_name": ACCOUNT, "account_key": KEY, "endpoint": URL}, "client_options": {"allow_http": True}}
service = BlobServiceClient.from_connection_string(STRING)
container = service.create_container("logs")


class CollectorFailed(Exception):
    pass


def collect(file):
    for _ in range(12):
        file.write(b"x" * 2**20)
    raise CollectorFailed


class Reader:
    left = 3

    def read(self, size=-1):
        self.left -= 1
        if self.left < 0:
            raise CollectorFailed
        return b"x" * min(size if size > 0 else 2**20, 2**20)


def plain_sdk():
    service.get_blob_client("logs", "azure-storage-blob").upload_blob(Reader())


WRITERS = {
    "smart_open": lambda: smart_open.open("azure://logs/smart_open", "wb", transport_params={"client": service}),
    "obstore": lambda: obstore.open_writer(AzureStore("logs", **RUST), "obstore"),
    "obstore-fsspec": lambda: FsspecStore("az", **RUST).open("logs/obstore-fsspec", "wb"),
    "adlfs": lambda: adlfs.AzureBlobFileSystem(connection_string=STRING).open("logs/adlfs", "wb"),
    "universal_pathlib": lambda: UPath("az://logs/universal_pathlib", connection_string=STRING).open("wb"),
    "pyarrow": lambda: pyarrow.fs.AzureFileSystem(
        account_name=ACCOUNT, account_key=KEY, blob_storage_scheme="http", blob_storage_authority=f"127.0.0.1:{PORT}",
        dfs_storage_scheme="http", dfs_storage_authority=f"127.0.0.1:{PORT}",
    ).open_output_stream("logs/pyarrow"),
    "cloudpathlib": lambda: AzureBlobClient(connection_string=STRING).CloudPath("az://logs/cloudpathlib").open("wb"),
}
for opened in WRITERS.values():
    with suppress(CollectorFailed), opened() as file:
        collect(file)
with suppress(CollectorFailed):
    plain_sdk()
left = {blob.name: blob.size for blob in container.list_blobs()}
for name in (*WRITERS, "azure-storage-blob"):
    print(f"{name}: {left.get(name, 'nothing')}")
PY

venv/bin/python write.py "$PORT" 2> errors.out > seen.out || { cat errors.out; exit 1; }
cat seen.out
diff seen.out - <<'OUT'
smart_open: nothing
obstore: nothing
obstore-fsspec: 12582912
adlfs: 12582912
universal_pathlib: 12582912
pyarrow: 12582912
cloudpathlib: 12582912
azure-storage-blob: nothing
OUT
echo "as stated"
