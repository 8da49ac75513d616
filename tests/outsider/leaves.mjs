// The grammar of an audit leaf, and what stands beside it, as docs/formats.md states them.

import { canonical, fromCanonical, hex, isId, must, sha256, time } from "./encoding.mjs";

const LONGEST = 65535, WORDS = /^[a-z]+(-[a-z]+)*$/;
const KINDS = "clock upload-link administrator case-system auditor stamp operator partner engineer unknown".split(" ");
const isOf = (...kinds) => (value) => isId(value, ...kinds);
const isInteger = Number.isSafeInteger;
const isText = (value) => typeof value === "string";
const isList = (value) => Array.isArray(value) && value.every(isText);

/** The members of a leaf, and what each may be. */
const MEMBERS = {
  v: (value) => value === 1,
  id: isOf("ent"),
  at: isTime,
  action: (value) => typeof value === "string" && value.split(".").length === 2 && value.split(".").every((part) => WORDS.test(part)),
  outcome: (value) => ["success", "refused", "failed"].includes(value),
  actor: (value) => ["act_clock", "act_unknown"].includes(value) || isId(value, "act", "lnk"),
  actor_kind: (value) => KINDS.includes(value),
  reason: (value) => typeof value === "string" && WORDS.test(value),
  tenant: isOf("ten"),
  case: isOf("cas"),
  bundle: isOf("bun"),
  subject: (value) => isId(value),
  details: isDetails,
  particulars: isHash,
};
const ALWAYS = ["v", "id", "at", "action", "outcome", "actor", "actor_kind"];

function isTime(value) {
  try {
    return Number.isFinite(time(value));
  } catch {
    return false;
  }
}

function isHash(value) {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}

function isDetails(value) {
  const plain = typeof value === "object" && !Array.isArray(value) && Object.keys(value).length > 0;
  return plain && Object.values(value).every((one) => isText(one) || isInteger(one) || isList(one));
}

const times = Object.fromEntries("opened_at closed_at reopened_at received_at expires_at lapses_at sure begun_at until".split(" ").map((name) => [name, isTime]));
const hashes = { manifest: isHash, sha256: isHash, receipt: isHash };
const READ = { ranges: isList, range_count: isInteger, asked_bytes: isInteger, consent: isOf("con") };
const GRANT_END = { cause: isText, engineer: isOf("act") };
const RULES = ("retention_seconds upload_seconds upload_longest_seconds consent_longest_seconds grant_shortest_seconds " +
  "grant_longest_seconds read_recheck_seconds max_bundle_size stamp_quota case_quota max_partials").split(" ");
const integers = (...names) => Object.fromEntries(names.map((name) => [name, isInteger]));

const COUNTED = { count: isInteger, first: isTime, last: isTime };
const SHOWN = { of: isText, by: isText, ...COUNTED };

