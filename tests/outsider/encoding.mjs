// How docs/formats.md writes things: hex, base64, times, ids, canonical JSON, length-prefixed fields.

import { createHash } from "node:crypto";

export class Wrong extends Error {}

/** Throws `Wrong` with what was found unless `holds`. */
export function must(holds, what) {
  if (!holds) throw new Wrong(what);
}

export const sha256 = (...pieces) => pieces.reduce((hash, piece) => hash.update(piece), createHash("sha256")).digest();

export function hex(text, bytes, what = "hex") {
  must(typeof text === "string" && /^([0-9a-f]{2})*$/.test(text), `${what}: not lower-case hex: ${text}`);
  must(bytes === undefined || text.length === 2 * bytes, `${what}: ${text.length / 2} bytes, not ${bytes}`);
  return Buffer.from(text, "hex");
}

export function base64(text, bytes, what = "base64") {
  const found = Buffer.from(String(text), "base64");
  must(found.toString("base64") === text, `${what}: not standard base64 with padding: ${text}`);
  must(bytes === undefined || found.length === bytes, `${what}: ${found.length} bytes, not ${bytes}`);
  return found;
}

export function utf8(bytes, what = "text") {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Wrong(`${what}: not UTF-8`);
  }
}

/** Microseconds since 1970: an integer below 2^53 until the year 2255. */
export function time(text, what = "time") {
  const form = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})(\d{3})Z$/.exec(text);
  const milliseconds = form ? Date.parse(`${form[1]}Z`) : NaN;
  must(Number.isFinite(milliseconds), `${what}: not RFC 3339 in UTC with six decimals: ${text}`);
  return milliseconds * 1000 + Number(form[2]);
}

export function written(microseconds) {
  const below = String(microseconds % 1000).padStart(3, "0");
  return new Date(Math.floor(microseconds / 1000)).toISOString().replace("Z", `${below}Z`);
}

export const isId = (text, ...kinds) =>
  typeof text === "string" && /^[a-z]{3}_[a-z2-7]{26}$/.test(text) && (!kinds.length || kinds.includes(text.slice(0, 3)));

/** RFC 8785 of strings, integers, lists and objects alone. */
export function canonical(value) {
  if (typeof value === "string") {
    must(value.isWellFormed(), "a string with half a surrogate pair");
    return JSON.stringify(value);
  }
  if (typeof value === "number") {
    must(Number.isSafeInteger(value), `not an integer below 2^53: ${value}`);
    return String(value);
  }
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  must(value !== null && typeof value === "object", `canonical JSON has no ${value}`);
  const names = Object.keys(value).sort(); // by UTF-16 code units
  return `{${names.map((name) => `${canonical(name)}:${canonical(value[name])}`).join(",")}}`;
}

export function json(bytes, what) {
  try {
    return JSON.parse(utf8(bytes, what));
  } catch (error) {
    if (error instanceof Wrong) throw error;
    throw new Wrong(`${what}: not JSON`);
  }
}

/** What these bytes say, if they are its one canonical form. */
export function fromCanonical(bytes, what) {
  const value = json(bytes, what);
  let again = "";
  try {
    again = canonical(value);
  } catch (error) {
    throw new Wrong(`${what}: ${error.message}`);
  }
  must(again === utf8(bytes, what), `${what}: not canonical JSON`);
  return value;
}

export function number(value, bytes) {
  const into = Buffer.alloc(bytes);
  if (bytes === 8) into.writeBigUInt64BE(BigInt(value));
  else into.writeUIntBE(value, 0, bytes);
  return into;
}

/** The fields of framing 2, each behind its length. */
export function fields(...values) {
  const pieces = values.map((value) => Buffer.from(value));
  return Buffer.concat(pieces.flatMap((piece) => [number(piece.length, 4), piece]));
}
