// Reads that nothing in the log allows, replayed from the leaves alone ("Reads without a grant" of docs/formats.md).

import { Approvals } from "./approvals.mjs";
import { HOLDING } from "./deadlines.mjs";
import { time } from "./encoding.mjs";

const MINUTE = 60e6;
const before = (at, end) => end === undefined || time(at) < end;

class Replay {
  constructor() {
    this.grants = new Map();
    this.consents = new Map();
    this.approvals = new Approvals();
    this.customer = new Map(); // case: tenant
    this.assigned = new Map(); // case: Map of actor: since when
    this.open = new Set();
    this.holder = new Map(); // bundle: case
    this.erasing = new Set();
    this.reads = new Map(); // id of the entry that began it: grant
    this.findings = [];
  }

  take(entry, number) {
    const { action, subject, details = {} } = entry;
    if (action === "bundle.read-ended") return this.end(entry, number);
    if (entry.outcome !== "success") return;
    if (entry.bundle && entry.case && HOLDING.has(action)) this.holder.set(entry.bundle, entry.case);
    switch (action) {
      case "case.opened":
        this.customer.set(entry.case, entry.tenant);
      // falls through
      case "case.reopened":
        this.open.add(entry.case);
        break;
      case "case.closed":
        this.open.delete(entry.case);
        break;
      case "case.assigned":
        if (!this.assigned.has(entry.case)) this.assigned.set(entry.case, new Map());
        this.assigned.get(entry.case).set(subject, time(entry.at));
        break;
      case "case.unassigned":
        this.assigned.get(entry.case)?.delete(subject);
        break;
      case "grant.given":
        this.grants.set(subject, {
          number,
          actor: details.engineer ?? entry.actor,
          case: entry.case,
          until: time(details.expires_at),
          consent: details.consent,
          approval: details.approval,
          unapproved: this.approvals.faults(entry, this.customer.get(entry.case), this.assigned.get(entry.case)),
          used: false,
        });
        break;
      case "approval.withdrawn":
        for (const grant of this.grants.values()) if (grant.approval === subject) grant.ended ??= time(entry.at);
      // falls through
      case "approval-policy.set":
      case "approval.asked":
      case "approval.given":
      case "approval.declined":
      case "approval.lapsed":
        this.approvals.take(entry);
        break;
      case "grant.released":
      case "grant.revoked":
      case "grant.ended":
        if (this.grants.has(subject)) this.grants.get(subject).ended ??= time(entry.at);
        break;
      case "consent.given":
        this.consents.set(subject, { case: entry.case, until: time(details.expires_at), partner: details.partner, scope: details.scope, live: true });
        break;
      case "consent.revoked":
        if (this.consents.has(subject)) this.consents.get(subject).live = false;
        break;
      case "bundle.erasing":
        this.erasing.add(entry.bundle);
        break;
      case "bundle.opened":
      case "bundle.listed":
        this.read(entry, number);
    }
  }

  read(entry, number) {
    const why = [], unsure = [], grant = this.grants.get(entry.subject);
    this.reads.set(entry.id, grant);
    if (!grant) why.push("no such grant");
    else {
      grant.used = true;
      if (grant.actor !== entry.actor) why.push("the grant is somebody else's");
      if (grant.case !== entry.case) why.push("the grant is for another case");
      if (grant.ended !== undefined) why.push("the grant had ended");
      if (!before(entry.at, grant.until)) why.push("the grant had expired");
      why.push(...grant.unapproved);
      this.consented(entry, grant, why, unsure);
    }
    if (!this.assigned.get(entry.case)?.has(entry.actor)) why.push("not assigned");
    if (!this.open.has(entry.case)) why.push("the case is not open");
    if (this.holder.get(entry.bundle) !== entry.case) why.push("the case does not hold the bundle");
    if (this.erasing.has(entry.bundle)) why.push("the bundle is being erased");
    if (why.length) this.findings.push({ number, what: "unallowed", why });
    else if (unsure.length) this.findings.push({ number, what: "cannot-be-told", why: unsure });
  }

  consented(entry, grant, why, unsure) {
    const partner = entry.details?.partner;
    if (grant.consent === undefined) {
      if (partner !== undefined) why.push("a grant without a consent");
      else if (entry.actor_kind === "partner") unsure.push("the read names no company");
      return;
    }
    const covering = entry.details.consent ?? grant.consent;
    for (const id of new Set([grant.consent, covering])) {
      const consent = this.consents.get(id);
      if (!consent) {
        why.push(`no such consent: ${id}`);
        continue;
      }
      if (consent.case !== entry.case) why.push("a consent for another case");
      if (partner === undefined || consent.partner === undefined) unsure.push("read or consent names no company");
      else if (consent.partner !== partner) why.push("a consent to another company");
      if (!consent.live) why.push("the consent was revoked");
      if (!before(entry.at, consent.until)) why.push("the consent had expired");
      if (id === covering && consent.scope !== "case" && !consent.scope.includes(entry.bundle)) why.push("the consent does not cover the bundle");
    }
  }

  end(entry, number) {
    const grant = this.reads.get(entry.details?.opened);
    this.reads.delete(entry.details?.opened);
    if (!grant || entry.outcome !== "success") return;
    const over = Math.min(grant.until, grant.ended ?? Infinity);
    if (time(entry.at) > over + MINUTE) this.findings.push({ number, what: "outlasted", why: ["completed after its grant had ended"] });
  }
}

/** What cannot be accounted for at `now`, by the leaf's number: [{number, what, why}]. */
export function unaccounted(entries, now) {
  const replay = new Replay();
  entries.forEach((entry, number) => replay.take(entry, number));
  const over = (grant) => grant.ended !== undefined || grant.until <= now;
  const unused = [...replay.grants.values()].filter((grant) => over(grant) && !grant.used);
  return [...replay.findings, ...unused.map(({ number }) => ({ number, what: "unused-grant", why: [] }))];
}
