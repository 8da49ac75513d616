// A bundle from files alone: its objects, its wrapped data key, the key-encryption key. No database.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fromCanonical, hex, isId, json, must, sha256 } from "./encoding.mjs";
import { associatedData, digest, open, sealedLength, unwrap } from "./sealing.mjs";

const TRAILER = 38;

/** A manifest that keeps its own rules: end to end from 0, no empty part, none twice. */
export function checkManifest(bytes, bundle) {
  const manifest = fromCanonical(bytes, "manifest");
  const version = /^casevault-manifest-v([12])$/.exec(manifest.format)?.[1];
  must(version, `manifest: unknown format ${manifest.format}`);
  must(manifest.bundle === bundle, `manifest: of ${manifest.bundle}, not of ${bundle}`);
  must(manifest.seal === "AES256_GCM_HKDF_1MB", `manifest: unknown seal ${manifest.seal}`);
  let offset = 0;
  const seen = new Set();
  for (const part of manifest.parts) {
    must(isId(part.part, "prt") && !seen.has(part.part), `manifest: ${part.part} is no part, or comes twice`);
    must(part.offset === offset && part.length >= 1, `manifest: ${part.part} does not lie at ${offset}`);
    must((version === "1") === (part.framing === undefined), `manifest: framing of ${part.part}`);
    hex(part.digest, 32, `digest of ${part.part}`);
    seen.add(part.part);
    offset += part.length;
  }
  must(seen.size > 0, "manifest: no parts");
  return manifest;
}

/** The manifest's bytes, from the sealed manifest with its trailer. */
function openManifest(sealed, dataKey, bundle, id) {
  must(sealed.length > TRAILER, `manifest: ${sealed.length} bytes`);
  const body = sealed.subarray(0, sealed.length - TRAILER), trailer = sealed.subarray(sealed.length - TRAILER);
  const named = trailer.subarray(0, 30).toString("latin1");
  must(named === id, `manifest: calls itself ${named}, and is ${id}`);
  must(trailer.readBigUInt64BE(30) === BigInt(body.length), `manifest: truncated, ${body.length} bytes`);
  return open(body, dataKey, associatedData(2, "manifest", bundle, id), "manifest");
}

/** Part by part in the manifest's order: length, digest, every segment. `read` gives a part's sealed bytes. */
function openParts(manifest, dataKey, read) {
  return Buffer.concat(
    manifest.parts.map((part) => {
      const sealed = read(part);
      must(sealed.length === sealedLength(part.length), `${part.part}: ${sealed.length} bytes, wrong for ${part.length}`);
      must(digest(sealed, part.length).toString("hex") === part.digest, `${part.part}: not the part that was received`);
      const associated = associatedData(part.framing ?? 1, "part", manifest.bundle, part.part);
      return open(sealed, dataKey, associated, part.part);
    }),
  );
}

const told = (manifest, bytes, plain) => ({
  bundle: manifest.bundle, parts: manifest.parts.length, size: plain.length,
  sha256: sha256(plain).toString("hex"), manifest: sha256(bytes).toString("hex"),
});

/** Opens a bundle of a state folder. `by` unwraps its data key, or is the state folder's own key file. */
export function openBundle(state, bundle, by = {}) {
  const objects = join(state, "objects", bundle), place = join(state, "data-keys", `${bundle}.key`);
  must(existsSync(place), `${bundle} has no data key${existsSync(place.replace(/key$/, "destroyed")) ? ": destroyed" : ""}`);
  const file = join(state, "key-encryption-key.json");
  const unwrapping = { file: existsSync(file) ? json(readFileSync(file), "key file") : undefined, ...by };
  const dataKey = unwrap(json(readFileSync(place), "data key"), bundle, unwrapping);
  const names = readdirSync(objects).filter((name) => !name.endsWith(".partial") && !name.startsWith("idx_")); // an index is left aside
  const [sealed, ...others] = names.filter((name) => name.startsWith("mft_"));
  must(sealed && !others.length, `${bundle} has ${sealed ? "more than one" : "no"} manifest`);
  const bytes = openManifest(readFileSync(join(objects, sealed)), dataKey, bundle, sealed.replace(/\.sealed$/, ""));
  const manifest = checkManifest(bytes, bundle);
  const known = new Set([sealed, ...manifest.parts.map((part) => `${part.part}.sealed`)]);
  const stray = names.filter((name) => !known.has(name));
  must(!stray.length, `${bundle} has what its manifest does not name: ${stray}`);
  const plain = openParts(manifest, dataKey, (part) => {
    const path = join(objects, `${part.part}.sealed`);
    must(existsSync(path), `${part.part} is missing`);
    return readFileSync(path);
  });
  return { plain, ...told(manifest, bytes, plain) };
}

/** Opens a bundle of Azure Blob Storage, all in one blob, with its data key. */
export function openBlob(blob, dataKey, bundle) {
  const id = blob.subarray(-TRAILER, -8).toString("latin1");
  const start = blob.length - TRAILER - Number(blob.readBigUInt64BE(blob.length - 8));
  must(isId(id, "mft") && start > 0, "the blob does not end with a manifest");
  const bytes = openManifest(blob.subarray(start), dataKey, bundle, id);
  const manifest = checkManifest(bytes, bundle);
  let at = 0;
  const plain = openParts(manifest, dataKey, (part) => {
    const from = at;
    at += sealedLength(part.length);
    must(at <= start, `${part.part} is missing`);
    return blob.subarray(from, at);
  });
  must(at === start, "the blob holds more than its manifest names");
  return { plain, ...told(manifest, bytes, plain) };
}
