// One upload by tus-js-client or @uppy/tus, as its first argument (JSON) says; prints {url, error} as it ends.
// The token is read anew before every request, so that whoever runs this can renew it in the middle.
import { createReadStream, readFileSync, writeFileSync } from 'node:fs'
import Uppy from '@uppy/core'
import Tus from '@uppy/tus'
import * as tus from 'tus-js-client'

const task = JSON.parse(process.argv[2])
const end = (url, error) => {
  process.stdout.write(JSON.stringify({ url: url ?? null, error: error ? String(error.message ?? error) : null }) + '\n')
  process.exit(0)
}
const common = {
  endpoint: task.endpoint,
  chunkSize: task.chunk,
  parallelUploads: task.parallel ?? 1,
  uploadLengthDeferred: task.deferred ?? false,
  uploadDataDuringCreation: task.early ?? false,
  overridePatchMethod: task.override ?? false,
  retryDelays: Array(task.retries ?? 30).fill(100),
  urlStorage: new tus.FileUrlStorage(task.storage),
  onBeforeRequest: (request) => request.setHeader('Authorization', `Bearer ${readFileSync(task.token, 'utf8')}`),
  onShouldRetry: (error) => ![403, 404, 410, 413, 422, 460].includes(error.originalResponse?.getStatus()),
}
// When `stop` bytes have gone: `abort` ends the process, `terminate` has the upload deleted.
let stopped = false
const watch = (sent, upload, terminate) => {
  writeFileSync(task.progress, String(sent))
  if (task.stop === undefined || sent < task.stop || stopped) return
  stopped = true
  if (task.then === 'abort') end(upload().url)
  terminate().then(() => end(upload().url), (error) => end(null, error))
}

async function tusJsClient() {
  const file = createReadStream(task.file, { highWaterMark: task.chunk })
  const upload = new tus.Upload(task.deferred ? file.pipe(await passThrough()) : file, {
    ...common,
    metadata: task.metadata,
    onError: (error) => end(upload.url, error),
    onSuccess: () => end(upload.url),
    onProgress: (sent) => watch(sent, () => upload, () => upload.abort(true)),
  })
  const before = task.resume ? await upload.findPreviousUploads() : []
  if (task.resume && !before.length) end(null, 'nothing to resume')
  if (before.length) upload.resumeFromPreviousUpload(before[0])
  upload.start()
}

async function passThrough() {
  const { PassThrough } = await import('node:stream') // a stream of which nobody knows the length
  return new PassThrough()
}

async function uppyTus() {
  const uppy = new Uppy({ autoProceed: false })
  uppy.use(Tus, { ...common, storeFingerprintForResuming: true, onShouldRetry: common.onShouldRetry })
  const id = uppy.addFile({ name: 'logs.zip', type: 'application/zip', data: readFileSync(task.file) })
  uppy.setFileMeta(id, task.metadata)
  uppy.getPlugin('Tus').setOptions({ allowedMetaFields: Object.keys(task.metadata) })
  let url = null
  uppy.on('upload-progress', (file, progress) => {
    url = uppy.getFile(id)?.tus?.uploadUrl ?? url
    const removed = async () => {
      uppy.removeFile(id) // Uppy's own way to terminate
      await new Promise((done) => setTimeout(done, 1000))
    }
    watch(progress.bytesUploaded, () => ({ url }), removed)
  })
  const result = await uppy.upload()
  if (stopped) return
  end(result?.successful[0]?.uploadURL, result?.failed[0]?.error)
}

await { 'tus-js-client': tusJsClient, '@uppy/tus': uppyTus }[task.client]()
