// What outlived its deadline, replayed from the leaves alone ("Overdue" and "Unfinished uploads" of docs/formats.md).

import { time } from "./encoding.mjs";

/** The actions whose entries say which case holds a bundle: reads and redactions, say, name a case and move nothing. */
export const HOLDING = new Set(["upload.created", "upload.continued", "bundle.received", "bundle.claimed", "bundle.moved"]);

const SECOND = 1e6, NINETY_DAYS = 90 * 86400 * SECOND;
const earlier = (...moments) => moments.reduce((a, b) => (b === undefined || a < b ? a : b), undefined);

class Replay {
  constructor() {
    this.rules = undefined;
    this.retention = NINETY_DAYS;
    this.closed = new Map(); // case: closed at
    this.bundles = new Map();
  }

  take(entry) {
    const { action, bundle, details = {} } = entry;
    if (action === "upload.created") this.create(entry);
    const held = this.bundles.get(bundle);
    if (held) {
      if (action === "bundle.moved") held.cap = earlier(held.cap, this.deadline(held));
      if (entry.case && HOLDING.has(action)) held.case = entry.case;
    }
    switch (action) {
      case "rules.set":
        this.rules = details;
        this.retention = Math.min(NINETY_DAYS, details.retention_seconds * SECOND);
        break;
      case "case.closed":
        this.closed.set(entry.case, time(details.closed_at));
        break;
      case "case.reopened":
        this.closed.delete(entry.case);
        break;
      case "bundle.received":
        if (held) Object.assign(held, { received: time(details.received_at), finished: true });
        break;
      case "upload.continued":
        if (held) this.proceed(held, entry);
        break;
      case "bundle.erased":
        this.bundles.delete(bundle);
        break;
    }
  }

  create(entry) {
    const held = { created: time(entry.at), partial: entry.details?.type === "partial", finished: false };
    this.bundles.set(entry.bundle, held);
    this.keep(held, held.created);
    for (const partial of entry.details?.partials ?? []) {
      const part = this.bundles.get(partial);
      if (part) part.finished = true;
    }
  }

  proceed(held, entry) {
    const { from, to, of, staged } = entry.details ?? {};
    const complete = !held.partial && of !== undefined && to === of;
    if (to > from || to === 0 || staged !== undefined) this.keep(held, time(entry.at));
    else if (!complete) return;
    held.finished = complete;
  }

  /** An entry that keeps an upload, under the rules in force. */
  keep(held, at) {
    held.expires = this.rules && Math.min(
      at + this.rules.upload_seconds * SECOND,
      held.created + this.rules.upload_longest_seconds * SECOND,
    );
  }

  deadline(held) {
    const since = held.case === undefined ? held.received ?? held.created : this.closed.get(held.case);
    return earlier(held.cap, since === undefined ? undefined : since + this.retention);
  }

  due(held) {
    return earlier(this.deadline(held), held.finished ? undefined : held.expires);
  }
}

/** The bundles whose deadline has come at `now`: [{bundle, case, due}], in the order of creation. */
export function overdue(entries, now) {
  const replay = new Replay();
  for (const entry of entries) if (entry.outcome === "success") replay.take(entry);
  return [...replay.bundles]
    .map(([bundle, held]) => ({ bundle, case: held.case, due: replay.due(held) }))
    .filter(({ due }) => due !== undefined && due <= now);
}
