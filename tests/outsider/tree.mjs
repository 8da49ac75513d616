// The RFC 6962 tree: rebuilt from tlog-tiles in a folder, and proofs of inclusion and consistency checked.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { base64, must, sha256 } from "./encoding.mjs";

const FULL = 256, HASH = 32;

export const leafHash = (leaf) => sha256(Buffer.of(0), leaf);
export const nodeHash = (left, right) => sha256(Buffer.of(1), left, right);

/** MTH of these hashes of the level below (RFC 6962, 2.1). */
export function root(hashes) {
  if (hashes.length === 0) return sha256();
  if (hashes.length === 1) return hashes[0];
  let split = 1;
  while (2 * split < hashes.length) split *= 2;
  return nodeHash(root(hashes.slice(0, split)), root(hashes.slice(split)));
}

function tilePath(level, index) {
  const digits = String(index).padStart(Math.ceil(String(index).length / 3) * 3, "0").match(/.{3}/g);
  return ["tile", level, ...digits.map((three, at) => (at < digits.length - 1 ? `x${three}` : three))].join("/");
}

/** A tile's bytes: the partial one of this width, or the full one that took its place. */
function tile(folder, level, index, width) {
  const path = tilePath(level, index);
  const partial = join(folder, `${path}.p`, String(width));
  const found = width < FULL && existsSync(partial) ? partial : join(folder, path);
  must(existsSync(found), `${path}${width < FULL ? `.p/${width}` : ""} is missing`);
  return readFileSync(found);
}

/** The leaves of one tile of entries, each behind its length as two bytes. */
function entries(bytes, width, what) {
  const leaves = [];
  for (let at = 0; leaves.length < width; at += 2 + leaves.at(-1).length) {
    must(at + 2 <= bytes.length && at + 2 + bytes.readUInt16BE(at) <= bytes.length, `${what}: truncated`);
    leaves.push(bytes.subarray(at + 2, at + 2 + bytes.readUInt16BE(at)));
  }
  return leaves;
}

/** All leaves of a log of `size`, each level of its tiles held to the one below. */
export function readLeaves(folder, size) {
  const leaves = [];
  for (let index = 0; index * FULL < size; index++) {
    const width = Math.min(FULL, size - index * FULL);
    leaves.push(...entries(tile(folder, "entries", index, width), width, tilePath("entries", index)));
  }
  let hashes = leaves.map(leafHash);
  for (let level = 0; hashes.length > 0; level++) {
    const above = [];
    for (let index = 0; index * FULL < hashes.length; index++) {
      const expected = hashes.slice(index * FULL, (index + 1) * FULL);
      const bytes = tile(folder, level, index, expected.length);
      expected.forEach((hash, at) => {
        const stored = bytes.subarray(at * HASH, (at + 1) * HASH);
        const number = index * FULL + at;
        must(hash.equals(stored), level === 0 ? `leaf ${number} is not the one in the tree` : `hash ${number} of level ${8 * level} is wrong`);
      });
      if (expected.length === FULL) above.push(root(expected));
    }
    hashes = above;
  }
  return leaves;
}

/** The root that a leaf's hash and its path lead to (RFC 9162, 2.1.3.2). */
export function rootOfInclusion(hash, index, size, path) {
  must(index < size, `leaf ${index} of a tree of ${size}`);
  let fn = index, sn = size - 1, found = hash;
  for (const sibling of path) {
    must(sn > 0, "inclusion proof: too long");
    if (fn % 2 === 1 || fn === sn) {
      found = nodeHash(sibling, found);
      while (fn % 2 === 0 && fn > 0) [fn, sn] = [fn / 2, Math.floor(sn / 2)];
    } else found = nodeHash(found, sibling);
    [fn, sn] = [Math.floor(fn / 2), Math.floor(sn / 2)];
  }
  must(sn === 0, "inclusion proof: too short");
  return found;
}

/** Whether a tree of `to` with root `second` goes on from one of `from` with root `first` (RFC 9162, 2.1.4.2). */
export function isConsistent(from, first, to, second, hashes) {
  if (from === to) return hashes.length === 0 && first.equals(second);
  const power = Number.isInteger(Math.log2(from));
  const path = power ? [first, ...hashes] : hashes;
  let fn = from - 1, sn = to - 1;
  while (fn % 2 === 1) [fn, sn] = [Math.floor(fn / 2), Math.floor(sn / 2)];
  let [fr, ...rest] = path, sr = fr;
  if (!fr) return false;
  for (const c of rest) {
    if (sn === 0) return false;
    if (fn % 2 === 1 || fn === sn) {
      [fr, sr] = [nodeHash(c, fr), nodeHash(c, sr)];
      while (fn % 2 === 0 && fn > 0) [fn, sn] = [fn / 2, Math.floor(sn / 2)];
    } else sr = nodeHash(sr, c);
    [fn, sn] = [Math.floor(fn / 2), Math.floor(sn / 2)];
  }
  return sn === 0 && fr.equals(first) && sr.equals(second);
}

/** A C2SP tlog-proof: {index, path, checkpoint}, the latter still to be verified. */
export function parseProof(text) {
  const at = text.indexOf("\n\n");
  const [version, ...lines] = text.slice(0, at).split("\n");
  must(at > 0 && version === "c2sp.org/tlog-proof@v1", `not a tlog-proof: ${version}`);
  if (lines[0]?.startsWith("extra ")) lines.shift();
  const [, index] = /^index (0|[1-9]\d*)$/.exec(lines[0] ?? "") ?? [];
  must(index, `tlog-proof: no index: ${lines[0]}`);
  return { index: Number(index), path: lines.slice(1).map((line) => base64(line, HASH, "proof")), checkpoint: text.slice(at + 2) };
}
