#!/usr/bin/env bash
# unzipper 0.12.5 (Parse) and fflate 0.8.3 (Unzip): of a streamed zip with a stored inner zip they hand out other files, and no error.
#
# A log bundle is a zip of zips. Python's zipfile, writing to a pipe, stores an inner zip with its sizes behind it, in a
# data descriptor (APPNOTE 4.3.9), whose mark can stand in the stored bytes as well.
# Guess before the run: a reader that goes from front to back finds the end of the entry, or refuses it; fflate's was known.
# Seen: unzipper's Parse takes the inner zip's first descriptor for the entry's own: it hands out half of inner.zip, then b.log,
# which is a file of the inner zip, and never c.log. fflate's Unzip hands out inner.zip with c.log behind it, and all
# four files. Neither reports anything. unzip-stream 0.3.4 reads both files rightly; stream-unzip refuses the entry;
# readers of the central directory (unzipper's Open, yauzl) are right.
#
# Needs node, npm and python3.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund unzipper@0.12.5 fflate@0.8.3 unzip-stream@0.3.4 yauzl@3.4.0
python3 -m venv venv
venv/bin/pip install --quiet stream-unzip==0.0.101

cat > make.py <<'PY'
import io
import zipfile


class Pipe(io.RawIOBase):
    def __init__(self):
        self.written = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.written += data
        return len(data)


def streamed(files, method):
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 3, 1, 2, 10, 0)), data, method)
    return bytes(pipe.written)


log = "".join(f"2026-03-01T02:{n // 60:02}:{n % 60:02}Z volume offline {n}\n" for n in range(3000)).encode()
inner = streamed({"a.log": log, "b.log": log[::-1]}, zipfile.ZIP_DEFLATED)
open("inner.zip", "wb").write(inner)
open("c.log", "wb").write(log)
open("outer.zip", "wb").write(streamed({"inner.zip": inner, "c.log": log}, zipfile.ZIP_STORED))
PY
python3 make.py

cat > read.mjs <<'JS'
import fs from 'node:fs'
import * as fflate from 'fflate'
import unzipper from 'unzipper'
import unzipStream from 'unzip-stream'
import yauzl from 'yauzl'

const right = { 'inner.zip': fs.readFileSync('inner.zip'), 'c.log': fs.readFileSync('c.log') }
const whole = async (stream) => Buffer.concat(await stream.toArray())
const tell = (reader, found) => {
  const files = Object.entries(found).map(([name, data]) => `${name} ${right[name]?.equals(data) ? 'right' : 'WRONG'}`)
  console.log(`${reader}: ${files.join(', ')}`)
}
let found = {}
for await (const entry of fs.createReadStream('outer.zip').pipe(unzipper.Parse({ forceStream: true }))) found[entry.path] = await entry.buffer()
tell('unzipper Parse', found)

found = {}
for (const entry of (await unzipper.Open.file('outer.zip')).files) found[entry.path] = await entry.buffer()
tell('unzipper Open', found)

found = {}
const reader = new fflate.Unzip((file) => {
  const pieces = []
  file.ondata = (error, data) => {
    if (error) throw error
    pieces.push(Buffer.from(data))
    found[file.name] = Buffer.concat(pieces)
  }
  file.start()
})
reader.register(fflate.UnzipInflate)
reader.push(new Uint8Array(fs.readFileSync('outer.zip')), true)
tell('fflate Unzip', found)

found = {}
await new Promise((done, failed) =>
  fs.createReadStream('outer.zip').pipe(unzipStream.Parse()).on('error', failed).on('finish', () => setTimeout(done, 500)).on('entry', async (entry) => {
    const pieces = []
    entry.on('data', (piece) => pieces.push(piece)).on('end', () => (found[entry.path] = Buffer.concat(pieces)))
  }))
tell('unzip-stream', found)

found = {}
await new Promise((done, failed) =>
  yauzl.open('outer.zip', { lazyEntries: true }, (error, archive) => {
    if (error) return failed(error)
    archive.on('end', done).on('entry', (entry) => archive.openReadStream(entry, async (_, stream) => {
      found[entry.fileName] = await whole(stream)
      archive.readEntry()
    }))
    archive.readEntry()
  }))
tell('yauzl', found)
JS
cat > read.py <<'PY'
from stream_unzip import NotStreamUnzippable, stream_unzip

try:
    for _, _, pieces in stream_unzip([open("outer.zip", "rb").read()]):
        list(pieces)
    print("stream-unzip: read")
except NotStreamUnzippable:
    print("stream-unzip: refused")
PY
{ node read.mjs; venv/bin/python read.py; } | tee seen.out
diff seen.out - <<'OUT'
unzipper Parse: inner.zip WRONG, b.log WRONG
unzipper Open: inner.zip right, c.log right
fflate Unzip: inner.zip WRONG, a.log WRONG, b.log WRONG, c.log right
unzip-stream: inner.zip right, c.log right
yauzl: inner.zip right, c.log right
stream-unzip: refused
OUT
echo "as stated"