/** By action of a success: the kind of its subject, and the details that it may have. */
const SUCCESS = {
  "tenant.registered": ["", {}],
  "stamp.registered": ["stp", { proactive: isText }],
  "proactive-consent.set": ["stp", { proactive: isText }],
  "stamp.deregistered": ["stp", {}],
  "case.opened": ["", times],
  "case.closed": ["", times],
  "case.reopened": ["", times],
  "case.assigned": ["act", {}],
  "case.unassigned": ["act", {}],
  "upload.created": ["stp", { type: isText, size: isInteger, partials: isList }],
  "upload.continued": ["lnk", { ...integers("from", "to", "of", "blocks", "staged"), type: isText, window: isText }],
  "upload.terminated": ["", integers("kept", "size")],
  "upload.expired": ["", integers("kept", "size")],
  "bundle.received": ["", { ...times, ...hashes, ...integers("size", "parts"), partials: isList }],
  "bundle.verified": ["", { ...hashes, mended: isText }],
  "bundle.claimed": ["", {}],
  "bundle.moved": ["cas", {}],
  "bundle.opened": ["grn", READ],
  "bundle.listed": ["grn", READ],
  "bundle.read-ended": ["grn", { opened: isOf("ent"), bytes: isInteger }],
  "grant.given": ["grn", { ...times, consent: isOf("con"), engineer: isOf("act"), approval: isOf("apr") }],
  "review.signed-off": ["grn", { engineer: isOf("act"), ...integers("reads", "bytes") }],
  "review.questioned": ["grn", { engineer: isOf("act"), ...integers("reads", "bytes") }],
  "notice-receiver.added": ["rcv", { way: isText }],
  "notice-receiver.removed": ["rcv", { way: isText }],
  "notice-receiver.tested": ["rcv", { way: isText }],
  "approval-policy.set": ["any", { rule: isText, ...integers("long_minutes", "live_grants") }],
  "approval.asked": ["apr", { ...times, duration_seconds: isInteger }],
  "approval.given": ["apr", { engineer: isOf("act") }],
  "approval.declined": ["apr", { engineer: isOf("act") }],
  "approval.lapsed": ["apr", { engineer: isOf("act") }],
  "approval.withdrawn": ["apr", { engineer: isOf("act") }],
  "grant.released": ["grn", GRANT_END],
  "grant.revoked": ["grn", GRANT_END],
  "grant.ended": ["grn", GRANT_END],
  "consent.given": ["con", { ...times, scope: (value) => value === "case" || isList(value) }],
  "consent.revoked": ["con", {}],
  "erasure.requested": ["ers", { cause: isText, scope: isText, bundles: isInteger, hastened: isText }],
  "bundle.erasing": ["ers", { cause: isText }],
  "bundle.erased": ["ers", { cause: isText, size: isInteger, method: isText }],
  "erasure.proven": ["ers", { bundles: isInteger, ...hashes }],
  "key.rotated": ["", { step: isText, from: isText, key: isText, ...integers("rewrapped", "left"), bundles: isList }],
  "upload-link.created": ["lnk", { permissions: isText, ...times, stamp: isOf("stp") }],
  "upload-link.renewed": ["lnk", { ...times, before: isText }],
  "upload-link.revoked": ["lnk", {}],
  "upload-link.used": ["lnk", { ...COUNTED, operation: isText }],
  "record.shown": ["any", SHOWN],
  "records.listed": ["any", SHOWN],
  "receipt.shown": ["any", SHOWN],
  "leaves.shown": ["any", SHOWN],
  "store.scrubbed": ["", { ...times, ...integers("checked", "bytes", "damaged", "unjudged") }],
  "witness.waived": ["", { size: isInteger, ...times }],
  "witness.resumed": ["", {}],
  "tiles.rebuilt": ["", integers("from", "to")],
  "audit.queried": ["", { entries: isInteger, report: isText }],
  "audit.exported": ["", { format: isText }],
  "log.adopted": ["", integers("from", "to")],
  "records.reconciled": ["", integers("erasing", "keyless", "unrecorded", "unrecorded_count")],
  "time.trusted": ["", { ...times, ...integers("ahead_seconds", "moved_seconds") }],
  "time.confirmed": ["", { ...times, moved_seconds: isInteger }],
  "rules.set": ["", { version: isText, ...integers(...RULES) }],
  "entry.redacted": ["ent", {}],
  "actor.redacted": ["act", {}],
};

/** A leaf's entry, if the leaf keeps the grammar. */
export function parseLeaf(leaf, what = "leaf") {
  must(leaf.length <= LONGEST, `${what}: ${leaf.length} bytes`);
  const entry = fromCanonical(leaf, what);
  for (const name of ALWAYS) must(name in entry, `${what}: has no ${name}`);
  for (const [name, value] of Object.entries(entry)) {
    must(Object.hasOwn(MEMBERS, name), `${what}: unknown member ${name}`);
    must(MEMBERS[name](value), `${what}: ${name} is ${canonical(value)}`);
  }
  must((entry.outcome === "success") === !("reason" in entry), `${what}: ${entry.outcome}, reason ${entry.reason}`);
  if (entry.outcome === "success") checkSuccess(entry, what);
  return entry;
}

function checkSuccess(entry, what) {
  const [subject, details] = SUCCESS[entry.action] ?? ["any", {}];
  const kinds = subject === "any" ? [] : [subject];
  must(!("subject" in entry) || (subject && isId(entry.subject, ...kinds)), `${what}: ${entry.action}, subject ${entry.subject}`);
  const may = { ...details, partner: isOf("ptr") };
  for (const [name, value] of Object.entries(entry.details ?? {})) {
    must(!Object.hasOwn(may, name) || may[name](value), `${what}: ${entry.action}, ${name} is ${canonical(value)}`);
  }
}

/** What this reader has never heard of in an entry: its action, or details of it. Later versions may write more. */
export function unknownIn({ action, outcome, details }) {
  if (outcome !== "success") return [];
  if (!Object.hasOwn(SUCCESS, action)) return [action];
  return Object.keys(details ?? {}).filter((name) => name !== "partner" && !Object.hasOwn(SUCCESS[action][1], name));
}

/** Whether what stands beside an entry is what its leaf binds. */
export function checkParticulars(entry, salt, particulars, what) {
  must(entry.particulars !== undefined, `${what}: its leaf binds no particulars`);
  const found = sha256(hex(salt, 16, "salt"), canonical(particulars)).toString("hex");
  must(found === entry.particulars, `${what}: particulars are not those of its leaf`);
}
