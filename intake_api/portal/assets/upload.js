// Sending files to the service from a page, by tus (https://tus.io/protocols/resumable-upload), as api.routes.uploads speaks it.
// What came is kept by the service: after whatever went wrong it is asked where to go on, and the file is read from there.
// @ts-check

const SLICE = 64 * 2 ** 20 // so that a request ends, and renews the session, several times in its idle half hour
const TUS = { 'Tus-Resumable': '1.0.0' }
const LONGEST_PAUSE = 30_000
const AGAIN = new Set([408, 409, 423]) // what came is kept, or somebody else is writing: ask, and go on

/** @typedef {{ status: number, header: (name: string) => string | null, text: string, url: string }} Told */

const list = /** @type {HTMLElement} */ (document.querySelector('#sendings'))
const model = /** @type {HTMLTemplateElement} */ (document.querySelector('#sending'))
const say = /** @param {string} name @param {Record<string, string>} [values] */ (name, values = {}) =>
  Object.entries(values).reduce((text, [key, value]) => text.replace(`[${key}]`, value), list.dataset[name] ?? '')
const working = new Set()

/** @param {number} bytes @returns {string} as people write it */
function size(bytes) {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB']
  let unit = 0
  for (; bytes >= 999.5 && unit < units.length - 1; unit++) bytes /= 1000
  return `${unit === 0 ? bytes : bytes.toPrecision(3)} ${units[unit]}`
}

/** @param {Record<string, string>} pairs @returns {string} an Upload-Metadata header */
function packed(pairs) {
  const base64 = (/** @type {string} */ text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)))
  return Object.entries(pairs).map(([key, value]) => `${key} ${base64(value)}`).join(',')
}

/** One file on its way. */
class Sending {
  /** @param {File} file @param {Record<string, string>} declared @param {string | null} address of what was begun before */
  constructor(file, declared, address) {
    this.file = file
    this.declared = declared
    this.address = address
    this.offset = address === null ? 0 : -1 // -1: the service is asked
    this.tries = 0
    this.paused = false
    this.runs = 0 // a pause ends a run, also one that waits; only the last goes on
    this.request = /** @type {XMLHttpRequest | null} */ (null)
    const made = /** @type {DocumentFragment} */ (model.content.cloneNode(true))
    const part = /** @param {string} name */ (name) => /** @type {HTMLElement} */ (made.querySelector(`.${name}`))
    this.bar = /** @type {HTMLProgressElement} */ (part('bar'))
    this.told = part('told')
    this.button = part('pause')
    this.end = part('give-up')
    this.bar.setAttribute('aria-label', file.name)
    part('name').textContent = file.name
    this.button.addEventListener('click', () => (this.paused ? this.resume() : this.pause(say('paused'))))
    this.end.addEventListener('click', () => this.giveUp())
    list.append(made)
    this.show(0)
  }

  /** @param {number} more bytes of the request under way */
  show(more) {
    const done = Math.max(this.offset, 0) + more
    this.bar.value = this.file.size === 0 ? 1 : done / this.file.size
    this.told.textContent = say('progress', { done: size(done), size: size(this.file.size) })
  }

  /** @param {string} why */
  pause(why) {
    this.paused = true
    this.request?.abort()
    this.told.textContent = why
    this.button.textContent = say('resume')
    working.delete(this)
  }

  resume() {
    this.paused = false
    this.offset = this.address === null ? 0 : -1
    this.tries = 0
    this.button.textContent = say('pause')
    void this.run()
  }

  async giveUp() {
    this.pause(say('ended'))
    if (this.address !== null) {
      const told = await this.call('DELETE', this.address, {}, null).catch(() => null)
      if (told === null || told.status !== 204) {
        this.told.textContent = told === null ? say('lost') : why(told)
        return
      }
    }
    this.over()
  }

  over() {
    working.delete(this)
    this.button.remove()
    this.end.remove()
  }

  async run() {
    working.add(this)
    const run = ++this.runs
    while (!this.paused && run === this.runs) {
      const told = await this.step().catch(() => null)
      if (this.paused || run !== this.runs || !working.has(this)) return
      if (told !== null && told.url.includes('/portal/sign-in')) return this.pause(say('signIn'))
      const again = this.address !== null && AGAIN.has(told?.status ?? 0)
      if (told !== null && told.status >= 400 && told.status < 500 && !again) return this.pause(why(told))
      if (told === null || told.status >= 400) await this.rest()
      else this.tries = 0
    }
  }

