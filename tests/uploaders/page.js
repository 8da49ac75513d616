// What a portal's page does with Uppy as it comes: its own metadata for every file, all that Uppy adds sent along.
import Uppy from '@uppy/core'
import Tus from '@uppy/tus'

window.send = async (task) => {
  const uppy = new Uppy({ autoProceed: false, meta: task.metadata })
  uppy.use(Tus, {
    endpoint: task.endpoint,
    chunkSize: task.chunk,
    uploadDataDuringCreation: task.early ?? false,
    overridePatchMethod: task.override ?? false,
    retryDelays: Array(task.retries ?? 30).fill(100),
    onShouldRetry: (error, _attempt, _options, next) => error.originalResponse?.getStatus() === 401 || next(error),
    onBeforeRequest: async (request) => request.setHeader('Authorization', `Bearer ${await window.token()}`),
  })
  const [file] = document.querySelector('input').files
  // As Uppy's own Dashboard adds it: its path in a chosen folder, if any.
  const meta = { relativePath: file.webkitRelativePath || null }
  const id = uppy.addFile({ name: file.name, type: file.type, data: file, meta })
  const url = () => uppy.getFile(id)?.tus?.uploadUrl ?? null
  let done = false
  const stopped = new Promise((stop) => {
    uppy.on('upload-progress', async (_file, { bytesUploaded }) => {
      await window.progress(bytesUploaded)
      if (done || task.stop === undefined || bytesUploaded < task.stop) return
      done = true
      const before = url()
      if (task.then === 'terminate') {
        uppy.removeFile(id)
        await new Promise((settled) => setTimeout(settled, 1000))
      }
      stop({ url: before, error: null })
    })
  })
  let why = null
  uppy.on('upload-error', (_file, error, response) => {
    why = response?.body?.xhr?.responseText || String(error.message ?? error)
  })
  const ended = uppy.upload().then((result) => done ? stopped : { url: result.successful[0]?.uploadURL ?? null, error: why })
  return Promise.race([ended, stopped])
}
