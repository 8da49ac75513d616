// Receipts and proofs of entries, checked in the browser by its own cryptography and without asking anybody: docs/formats.md,
// "A receipt" and "The tree". A document is held to verifier keys that its reader kept, never to ones that came with it.
// @ts-check

/** What is wrong, as a word of this list; the page has a sentence for each. */
/** @typedef {'document' | 'key' | 'signature' | 'text' | 'leaf' | 'checkpoint' | 'tree' | 'grown'} Fault */
/** @typedef {{ name: string, id: Uint8Array, public: CryptoKey }} Key */
/** @typedef {{ size: number, root: Uint8Array }} Tree */
/** @typedef {{ log: string, receipts: string }} KeyFile */

export class Wrong extends Error {
  /** @param {Fault} fault */
  constructor(fault) {
    super(fault)
    this.fault = fault
  }
}

/** @param {unknown} holds @param {Fault} fault @returns {asserts holds} */
function must(holds, fault) {
  if (!holds) throw new Wrong(fault)
}

const FORMATS = /** @type {Record<string, { action: string, fields: string }>} */ ({
  'casevault-intake-receipt-v1': {
    action: 'bundle.verified',
    fields: 'bundle case format manifest nonce received_at seal sha256 size stamp verified_at',
  },
  'casevault-erasure-receipt-v1': {
    action: 'erasure.proven',
    fields: 'bundles case cause confirmation erasure format method proven_at requested_at scope',
  },
})
const KEY_KIND = 0x01 // of a log's and of receipts' keys
const LEAF_VERSION = 1
const text8 = new TextEncoder()

/** @param {...(Uint8Array | string | number[])} pieces @returns {Promise<Uint8Array>} */
async function sha256(...pieces) {
  const bytes = pieces.map((piece) => (typeof piece === 'string' ? text8.encode(piece) : Uint8Array.from(piece)))
  return new Uint8Array(await crypto.subtle.digest('SHA-256', await new Blob(bytes).arrayBuffer()))
}

const same = /** @param {Uint8Array} a @param {Uint8Array} b */ (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at])
const hex = /** @param {Uint8Array} bytes */ (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')

/** @param {unknown} text standard base64 with padding, in its one form @param {Fault} fault @returns {Uint8Array<ArrayBuffer>} */
function base64(text, fault) {
  must(typeof text === 'string' && /^[A-Za-z0-9+/]*={0,2}$/.test(text) && text.length % 4 === 0, fault)
  const held = atob(text)
  must(btoa(held) === text, fault)
  return Uint8Array.from(held, (letter) => letter.charCodeAt(0))
}

/** @param {Uint8Array} bytes @returns {string} */
function utf8(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new Wrong('leaf')
  }
}

/** @param {string} value @param {Fault} fault @returns {string} a string of JSON; a lone surrogate has none, for it has no UTF-8 */
function quoted(value, fault) {
  must(!/\p{Surrogate}/u.test(value), fault)
  return JSON.stringify(value)
}

/** @param {unknown} value @param {Fault} fault @returns {string} RFC 8785, of strings, integers, lists and objects alone */
function canonical(value, fault) {
  if (typeof value === 'string') return quoted(value, fault)
  if (typeof value === 'number') {
    must(Number.isSafeInteger(value), fault)
    return String(value)
  }
  if (Array.isArray(value)) return `[${value.map((one) => canonical(one, fault)).join(',')}]`
  must(value !== null && typeof value === 'object', fault)
  const held = /** @type {Record<string, unknown>} */ (value)
  return `{${Object.keys(held).sort().map((name) => `${quoted(name, fault)}:${canonical(held[name], fault)}`).join(',')}}`
}

