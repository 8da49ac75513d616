// The page that checks receipts and entries: which keys are pinned, what is to be checked, and what was found.
// @ts-check
import { Wrong, check as verify, checkGrown, kept, read, unkept, verifierKey } from './verify.js'

const PINNED = 'casevault-pinned-keys'
const TREE = 'casevault-newest-tree'
const room = /** @type {HTMLElement} */ (document.querySelector('#checking'))
const found = /** @type {HTMLElement} */ (document.querySelector('#found'))
const pinned = /** @type {HTMLElement} */ (document.querySelector('#pinned'))
const say = /** @param {string} name @param {Record<string, string>} [values] */ (name, values = {}) =>
  Object.entries(values).reduce((text, [key, value]) => text.replace(`[${key}]`, value), room.dataset[name] ?? name)

/** @returns {import('./verify.js').KeyFile | null} */
function keys() {
  const held = localStorage.getItem(PINNED)
  return held === null ? null : JSON.parse(held)
}

function showKeys() {
  const held = keys()
  pinned.textContent = held === null ? say('none') : say('pinned', { log: held.log.split('+').slice(0, 2).join(' '), receipts: held.receipts.split('+').slice(0, 2).join(' ') })
}

/** @param {string} text a key file */
async function pin(text) {
  const { log, receipts } = read(text, 'key')
  await Promise.all([verifierKey(log), verifierKey(receipts)])
  if (keys()?.log !== log) localStorage.removeItem(TREE)
  localStorage.setItem(PINNED, JSON.stringify({ log, receipts }))
  showKeys()
}

/** @param {string} address @returns {Promise<string>} */
async function fetched(address) {
  const told = await fetch(address, { headers: { Accept: 'application/json' } })
  if (!told.ok || told.redirected) throw new Error(String(told.status))
  return told.text()
}

/** @param {import('./verify.js').Tree} tree */
async function goesOn(tree) {
  const held = localStorage.getItem(TREE)
  const before = held === null ? null : unkept(JSON.parse(held))
  if (before !== null) {
    const [older, newer] = before.size <= tree.size ? [before, tree] : [tree, before]
    const hashes = older.size === newer.size ? [] : JSON.parse(await fetched(`/portal/proofs/consistency?from=${older.size}&to=${newer.size}`)).hashes
    await checkGrown(older, newer, hashes)
  }
  if (before === null || before.size < tree.size) localStorage.setItem(TREE, JSON.stringify(kept(tree)))
  return before === null ? null : Math.min(before.size, tree.size)
}

/** @param {HTMLElement} own @param {string} text @param {boolean} good */
function verdict(own, text, good) {
  const line = document.createElement('p')
  line.className = good ? 'notice' : 'warning'
  line.textContent = text
  own.replaceChildren(line)
}

/** @param {HTMLElement} own @param {Record<string, unknown>} fields */
function show(own, fields) {
  const list = document.createElement('dl')
  for (const [name, value] of Object.entries(fields)) {
    const [term, said] = [document.createElement('dt'), document.createElement('dd')]
    term.textContent = name
    said.textContent = typeof value === 'string' ? value : JSON.stringify(value, null, 1)
    list.append(term, said)
  }
  own.append(list)
}

/** @param {string} text a receipt, or the proof of an entry @param {HTMLElement} own */
async function check(text, own) {
  const held = keys()
  if (held === null) return verdict(own, say('noKeys'), false)
  const given = read(text, 'document')
  const told = await verify(given, held)
  verdict(own, say(told.receipt ? 'goodReceipt' : 'goodEntry', { number: String(told.number), size: String(told.tree.size) }), true)
  show(own, told.receipt ? given.receipt : told.entry)
  const line = document.createElement('p')
  own.append(line)
  try {
    const since = await goesOn(told.tree)
    line.textContent = since === null ? say('first') : say('grown', { size: String(since) })
  } catch (error) {
    if (error instanceof Wrong) throw error
    line.textContent = say('offline')
  }
}

/** Do one thing at a time: what was found before goes at once, and what is still on its way is shown nowhere.
 * @param {(own: HTMLElement) => Promise<unknown>} work */
async function told(work) {
  const own = document.createElement('div')
  found.replaceChildren(own)
  try {
    await work(own)
  } catch (error) {
    verdict(own, say(error instanceof Wrong ? `wrong-${error.fault}`.replace(/-(.)/, (_, letter) => letter.toUpperCase()) : 'away'), false)
  }
}

/** @param {string} selector @param {(text: string, own: HTMLElement) => Promise<unknown>} use */
function takes(selector, use) {
  const input = /** @type {HTMLInputElement} */ (document.querySelector(selector))
  input.addEventListener('change', () => {
    const [file] = input.files ?? []
    if (file !== undefined) void told(async (own) => use(await file.text(), own)).then(() => (input.value = ''))
  })
}

takes('#key-file', pin)
takes('#document', check)
document.querySelector('#take-keys')?.addEventListener('click', () => void told(() => fetched('/audit/keys').then(pin)))
document.querySelector('#forget')?.addEventListener('click', () => {
  localStorage.removeItem(PINNED)
  localStorage.removeItem(TREE)
  found.replaceChildren()
  showKeys()
})
showKeys()
const { address } = room.dataset
if (address) void told(async (own) => check(await fetched(address), own))
