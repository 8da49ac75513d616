// The reference implementation in JavaScript, as its documentation sets it up, behind Node's own TLS.
import { createServer } from 'node:https'
import { readFileSync } from 'node:fs'
import { Server } from '@tus/server'
import { FileStore } from '@tus/file-store'

const [folder, port, pem] = process.argv.slice(2)
const tus = new Server({ path: '/files', datastore: new FileStore({ directory: folder }) })
const tls = { key: readFileSync(pem), cert: readFileSync(pem) }
const server = createServer(tls, (request, response) => tus.handle(request, response))
server.requestTimeout = 0
server.listen(Number(port), '127.0.0.1')