  /** @returns {Promise<Told | null>} what the service told; null when nothing was asked */
  async step() {
    if (this.address === null) return this.begin()
    if (this.offset < 0) return this.ask()
    if (this.offset >= this.file.size) {
      this.told.textContent = say('sent')
      const link = document.createElement('a')
      link.href = this.address.replace('/portal/uploads/', '/portal/bundles/')
      link.textContent = say('look')
      this.told.append(' ', link)
      this.over()
      return null
    }
    const headers = { 'Upload-Offset': String(this.offset), 'Content-Type': 'application/offset+octet-stream' }
    const told = await this.call('PATCH', this.address, headers, this.file.slice(this.offset, this.offset + SLICE))
    return this.reached(told, 204)
  }

  /** @returns {Promise<Told>} */
  async begin() {
    const metadata = packed({ ...this.declared, filename: this.file.name, last_modified: String(this.file.lastModified) })
    const headers = { 'Upload-Length': String(this.file.size), 'Upload-Metadata': metadata }
    const told = await this.call('POST', '/portal/uploads', headers, null)
    if (told.status === 201) this.address = told.header('Location')
    return this.reached(told, 201)
  }

  /** @returns {Promise<Told>} */
  async ask() {
    return this.reached(await this.call('HEAD', /** @type {string} */ (this.address), {}, null), 200)
  }

  /** @param {Told} told @param {number} expected @returns {Told} */
  reached(told, expected) {
    const offset = told.header('Upload-Offset')
    this.offset = told.status === expected && offset !== null ? Number(offset) : this.address === null ? 0 : -1
    if (this.offset >= 0) this.show(0)
    return told
  }

  async rest() {
    this.offset = this.address === null ? 0 : -1
    const readable = await this.file.slice(0, 1).arrayBuffer().then(() => true, () => false)
    if (!readable) return this.pause(say('changed'))
    this.told.textContent = say('lost')
    const pause = Math.min(500 * 2 ** this.tries++, LONGEST_PAUSE)
    await new Promise((done) => setTimeout(done, pause))
  }

  /** @param {string} method @param {string} address @param {Record<string, string>} headers @param {Blob | null} body @returns {Promise<Told>} */
  call(method, address, headers, body) {
    return new Promise((done, lost) => {
      const request = (this.request = new XMLHttpRequest())
      request.open(method, address)
      for (const [name, value] of Object.entries({ ...TUS, Accept: 'application/problem+json', ...headers })) request.setRequestHeader(name, value)
      request.upload.addEventListener('progress', (sent) => this.show(sent.loaded))
      request.addEventListener('load', () => done({ status: request.status, header: (name) => request.getResponseHeader(name), text: request.responseText, url: request.responseURL }))
      for (const end of ['error', 'abort', 'timeout']) request.addEventListener(end, () => lost(new Error(end)))
      request.send(body)
    })
  }
}

/** @param {Told} told @returns {string} the problem in its own words */
function why(told) {
  try {
    const problem = JSON.parse(told.text)
    return Object.values(problem.errors ?? {}).length > 0 ? `${problem.title}: ${problem.detail}` : problem.detail
  } catch {
    return say('failed', { status: String(told.status) })
  }
}

const form = /** @type {HTMLFormElement} */ (document.querySelector('#new'))
form.addEventListener('submit', (event) => {
  event.preventDefault()
  const given = new FormData(form)
  const text = /** @param {string} name */ (name) => String(given.get(name) ?? '')
  const end = `${text('logs_end')}:00Z`
  const declared = { type: 'on-demand', stamp: text('stamp'), case: text('case').trim(), logs_start: `${text('logs_start')}:00Z`, logs_end: end, time_collected: end }
  for (const file of given.getAll('files')) if (file instanceof File && file.name !== '') void new Sending(file, declared, null).run()
  const files = /** @type {HTMLInputElement} */ (form.elements.namedItem('files'))
  files.value = ''
})

for (const chosen of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll('input[data-upload]'))) {
  chosen.addEventListener('change', () => {
    const [file] = chosen.files ?? []
    const { upload, name, size: bytes, modified } = chosen.dataset
    const told = /** @type {HTMLElement} */ (chosen.closest('tr')?.querySelector('.told'))
    if (file === undefined) return
    if (file.name !== name || String(file.size) !== bytes || String(file.lastModified) !== modified) {
      told.textContent = say('other')
      chosen.value = ''
      return
    }
    told.textContent = say('goesOn')
    chosen.disabled = true
    void new Sending(file, {}, `/portal/uploads/${upload}`).run()
  })
}

addEventListener('beforeunload', (event) => {
  if (working.size > 0) event.preventDefault()
})
