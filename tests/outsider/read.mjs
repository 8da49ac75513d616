#!/usr/bin/env node
// A reader of casevault's files, written from docs/formats.md alone: no code of casevault, no package, Node 20.
//
//   read.mjs bundle STATE BUNDLE [OUTPUT]      open a bundle, check every part and segment, write the plaintext
//   read.mjs log LOG KEYS [KEPT...]            rebuild the tree; every kept checkpoint has to lead to it
//   read.mjs cosigned NOTE LOG-KEY KEYS        a cosigned checkpoint, LOG-KEY and KEYS as `audit keys` gives them
//   read.mjs export LOG KEYS EXPORT            the log, and an export (JSON Lines) held to its leaves
//   read.mjs receipt RECEIPT KEYS              check a receipt offline
//   read.mjs consistency PROOF OLD NEW KEYS    two checkpoints, and what /audit/proofs/consistency said of them
//   read.mjs overdue TIME LOG KEYS             what outlived its deadline
//   read.mjs unaccounted TIME LOG KEYS         reads that nothing allowed, and grants that nobody used
//
// Instead of LOG and KEYS the last two take a file of leaves, one a line, that nobody signed.
// JSON on stdout, exit code 0. What is wrong: one line on stderr, exit code 1.

import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openBundle } from "./bundle.mjs";
import { overdue } from "./deadlines.mjs";
import { base64, canonical, json, must, time, utf8, Wrong, written } from "./encoding.mjs";
import { checkParticulars, parseLeaf, unknownIn } from "./leaves.mjs";
import { COSIGNER, cosignedAt, LOG, openCheckpoint, verifierKey } from "./notes.mjs";
import { unaccounted } from "./reads.mjs";
import { checkReceipt } from "./receipts.mjs";
import { isConsistent, leafHash, readLeaves, root } from "./tree.mjs";

const text = (path) => utf8(readFileSync(path), path);
const document = (path) => json(readFileSync(path), path);

function keys(path) {
  const found = document(path);
  return { log: verifierKey(found.log, LOG), receipts: verifierKey(found.receipts, LOG), witness: found.witness };
}

/** The leaves and entries of a log folder, held to its signed checkpoint. */
function readLog(folder, keyFile) {
  const key = keys(keyFile).log, checkpoint = openCheckpoint(text(join(folder, "checkpoint")), key);
  const leaves = readLeaves(folder, checkpoint.size), hashes = leaves.map(leafHash);
  must(root(hashes).equals(checkpoint.root), "the tree's root is not the signed one");
  return { key, checkpoint, leaves, hashes, entries: leaves.map((leaf, number) => parseLeaf(leaf, `leaf ${number}`)) };
}

/** Entries to replay: of a log, or of a file of leaves. */
function replayed(path, keyFile) {
  if (statSync(path).isDirectory()) return readLog(path, keyFile).entries;
  const lines = readFileSync(path, "utf8").split("\n").filter((line) => line);
  return lines.map((line, number) => parseLeaf(Buffer.from(line), `leaf ${number}`));
}

/** One line of an export, held to the leaf that it is of; a line without a number is not in the tree yet. */
function checkLine(line, leaves) {
  const { leaf_index: number, entry, particulars, salt, redacted_at: redacted } = line;
  if (number === null || number >= leaves.length) return "later";
  must(canonical(entry) === leaves[number].toString(), `export: not what leaf ${number} says`);
  if (entry.particulars === undefined) return "plain";
  if (redacted === null) checkParticulars(entry, salt, particulars, `export: leaf ${number}`);
  else must(salt === null && particulars === null, `export: leaf ${number} is redacted, and tells`);
  return redacted === null ? "bound" : "redacted";
}

const commands = {
  bundle(state, bundle, output) {
    const { plain, ...told } = openBundle(state, bundle);
    if (output) writeFileSync(output, plain);
    return told;
  },

  log(folder, keyFile, ...kept) {
    const { key, checkpoint, hashes, entries } = readLog(folder, keyFile);
    for (const path of kept) {
      const older = openCheckpoint(text(path), key);
      const same = older.size <= hashes.length && root(hashes.slice(0, older.size)).equals(older.root);
      must(same, `${path}: the log does not go on from it`);
    }
    return { size: checkpoint.size, kept: kept.length, unknown: [...new Set(entries.flatMap(unknownIn))] };
  },

  export(folder, keyFile, path) {
    const { leaves } = readLog(folder, keyFile), found = { bound: 0, plain: 0, redacted: 0, later: 0 };
    for (const line of text(path).split("\n").filter((one) => one)) found[checkLine(JSON.parse(line), leaves)]++;
    return found;
  },

  cosigned(note, logKeyFile, witnessKeyFile) {
    const checkpoint = openCheckpoint(text(note), keys(logKeyFile).log);
    return { size: checkpoint.size, at: cosignedAt(text(note), verifierKey(keys(witnessKeyFile).witness, COSIGNER)) };
  },

  receipt: (path, keyFile) => checkReceipt(document(path), keys(keyFile)),

  consistency(proof, old, newer, keyFile) {
    const key = keys(keyFile).log, [first, second] = [old, newer].map((path) => openCheckpoint(text(path), key));
    const hashes = document(proof).hashes.map((hash) => base64(hash, 32));
    must(isConsistent(first.size, first.root, second.size, second.root, hashes), "the proof does not lead from one to the other");
    return { from: first.size, to: second.size };
  },

  overdue(at, ...from) {
    return overdue(replayed(...from), time(at)).map((one) => ({ ...one, due: written(one.due) }));
  },

  unaccounted: (at, ...from) => unaccounted(replayed(...from), time(at)),
};

try {
  const [command, ...words] = process.argv.slice(2);
  must(Object.hasOwn(commands, command ?? ""), `a command is one of ${Object.keys(commands).join(", ")}`);
  console.log(JSON.stringify(commands[command](...words), null, 1));
} catch (error) {
  if (!(error instanceof Wrong)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
