// What a grant needs of an approval ("Approvals, from the leaves alone" of docs/formats.md).

import { time } from "./encoding.mjs";

const MINUTE = 60e6, SECOND = 1e6;
const NOT_THEIRS = new Set(["engineer", "partner", "clock", "upload-link", "unknown"]);

export class Approvals {
  constructor() {
    this.policies = new Map(); // case, or customer: {rule, long}
    this.requests = new Map();
  }

  take({ action, subject, actor, actor_kind, at, tenant, case: of, details = {} }) {
    const request = this.requests.get(subject);
    if (action === "approval-policy.set") this.policies.set(of ?? tenant, { rule: details.rule, long: details.long_minutes * MINUTE });
    else if (action === "approval.asked")
      this.requests.set(subject, { case: of, asker: actor, lapses: time(details.lapses_at), lasts: details.duration_seconds * SECOND });
    else if (!request || request.given !== undefined) return;
    else if (action === "approval.given") {
      request.given = time(at);
      request.fair = !request.over && actor !== request.asker && !NOT_THEIRS.has(actor_kind) && request.given < request.lapses;
    } else request.over = true;
  }

  asks(grant, customer, assigned = new Map()) {
    let policy = this.policies.get(grant.case);
    if (policy === undefined || policy.rule === "inherited") policy = this.policies.get(customer);
    if (policy === undefined || policy.rule === "see") return false;
    if (policy.rule !== "own-cases") return true;
    const [owner] = [...assigned].sort(([a, since], [b, then]) => since - then || (a < b ? -1 : 1))[0] ?? [];
    const isPartners = grant.actor_kind === "partner" || grant.details.partner !== undefined;
    return isPartners || grant.actor !== owner || time(grant.details.expires_at) - time(grant.at) > policy.long;
  }

  /** What the grant lacks, if anything. */
  faults(grant, customer, assigned) {
    const { approval, engineer = grant.actor, expires_at } = grant.details;
    if (approval === undefined && engineer === grant.actor && !this.asks(grant, customer, assigned)) return [];
    const request = this.requests.get(approval);
    if (request?.given === undefined) return ["nobody approved the grant"];
    const why = [];
    if (!request.fair) why.push("the approval was not the customer's, or too late");
    if (request.case !== grant.case || request.asker !== engineer) why.push("the approval was for another grant");
    if (request.used) why.push("the approval was for one grant");
    if (time(expires_at) > request.given + request.lasts) why.push("the grant lasts longer than was asked for");
    request.used = true;
    return why;
  }
}
