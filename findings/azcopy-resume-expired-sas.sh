#!/usr/bin/env bash
# AzCopy 10.32.2: `azcopy jobs resume` exits with 0 when nothing was sent because the SAS has expired.
#
# Guess before the run: an upload that a SAS's expiry ends is a failed job; `copy` and `jobs resume` both exit with 1.
# Seen: `copy` ends with "Final Job Status: Cancelled" and exit code 1, as guessed. `jobs resume` of that job with the same
# SAS, expired, prints "Final Job Status: Cancelled", "Number of File Transfers Failed: 0", 0 bytes, and exits with 0. A
# script that trusts the exit code takes the file for sent. It has to look for "Final Job Status: Completed".
#
# Against Azurite 3.37.0 on loopback, with its published development account. Needs node, npm and libsecret.
set -euo pipefail

PORT=20417
work=$(mktemp -d)
azurite=
trap '[ -z "$azurite" ] || kill "$azurite" 2>/dev/null; rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund azurite@3.37.0 @azure-tools/azcopy-linux@10.32.2 @azure/storage-blob@12.34.0

cat > sas.mjs <<'JS'
import { BlobServiceClient, ContainerSASPermissions, StorageSharedKeyCredential, generateBlobSASQueryParameters } from '@azure/storage-blob'
const [, , port, seconds] = process.argv
const account = new StorageSharedKeyCredential('devstoreaccount1', 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==')
await new BlobServiceClient(`http://127.0.0.1:${port}/devstoreaccount1`, account).getContainerClient('logs').createIfNotExists()
const terms = { containerName: 'logs', permissions: ContainerSASPermissions.parse('racwl'), expiresOn: new Date(Date.now() + seconds * 1000) }
console.log(generateBlobSASQueryParameters(terms, account).toString())
JS

node node_modules/azurite/dist/src/blob/main.js --blobHost 127.0.0.1 --blobPort "$PORT" --inMemoryPersistence --silent --skipApiVersionCheck > azurite.out &
azurite=$!
for _ in $(seq 60); do (: > "/dev/tcp/127.0.0.1/$PORT") 2>/dev/null && break; sleep 0.5; done

export HOME="$work" AZCOPY_LOG_LOCATION="$work/log" AZCOPY_JOB_PLAN_LOCATION="$work/plan" AZCOPY_DISABLE_SYSLOG=true AZCOPY_CONCURRENCY_VALUE=2
azcopy=node_modules/@azure-tools/azcopy-linux/dist/bin/azcopy_linux_amd64
chmod 755 "$azcopy"
head -c 60000000 /dev/urandom > bundle.zip # at 16 Mbit/s half a minute; the SAS lasts 8 s
sas=$(node sas.mjs "$PORT" 8)

copy=0
"$azcopy" copy bundle.zip "http://127.0.0.1:$PORT/devstoreaccount1/logs/bundle.zip?$sas" --from-to=LocalBlob --block-size-mb=1 \
    --cap-mbps=16 --output-type=text --skip-version-check > copy.out 2>&1 || copy=$?
job=$(basename "$(ls plan/*.steV* | head -n 1)" | cut -d- -f1-5)
resume=0
"$azcopy" jobs resume "$job" --destination-sas="$sas" --output-type=text --skip-version-check > resume.out 2>&1 || resume=$?

grep -h "^Final Job Status" copy.out resume.out
grep "^Number of File Transfers Failed" resume.out
echo "exit codes: copy $copy, jobs resume $resume"
[ "$copy" = 1 ]
[ "$resume" = 0 ]
grep -q "^Final Job Status: Cancelled" resume.out
grep -q "^Number of File Transfers Failed: 0" resume.out
