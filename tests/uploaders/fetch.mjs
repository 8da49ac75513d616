// One request by Node's own fetch, as its first argument (JSON) says; prints {status, offset, body}.
import { createReadStream, readFileSync } from 'node:fs'

const task = JSON.parse(process.argv[2])
const body = task.chunked ? createReadStream(task.file) : readFileSync(task.file)
const answer = await fetch(task.url, { method: task.method, headers: task.headers, body, duplex: 'half' })
const offset = answer.headers.get('upload-offset')
process.stdout.write(JSON.stringify({ status: answer.status, offset, body: await answer.text() }))