/** @param {unknown} text `<name>+<key id in hex>+<base64 of kind | public key>` @returns {Promise<Key>} */
export async function verifierKey(text) {
  const form = typeof text === 'string' ? /^([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/.exec(text) : null
  must(form !== null, 'key')
  const [, name, id, material] = form
  const bytes = base64(material, 'key')
  must(bytes.length === 33 && bytes[0] === KEY_KIND, 'key')
  const expected = (await sha256(name, '\n', bytes)).subarray(0, 4)
  must(hex(expected) === id, 'key')
  const raw = await crypto.subtle.importKey('raw', bytes.subarray(1), { name: 'Ed25519' }, true, ['verify'])
  return { name, id: expected, public: raw }
}

/** @param {unknown} note a C2SP signed note @param {Key} key @param {Fault} fault @returns {Promise<string>} its text, which `key` signed */
async function openNote(note, key, fault) {
  must(typeof note === 'string' && note.endsWith('\n'), fault)
  const at = note.lastIndexOf('\n\n')
  must(at >= 0, fault)
  const said = note.slice(0, at + 1)
  const lines = note.slice(at + 2, -1).split('\n').map((line) => {
    const form = /^\u2014 ([^+\s]+) (\S+)$/.exec(line)
    must(form !== null, fault)
    return { name: form[1], bytes: base64(form[2], fault) }
  })
  const own = lines.filter((line) => line.name === key.name && same(line.bytes.subarray(0, 4), key.id))
  must(own.length === 1 && own[0].bytes.length === 68, fault)
  must(await crypto.subtle.verify('Ed25519', key.public, own[0].bytes.subarray(4), text8.encode(said)), fault)
  return said
}

/** @param {string} note @param {Key} key @returns {Promise<Tree>} */
async function openCheckpoint(note, key) {
  const [origin, size, root, ...rest] = (await openNote(note, key, 'checkpoint')).split('\n')
  must(origin === key.name && /^(0|[1-9]\d{0,15})$/.test(size) && rest.length === 1 && rest[0] === '', 'checkpoint')
  const hash = base64(root, 'checkpoint')
  must(hash.length === 32, 'checkpoint')
  return { size: Number(size), root: hash }
}

const leafHash = /** @param {Uint8Array} leaf */ (leaf) => sha256([0], leaf)
const nodeHash = /** @param {Uint8Array} left @param {Uint8Array} right */ (left, right) => sha256([1], left, right)
const half = Math.floor

/** RFC 9162 2.1.3.2. @param {Uint8Array} hash @param {number} index @param {number} size @param {Uint8Array[]} path @returns {Promise<Uint8Array>} */
async function rootOfInclusion(hash, index, size, path) {
  must(index < size, 'tree')
  let [fn, sn, found] = [index, size - 1, hash]
  for (const sibling of path) {
    must(sn > 0, 'tree')
    if (fn % 2 === 1 || fn === sn) {
      found = await nodeHash(sibling, found)
      while (fn % 2 === 0 && fn > 0) [fn, sn] = [fn / 2, half(sn / 2)]
    } else found = await nodeHash(found, sibling)
    ;[fn, sn] = [half(fn / 2), half(sn / 2)]
  }
  must(sn === 0, 'tree')
  return found
}

/** Check that one tree goes on from an earlier one (RFC 9162 2.1.4.2). @param {Tree} before @param {Tree} now @param {string[]} hashes base64 */
export async function checkGrown(before, now, hashes) {
  const proof = hashes.map((one) => base64(one, 'grown'))
  if (before.size === now.size) return must(same(before.root, now.root), 'grown')
  must(before.size < now.size && before.size > 0, 'grown')
  const path = Number.isInteger(Math.log2(before.size)) ? [before.root, ...proof] : proof
  let [fn, sn] = [before.size - 1, now.size - 1]
  while (fn % 2 === 1) [fn, sn] = [half(fn / 2), half(sn / 2)]
  must(path.length > 0, 'grown')
  let [fr, sr] = [path[0], path[0]]
  for (const hash of path.slice(1)) {
    must(sn !== 0, 'grown')
    if (fn % 2 === 1 || fn === sn) {
      fr = await nodeHash(hash, fr)
      sr = await nodeHash(hash, sr)
      while (fn % 2 === 0 && fn > 0) [fn, sn] = [fn / 2, half(sn / 2)]
    } else sr = await nodeHash(sr, hash)
    ;[fn, sn] = [half(fn / 2), half(sn / 2)]
  }
  must(sn === 0 && same(fr, before.root) && same(sr, now.root), 'grown')
}

/** @param {{ leaf?: unknown, proof?: unknown }} document @param {string} logKey @returns {Promise<{ entry: Record<string, any>, number: number, tree: Tree }>} */
async function checkEntry(document, logKey) {
  const leaf = base64(document.leaf, 'leaf')
  const said = utf8(leaf)
  const entry = read(said, 'leaf')
  must(canonical(entry, 'leaf') === said && entry.v === LEAF_VERSION, 'leaf')
  must(typeof document.proof === 'string', 'tree')
  const at = document.proof.indexOf('\n\n')
  const [version, ...lines] = document.proof.slice(0, at).split('\n')
  must(at > 0 && version === 'c2sp.org/tlog-proof@v1', 'tree')
  if (lines[0]?.startsWith('extra ')) lines.shift()
  const numbered = /^index (0|[1-9]\d{0,15})$/.exec(lines[0] ?? '')
  must(numbered !== null, 'tree')
  const path = lines.slice(1).map((line) => base64(line, 'tree'))
  const tree = await openCheckpoint(document.proof.slice(at + 2), await verifierKey(logKey))
  const number = Number(numbered[1])
  must(same(await rootOfInclusion(await leafHash(leaf), number, tree.size, path), tree.root), 'tree')
  return { entry, number, tree }
}

/** @param {any} document as it was handed out @param {KeyFile} keys @returns {Promise<{ entry: Record<string, any>, number: number, tree: Tree }>} */
async function checkReceipt(document, keys) {
  const form = FORMATS[document.receipt?.format]
  must(form !== undefined && Object.keys(document.receipt).sort().join(' ') === form.fields, 'document')
  const fields = canonical(document.receipt, 'document')
  const said = await openNote(document.note, await verifierKey(keys.receipts), 'signature')
  must(said === `${fields}\n`, 'text')
  const found = await checkEntry(document, keys.log)
  const { outcome, action, details } = found.entry
  must(outcome === 'success' && action === form.action && details?.receipt === hex(await sha256(fields)), 'leaf')
  return found
}

/** Check a receipt, or the proof of an entry, which has a leaf, a proof and nothing else.
 * @param {Record<string, any>} document @param {KeyFile} keys @returns {Promise<{ entry: Record<string, any>, number: number, tree: Tree, receipt: boolean }>} */
export async function check(document, keys) {
  const receipt = Object.keys(document).sort().join(' ') !== 'leaf proof'
  return { ...(await (receipt ? checkReceipt(document, keys) : checkEntry(document, keys.log))), receipt }
}

/** @param {string} text @param {Fault} fault @returns {Record<string, any>} */
export function read(text, fault) {
  try {
    const value = JSON.parse(text)
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value
  } catch {
    // below
  }
  throw new Wrong(fault)
}

/** @param {Tree} tree @returns {{ size: number, root: string }} as the page keeps it */
export const kept = (tree) => ({ size: tree.size, root: btoa(String.fromCharCode(...tree.root)) })

/** @param {{ size: number, root: string }} held @returns {Tree} */
export const unkept = (held) => ({ size: held.size, root: base64(held.root, 'grown') })
