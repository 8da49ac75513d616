"""What happened in a service that has run for years: cases, bundles and the entries of their acts. Pure.

- A thousand bundles a tenant, ten stamps a tenant, five bundles a case, two engineers a case; every fifth bundle is
  unclaimed. Four cases of five are closed. Six bundles of ten are erased: by the deadline where the case closed 90 days
  ago, else because the customer asked. Of those left in a closed case a tenth come due in the nine days after `now`.
  Few uploads run, wait for their read-back, or are being erased.
- Every id is made of a number: `name("bun", 245)`. Case 49 has the number 000000000000049, bundles 245 to 249, grants
  98 and 99. So a benchmark can ask for them; the same numbers give the same history, but for times, which end at `now`.
- The entries come in the order of time and agree with the records: nothing is overdue, no read lacks its grant. What is
  left of `entries` is read under grants. With fewer than WHOLE entries a bundle those of a bundle's read-back, of an
  erasure's request and beginning and of a released grant are left out.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from audit.entry import Action, Outcome, canonical
from audit.times import from_microseconds, rfc3339
from retention.custody.erasure.proof import METHOD
from retention.domain.ids import _luhn, read_confirmation
from retention.domain.receipt import ERASURE, body_hash

LEAST, WHOLE = 5, 8
"""Entries a bundle: fewer are no history; from WHOLE on none is left out."""
SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
KEPT = 90 * DAY
SIZE = 2_000_000_000
PART = 67_108_864

Act = tuple[int, int, Action, dict[str, Any]]
"""Moment in microseconds, a number that is the entry's own, its action, and the other arguments of an Entry."""


@dataclass(slots=True)
class Bundle:
    """A bundle; moments in microseconds, None for what did not happen."""

    number: int
    state: str
    at: int
    case: int | None
    due: int | None = None
    erased: int | None = None
    cause: str | None = None

    @property
    def id(self) -> str:
        return name("bun", self.number)

    @property
    def manifest(self) -> str | None:
        return None if self.state == "receiving" else hashlib.sha256(self.id.encode()).hexdigest()


@dataclass(slots=True)
class Erasure:
    """An erasure, of a case or one bundle of it; `proven` is None while it runs."""

    id: str
    case: int
    scope: str
    cause: str
    at: int
    bundles: list[Bundle]
    proven: int | None
    confirmation: str
    entry: str = ""
    body: str = ""


