// C2SP signed notes, checkpoints, cosignatures and verifier keys, all Ed25519.
// (Node 20 has no ML-DSA: lines of such keys are lines of other keys here, and say nothing.)

import { createPublicKey, verify } from "node:crypto";
import { base64, hex, must, sha256 } from "./encoding.mjs";

export const LOG = 0x01, COSIGNER = 0x04;

/** A verifier key `<name>+<key id>+<base64>` of the kind that is expected. */
export function verifierKey(text, kind) {
  const [, name, id, material] = /^([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/.exec(text) ?? [];
  must(name, `no verifier key: ${text}`);
  const bytes = base64(material, 33, `key ${name}`);
  must(bytes[0] === kind, `key ${name}: kind ${bytes[0]}, not ${kind}`);
  const expected = sha256(name, "\n", bytes).subarray(0, 4);
  must(expected.equals(hex(id, 4)), `key ${name}: its id is ${expected.toString("hex")}, not ${id}`);
  const jwk = { kty: "OKP", crv: "Ed25519", x: bytes.subarray(1).toString("base64url") };
  return { name, id: expected, public: createPublicKey({ key: jwk, format: "jwk" }) };
}

/** A note's text, with its last newline, and its signature lines. */
function split(note) {
  const at = note.lastIndexOf("\n\n");
  must(at >= 0 && note.endsWith("\n"), "not a signed note");
  const lines = note.slice(at + 2, -1).split("\n").map((line) => {
    const form = /^\u2014 ([^+\s]+) (\S+)$/.exec(line);
    must(form, `not a signature line: ${line}`);
    return { name: form[1], bytes: base64(form[2]) };
  });
  return { text: note.slice(0, at + 1), lines };
}

const byKey = (lines, key) => lines.filter((line) => line.name === key.name && line.bytes.subarray(0, 4).equals(key.id));

/** The text of a note that `key` signed. */
export function openNote(note, key) {
  const { text, lines } = split(note);
  const [line, ...more] = byKey(lines, key);
  must(line && !more.length, `not signed once by ${key.name}`);
  must(line.bytes.length === 68 && verify(null, Buffer.from(text), key.public, line.bytes.subarray(4)),
    `the signature of ${key.name} does not verify`);
  return text;
}

/** A signed checkpoint: {size, root}. */
export function openCheckpoint(note, key) {
  const [origin, size, root, ...rest] = openNote(note, key).split("\n");
  must(rest.length === 1 && rest[0] === "", "checkpoint: more or less than three lines");
  must(origin === key.name, `checkpoint: of ${origin}, not of ${key.name}`);
  must(/^(0|[1-9]\d*)$/.test(size), `checkpoint: size ${size}`);
  return { size: Number(size), root: base64(root, 32, "root") };
}

/** When `key` cosigned a checkpoint, in POSIX seconds: of its newest line that verifies. */
export function cosignedAt(note, key) {
  const { text, lines } = split(note);
  const times = byKey(lines, key).map(({ bytes }) => {
    must(bytes.length === 76, `cosignature of ${key.name}: ${bytes.length} bytes`);
    const seconds = bytes.readBigUInt64BE(4);
    const signed = Buffer.from(`cosignature/v1\ntime ${seconds}\n${text}`);
    must(verify(null, signed, key.public, bytes.subarray(12)), `the cosignature of ${key.name} does not verify`);
    return Number(seconds);
  });
  must(times.length, `not cosigned by ${key.name}`);
  return Math.max(...times);
}
