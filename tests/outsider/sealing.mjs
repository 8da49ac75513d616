// What is sealed, and under which key: associated data, one Tink streaming ciphertext, digests, wrapped data keys.

import {
  constants, createDecipheriv, createHmac, createPrivateKey, hkdfSync, privateDecrypt, timingSafeEqual,
} from "node:crypto";
import { base64, fields, must, number, sha256, Wrong } from "./encoding.mjs";

const SEGMENT = 1048576, HEADER = 40, TAG = 16;

/** The associated data that binds a ciphertext to what it is of: `names` are strings or bytes. */
export function associatedData(framing, purpose, ...names) {
  if (framing === 2) return fields("casevault v2", purpose, ...names);
  must(framing === 1, `framing ${framing} needs a newer reader`);
  const [first, second] = names.map((name) => Buffer.from(name));
  const nul = Buffer.alloc(1);
  switch (purpose) {
    case "part":
      return Buffer.concat([Buffer.from("casevault part v1"), fields(first, second)]);
    case "data key":
      return Buffer.concat([Buffer.from("casevault data key v1"), nul, first, nul, second]);
    case "data key in vault":
      return Buffer.concat([Buffer.from("casevault data key in a vault v1"), nul, first, second]);
    default:
      throw new Wrong(`framing 1 has no ${purpose}`);
  }
}

/** Where the segments of a sealed part lie: [start, end) of each, tag included. */
function segments(sealed) {
  const found = [];
  for (let start = HEADER, end = SEGMENT; start < sealed.length; start = end, end += SEGMENT) {
    found.push([start, Math.min(end, sealed.length)]);
  }
  must(found.length > 0 && found.at(-1)[1] - found.at(-1)[0] > TAG, `truncated: ${sealed.length} bytes`);
  return found;
}

export function sealedLength(plain) {
  const rest = Math.max(0, plain - (SEGMENT - HEADER - TAG));
  return plain + HEADER + TAG * (1 + Math.ceil(rest / (SEGMENT - TAG)));
}

export function digest(sealed, plainLength) {
  const tags = segments(sealed).map(([, end]) => sealed.subarray(end - TAG, end));
  return sha256("casevault part digest v1", sealed.subarray(0, HEADER), ...tags, number(plainLength, 8));
}

function aesGcm(bits, key, nonce, sealed, aad, what) {
  const cipher = createDecipheriv(`aes-${bits}-gcm`, key, nonce, { authTagLength: TAG });
  cipher.setAAD(aad);
  cipher.setAuthTag(sealed.subarray(sealed.length - TAG));
  try {
    return Buffer.concat([cipher.update(sealed.subarray(0, sealed.length - TAG)), cipher.final()]);
  } catch {
    throw new Wrong(`${what} does not open`);
  }
}

/** The plaintext of one AES256_GCM_HKDF_1MB ciphertext, every segment authenticated. */
export function open(sealed, dataKey, associated, what) {
  must(sealed.length > HEADER && sealed[0] === HEADER, `${what}: no header of ${HEADER} bytes`);
  const salt = sealed.subarray(1, 33), prefix = sealed.subarray(33, HEADER);
  const key = Buffer.from(hkdfSync("sha256", dataKey, salt, associated, 32));
  const all = segments(sealed);
  const plain = all.map(([start, end], k) => {
    const nonce = Buffer.concat([prefix, number(k, 4), number(k === all.length - 1 ? 1 : 0, 1)]);
    return aesGcm(256, key, nonce, sealed.subarray(start, end), Buffer.alloc(0), `${what}, segment ${k}`);
  });
  return Buffer.concat(plain);
}

/** The 32 bytes of a key of key-encryption-key.json. */
function keyOfFile(file, id) {
  must(file.format === "casevault-key-file-v1", `key file: unknown format ${file.format}`);
  const found = file.keys.find((key) => key.id === id);
  must(found, `the key file has no key ${id}`);
  const key = base64(found.key, 32, `key ${id}`);
  const expected = `local-${sha256("casevault key id v1", key).toString("hex").slice(0, 16)}`;
  must(expected === id, `key ${id} is another key: ${expected}`);
  return key;
}

function fromVault(unwrapped, framing, bundle) {
  must(unwrapped.length === 80, `unwrapped: ${unwrapped.length} bytes, not 80`);
  const [salt, dataKey, mac] = [[0, 16], [16, 48], [48, 80]].map(([from, to]) => unwrapped.subarray(from, to));
  const message = associatedData(framing, "data key in vault", salt, bundle);
  const expected = createHmac("sha256", dataKey).update(message).digest();
  must(timingSafeEqual(mac, expected), `this data key is not that of ${bundle}`);
  return dataKey;
}

/** The data key of `bundle`, from its `.key` document and what unwraps it: key file, `aes` bytes or `rsa` PEM. */
export function unwrap(wrapped, bundle, by) {
  const framing = wrapped.framing ?? 1, bytes = base64(wrapped.wrapped, undefined, "wrapped");
  try {
    switch (wrapped.algorithm) {
      case "AES-256-GCM": {
        must(bytes.length === 60, `wrapped: ${bytes.length} bytes, not 60`);
        const aad = associatedData(framing, "data key", wrapped.kek_id, bundle);
        const key = keyOfFile(by.file, wrapped.kek_id);
        return aesGcm(256, key, bytes.subarray(0, 12), bytes.subarray(12), aad, `data key of ${bundle}`);
      }
      case "A256KW": {
        const cipher = createDecipheriv("id-aes256-wrap", by.aes, Buffer.alloc(8, 0xa6));
        return fromVault(Buffer.concat([cipher.update(bytes), cipher.final()]), framing, bundle);
      }
      case "RSA-OAEP-256": {
        const options = { key: createPrivateKey(by.rsa), padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256" };
        return fromVault(privateDecrypt(options, bytes), framing, bundle);
      }
      default:
        throw new Wrong(`unknown algorithm ${wrapped.algorithm}`);
    }
  } catch (error) {
    throw error instanceof Wrong ? error : new Wrong(`data key of ${bundle} does not unwrap: ${error.message}`);
  }
}