@dataclass(slots=True)
class Case:
    """A case with its five bundles: four of its own, the last one unclaimed."""

    number: int
    opened: int
    closed: int | None
    bundles: list[Bundle]
    erasures: list[Erasure] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)

    @property
    def id(self) -> str:
        return name("cas", self.number)

    @property
    def tenant(self) -> str:
        return name("ten", self.number // 200)


class History:
    """The history of `bundles` (a multiple of 1000) with so many `entries`, up to `now` in microseconds."""

    def __init__(self, bundles: int, entries: int, now: int) -> None:
        if bundles < 1000 or bundles % 1000:
            raise ValueError(f"{bundles} bundles were asked for: it must be a multiple of 1000")
        if entries < LEAST * bundles:
            raise ValueError(
                f"{entries} entries were asked for: {bundles} bundles need at least {LEAST * bundles}"
            )
        self.bundles, self.entries, self.now = bundles, entries, now
        self.cases, self.people = bundles // 5, max(2, bundles // 500)
        self.whole = entries >= WHOLE * bundles
        self._step = max(3 * MINUTE, 200 * DAY // self.cases)
        self.begun = now - 3 * DAY - self.cases * self._step
        self._numbers = iter(range(entries))

    def person(self, number: int) -> str:
        return name("act", number % self.people)

    def subject(self, case: int, place: int) -> str:
        """How the issuer calls one of the case's two engineers."""
        number = case + place * (7 if self.people > 7 else 1)
        return f"person-{number % self.people}@example.com"

    def engineers(self, case: int) -> tuple[str, str]:
        return self.person(case), self.person(case + (7 if self.people > 7 else 1))

    def acts(self, cases: list[Case] | None = None) -> Iterator[Case | Act]:
        """Yield each case when it is opened, and all acts in the order of time; exactly `entries` of them."""
        heap: list[Act] = self._registrations()
        made = len(heap)
        heapq.heapify(heap)
        for number in range(self.cases):
            case = self._case(number)
            while heap and heap[0][0] <= case.opened:
                yield heapq.heappop(heap)
            self._tell(case)
            made += len(case.acts)
            wanted = self.entries * (number + 1) // self.cases - made
            if wanted > 0:
                made += self._read(case, wanted)
            yield case
            for act in case.acts:
                heapq.heappush(heap, act)
            case.acts = []
        if made != self.entries:
            raise AssertionError(f"{made} entries were told instead of {self.entries}")
        while heap:
            yield heapq.heappop(heap)

    def _act(self, at: int, action: Action, actor: str, kind: str, **more: Any) -> Act:
        return at, next(self._numbers), action, {"actor": actor, "actor_kind": kind, **more}

    def _registrations(self) -> list[Act]:
        admin, found = (name("act", 0), "administrator"), []
        for number in range(self.bundles // 1000):
            beside = {"tenant": f"Tenant {number}", "directory": f"directory-{number}"}
            found.append(
                self._act(
                    self.begun,
                    Action.TENANT_REGISTERED,
                    *admin,
                    tenant=name("ten", number),
                    particulars=beside,
                )
            )
        for number in range(self.bundles // 100):
            stamp = {
                "tenant": name("ten", number // 10),
                "subject": name("stp", number),
                "details": {"proactive": "on"},
                "particulars": {"stamp": f"Stamp {number}", "identity": f"stamp-{number}"},
            }
            found.append(
                self._act(self.begun + SECOND, Action.STAMP_REGISTERED, name("act", 1), "operator", **stamp)
            )
        return found

    def _case(self, number: int) -> Case:
        opened = self.begun + DAY + number * self._step
        states = [_state(5 * number + at) for at in range(5)]
        left = any(state != "erased" for state in states[:4])
        closed = None
        if number % 10 < 8:
            recently = self.now - KEPT + (number * 7919 % 81_000) * DAY // 1000 + DAY // 24
            closed = max(opened + 12 * HOUR, recently) if left else opened + 12 * HOUR
        case = Case(number, opened, closed, [])
        for at, state in enumerate(states):
            case.bundles.append(self._bundle(case, 5 * number + at, state))
        case.erasures = list(self._erasures(case))
        return case

    def _bundle(self, case: Case, number: int, state: str) -> Bundle:
        at = case.opened + MINUTE + number % 5 * 20 * SECOND
        if state in ("receiving", "received"):
            at = self.now - HOUR + number % 3600 * SECOND // 2
        elif number % 5 == 4 and state != "erased":  # without a case it is kept for 90 days
            at = max(at, self.now - KEPT + DAY + (number * 7919 % 86) * DAY)
        bundle = Bundle(number, state, at, case.number if number % 5 < 4 else None)
        clock = case.closed if bundle.case is not None else at + MINUTE
        bundle.due = None if clock is None else clock + KEPT
        return bundle

    def _erasures(self, case: Case) -> Iterator[Erasure]:
        own = [each for each in case.bundles if each.case is not None]
        gone = [each for each in own if each.state == "erased"]
        kinds = [("case", gone)] if len(gone) == 4 else [("bundle", [one]) for one in gone[:1]]
        kinds += [("bundle", [one]) for one in gone[1:] if len(gone) < 4]
        kinds += [("bundle", [one]) for one in case.bundles[4:] if one.state == "erased"]
        kinds += [("bundle", [one]) for one in case.bundles if one.state == "erasing"]
        for place, (scope, held) in enumerate(kinds):
            due = held[0].due if held[0].state == "erased" else None
            late = due is not None and due < self.now - HOUR
            at = due if late and due is not None else max(case.opened + 2 * DAY, self.now - 30 * DAY)
            if held[0].state == "erasing":
                at = self.now - 2 * MINUTE
            cause = "deadline" if late else "customer-request"
            proven = None if held[0].state == "erasing" else at
            for one in held:
                one.cause, one.due, one.erased = cause, None, proven
            own_name = name("ers", 8 * case.number + place)
            number = _confirmation(case.number + place * self.cases)
            yield Erasure(own_name, case.number, scope, cause, at, held, proven, number)

    def _tell(self, case: Case) -> None:
        own = {"tenant": case.tenant, "case": case.id}
        number = {"case_number": f"{case.number:015d}"}
        system, act, add = (name("act", 0), "case-system"), self._act, case.acts.append
        opened = {"opened_at": _text(case.opened)}
        add(act(case.opened, Action.CASE_OPENED, *system, **own, details=opened, particulars=number))
        for place, who in enumerate(self.engineers(case.number)):
            beside = {"engineer": self.subject(case.number, place)}
            add(
                act(
                    case.opened + SECOND,
                    Action.CASE_ASSIGNED,
                    *system,
                    **own,
                    subject=who,
                    particulars=beside,
                )
            )
        if case.closed is not None:
            closed = {"closed_at": _text(case.closed)}
            add(act(case.closed, Action.CASE_CLOSED, *system, **own, details=closed, particulars=number))
        self._tell_access(case, own)
        for bundle in case.bundles:
            self._tell_bundle(case, bundle)
        for erasure in case.erasures:
            self._tell_erasure(case, erasure)

    def _tell_access(self, case: Case, own: dict[str, Any]) -> None:
        if case.number % 10 == 0:
            given = consent(case, self.now)
            details = {
                "expires_at": _text(given["until"]),
                "scope": given["scope"],
                "partner": given["company"],
            }
            more = {"subject": given["id"], "details": details, "particulars": {"partner": given["partner"]}}
            case.acts.append(
                self._act(given["at"], Action.CONSENT_GIVEN, name("act", 1), "operator", **own, **more)
            )
        for each in grants(self, case):
            details = {"expires_at": _text(each["until"])}
            if each["consent"]:
                details |= {"consent": each["consent"], "partner": name("ptr", case.number // 10 % 5)}
            beside = {"reason": "Looking into it", "case_number": f"{case.number:015d}"}
            kind = "partner" if each["consent"] else "engineer"
            more = {"subject": each["id"], "details": details, "particulars": beside}
            case.acts.append(self._act(each["at"], Action.GRANT_GIVEN, each["who"], kind, **own, **more))
            if each["ended"] is not None and self.whole:
                why = {"subject": each["id"], "details": {"cause": "released", "engineer": each["who"]}}
                case.acts.append(
                    self._act(each["ended"], Action.GRANT_RELEASED, each["who"], kind, **own, **why)
                )

    def _tell_bundle(self, case: Case, bundle: Bundle) -> None:
        about: dict[str, Any] = {"tenant": case.tenant, "bundle": bundle.id}
        if bundle.case is not None:
            about["case"] = case.id
        stamp, kind = self.person(bundle.number), "stamp"
        details: dict[str, Any] = {
            "type": "on-demand" if bundle.case is not None else "proactive",
            "size": SIZE,
        }
        made = {"subject": name("stp", bundle.number // 100), "details": details}
        if bundle.state != "erased":
            made["particulars"] = {"file_name": "logs.zip"}
        case.acts.append(self._act(bundle.at, Action.UPLOAD_CREATED, stamp, kind, **about, **made))
        if bundle.state == "receiving":
            return
        came = bundle.at + MINUTE
        details = {"received_at": _text(came), "size": SIZE, "parts": 3, "manifest": bundle.manifest}
        case.acts.append(self._act(came, Action.BUNDLE_RECEIVED, stamp, kind, **about, details=details))
        if self.whole and bundle.state != "received":
            details = {"sha256": bundle.manifest, "manifest": bundle.manifest}
            case.acts.append(
                self._act(
                    came + MINUTE, Action.BUNDLE_VERIFIED, "act_clock", "clock", **about, details=details
                )
            )

    def _tell_erasure(self, case: Case, erasure: Erasure) -> None:
        of_case = erasure.bundles[0].case is not None
        own: dict[str, Any] = {"tenant": case.tenant, "subject": erasure.id}
        if of_case:
            own["case"] = case.id
        who = ("act_clock", "clock") if erasure.cause == "deadline" else (name("act", 1), "operator")
        at, why, add = erasure.at, {"cause": erasure.cause}, case.acts.append
        if self.whole:
            details = {**why, "scope": erasure.scope, "bundles": len(erasure.bundles)}
            beside = {"confirmation": erasure.confirmation}
            add(self._act(at, Action.ERASURE_REQUESTED, *who, **own, details=details, particulars=beside))
            for one in erasure.bundles:
                add(self._act(at, Action.BUNDLE_ERASING, *who, **own, bundle=one.id, details=why))
        if erasure.proven is None:
            return
        for one in erasure.bundles:
            gone = {**why, "size": SIZE, "method": METHOD}
            add(self._act(at, Action.BUNDLE_ERASED, "act_clock", "clock", **own, bundle=one.id, details=gone))
        erasure.body = receipt_body(case, erasure)
        proof = {"bundles": len(erasure.bundles), "receipt": body_hash(erasure.body)}
        add(self._act(at, Action.ERASURE_PROVEN, "act_clock", "clock", **own, details=proof))
        erasure.entry = name("ent", case.acts[-1][1])

    def _read(self, case: Case, count: int) -> int:
        """Tell `count` more entries: reads under the case's first grant without a consent, between its other acts."""
        grant = next(each for each in grants(self, case) if each["consent"] is None)
        held = [each for each in case.bundles[:4] if each.at < case.opened + HOUR]
        start, opened = case.opened + HOUR, ""
        for turn in range(count):
            at = start + turn * 7 * HOUR // count
            bundle = held[turn // 3 % len(held)]
            about: dict[str, Any] = {"tenant": case.tenant, "case": case.id, "bundle": bundle.id}
            act = self._other(at, case, about)
            if act is None and turn % 3 == 1 and opened:
                ended = {"subject": grant["id"], "details": {"bytes": SIZE, "opened": opened}}
                act = self._act(at, Action.BUNDLE_READ_ENDED, grant["who"], "engineer", **about, **ended)
            if act is None:
                read = Action.BUNDLE_OPENED if turn % 3 == 0 else Action.BUNDLE_LISTED
                told = {
                    "subject": grant["id"],
                    "particulars": {"subject": self.subject(case.number, grant["place"])},
                }
                act = self._act(at, read, grant["who"], "engineer", **about, **told)
                opened = name("ent", act[1]) if read is Action.BUNDLE_OPENED else opened
            case.acts.append(act)
        return count

    def _other(self, at: int, case: Case, about: dict[str, Any]) -> Act | None:
        """Tell what is rarer than a read: an auditor's question, a refusal, a failure, a rotated key."""
        turn = len(case.acts) + 31 * case.number
        if turn % 20_011 == 3:
            return self._act(at, Action.KEY_ROTATED, "act_clock", "clock")
        if turn % 20_021 == 7:
            failed = {"outcome": Outcome.FAILED, "reason": "internal"}
            return self._act(at, Action.REQUEST_FAILED, self.person(turn), "engineer", **failed)
        if turn % 311 == 1:
            refused = {"outcome": Outcome.REFUSED, "reason": "not-assigned"}
            return self._act(at, Action.BUNDLE_OPENED, self.person(turn), "engineer", **about, **refused)
        if turn % 4 == 3:
            return self._act(at, Action.AUDIT_QUERIED, self.person(turn), "auditor", details={"entries": 50})
        return None


_LETTERS = str.maketrans("0123456789", "abcdefghij")


def name(kind: str, number: int) -> str:
    """Return the id that a number gives: of the form of a real one, with a to j as digits."""
    return f"{kind}_{f'{number:026d}'.translate(_LETTERS)}"


def grants(history: History, case: Case) -> list[dict[str, Any]]:
    """The two grants of a case: in a closed one both are over; in an open one the second is live."""
    found = []
    for place, who in enumerate(history.engineers(case.number)):
        number = 2 * case.number + place
        live = place == 1 and case.closed is None
        at = history.now - 2 * HOUR if live else case.opened + 30 * MINUTE
        found.append(
            {
                "id": name("grn", number),
                "place": place,
                "who": who,
                "consent": name("con", number // 20) if number % 20 == 0 else None,
                "at": at,
                "until": at + 10 * HOUR,
                "ended": None if live or number % 10 >= 8 else case.opened + 10 * HOUR,
            }
        )
    return found


def consent(case: Case, now: int) -> dict[str, Any]:
    """The consent of every tenth case: for all of it, or for its first bundle."""
    number = case.number // 10
    return {
        "id": name("con", number),
        "partner": f"partner-{number % 5}",
        "company": name("ptr", number % 5),
        "scope": "case" if number % 2 == 0 else [name("bun", number * 50)],
        "at": case.opened + 20 * MINUTE,
        "until": now + 30 * DAY,
    }


def receipt_body(case: Case, erasure: Erasure) -> str:
    """The canonical text of an erasure's receipt."""
    told = {
        "format": ERASURE,
        "erasure": erasure.id,
        "confirmation": erasure.confirmation,
        "scope": erasure.scope,
        "cause": erasure.cause,
        "case": f"{case.number:015d}" if erasure.bundles[0].case is not None else "",
        "requested_at": _text(erasure.at),
        "proven_at": _text(erasure.at),
        "method": METHOD,
        "bundles": [
            {
                "bundle": one.id,
                "size": SIZE,
                "sha256": one.manifest or "",
                "manifest": one.manifest or "",
                "erased_at": _text(erasure.at),
            }
            for one in erasure.bundles
        ],
    }
    return canonical(told).decode()


def _state(number: int) -> str:
    if number % 997 == 0:
        return "receiving"
    if number % 1009 == 0:
        return "received"
    if number % 991 == 0:
        return "erasing"
    return "erased" if number % 10 < 6 else "complete"


def _confirmation(number: int) -> str:
    digits = f"{number:015d}"
    written = read_confirmation(f"{digits}{_luhn(digits)}")
    if written is None:
        raise AssertionError(f"{number} makes no confirmation number")
    return written


def _text(at: int) -> str:
    return rfc3339(from_microseconds(at))
