// One upload by page.js in Chromium, as the first argument (JSON) says; prints {url, error} as it ends. The page comes
// from an origin of its own, and what the browser keeps (localStorage) stays in the task's folder for the next run.
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'

const task = JSON.parse(process.argv[2])
const script = (await build({
  entryPoints: [new URL('page.js', import.meta.url).pathname], bundle: true, write: false, format: 'iife',
})).outputFiles[0].text
const page = `<!doctype html><meta charset="utf-8"><title>portal</title><input type="file"><script src="/page.js"></script>`
const served = { '/': ['text/html', page], '/page.js': ['text/javascript', script] }
const server = createServer((request, response) => {
  const [type, text] = served[request.url] ?? ['text/plain', '']
  response.writeHead(text ? 200 : 404, { 'Content-Type': type }).end(text)
})
await new Promise((listening) => server.listen(task.pagePort, '127.0.0.1', listening))
const browser = await chromium.launchPersistentContext(task.profile, {
  executablePath: task.chromium,
  ignoreHTTPSErrors: true, // the service's authority is of this test alone
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})
const tab = await browser.newPage()
await tab.exposeFunction('token', () => readFileSync(task.token, 'utf8'))
await tab.exposeFunction('progress', (sent) => writeFileSync(task.progress, String(sent)))
await tab.goto(`http://127.0.0.1:${task.pagePort}/`)
await tab.setInputFiles('input', task.file)
const told = await tab.evaluate((what) => window.send(what), task)
await browser.close()
process.stdout.write(JSON.stringify(told) + '\n')
process.exit(0)
