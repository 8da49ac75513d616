// Receipts of intake and erasure, checked offline in the four steps of docs/formats.md.

import { base64, canonical, must, sha256 } from "./encoding.mjs";
import { parseLeaf } from "./leaves.mjs";
import { openCheckpoint, openNote } from "./notes.mjs";
import { leafHash, parseProof, rootOfInclusion } from "./tree.mjs";

const FORMATS = {
  "casevault-intake-receipt-v1": {
    action: "bundle.verified",
    fields: "bundle case format manifest nonce received_at seal sha256 size stamp verified_at",
  },
  "casevault-erasure-receipt-v1": {
    action: "erasure.proven",
    fields: "bundles case cause confirmation erasure format method proven_at requested_at scope",
  },
};

/** A receipt's fields and its leaf's number. `keys`: {log, receipts}, as `verifierKey` gives them. */
export function checkReceipt(document, keys) {
  const form = FORMATS[document.receipt?.format];
  must(form, `receipt: unknown format ${document.receipt?.format}`);
  must(Object.keys(document.receipt).sort().join(" ") === form.fields, "receipt: other fields than its format's");
  const fields = canonical(document.receipt);
  must(openNote(document.note, keys.receipts) === `${fields}\n`, "receipt: its note says something else");
  const leaf = base64(document.leaf, undefined, "leaf"), entry = parseLeaf(leaf);
  must(entry.outcome === "success" && entry.action === form.action, `receipt: bound by ${entry.action}, ${entry.outcome}`);
  must(entry.details?.receipt === sha256(fields).toString("hex"), "receipt: its leaf binds another receipt");
  const proof = parseProof(document.proof), checkpoint = openCheckpoint(proof.checkpoint, keys.log);
  const found = rootOfInclusion(leafHash(leaf), proof.index, checkpoint.size, proof.path);
  must(found.equals(checkpoint.root), "receipt: its leaf is not in the signed tree");
  return { number: proof.index, size: checkpoint.size, ...document.receipt };
}
