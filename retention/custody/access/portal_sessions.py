"""Sessions of people at the portal: begun after a sign-in at the issuer, renewed there, ended.

Rules:
- A session is found by its secret, which only the browser's cookie holds; the records have its SHA-256. So a copy of
  the records opens no session, and what the issuer gave to renew one is sealed under a key that comes from the secret.
- What a session lets somebody do is what the issuer's token said: subject, roles, directory, partner. It is bound by
  the service's tag, so that a row written into the database is nobody's session.
- It ends `IDLE` after its last request, and at `LONGEST` in any case. Between, once the token's own time is over, it
  counts only if the issuer renews it: a role that goes there goes here within the token's life.
- Starting one and ending one by somebody's act are entries. One that ran out just stops counting; its row is removed
  with the next sign-in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, insert, or_, select, update

from audit.entry import Action
from retention.custody.context import Custody, commit, entry
from retention.domain.actor import Actor, Role
from retention.domain.ids import Kind, new_id
from retention.domain.row_tag import SESSION
from retention.records.tables import actors
from retention.records.tables import portal_sessions as sessions
from retention.records.unit_of_work import Reads

IDLE = timedelta(minutes=30)
LONGEST = timedelta(hours=12)
SEEN_AGAIN = timedelta(minutes=1)
"""How often a session's last request is noted: a page is many requests."""
RENEWAL = timedelta(seconds=30)
"""How long a renewal may take, while other requests of the session go on with what it had. One that fails before is
over at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """What the issuer's tokens said of a person, and until when they count."""

    roles: frozenset[Role]
    directory: str | None
    partner: str | None
    renew_at: datetime
    issuer_session: str | None = None
    sealed: bytes | None = None
    """What the issuer gave to renew or end the session, sealed by the door that knows the secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session that counts now."""

    id: str
    secret_digest: str
    actor_id: str
    issuer: str
    subject: str
    name: str | None
    signed_in: SignedIn
    started_at: datetime
    seen_at: datetime
    ends_at: datetime

    def is_over(self, now: datetime) -> bool:
        """Return True once the session no longer counts, or its last request lies in an impossible future."""
        return now >= self.ends_at or not -LONGEST < now - self.seen_at < IDLE

    def needs_renewal(self, now: datetime) -> bool:
        """Return True once the issuer has to say again what this person is allowed to do."""
        return now >= self.signed_in.renew_at


def digest(secret: bytes) -> str:
    """Return what the records hold of a session's secret."""
    return hashlib.sha256(b"casevault session\0" + secret).hexdigest()


def begin(custody: Custody, actor: Actor, secret: bytes, signed_in: SignedIn) -> str:
    """Begin a session of `actor`; return its id. Rows of sessions that are over are removed."""
    now, id_ = custody.clock.now(), new_id(Kind.SESSION)
    row = {
        "id": id_,
        "secret_digest": digest(secret),
        "actor_id": actor.id,
        "started_at": now,
        "seen_at": now,
        "ends_at": now + LONGEST,
        **_values(signed_in),
    }
    row["tag"] = custody.binding.tag_row(SESSION, row)
    over = or_(sessions.c.ends_at <= now, sessions.c.seen_at <= now - IDLE)

    def work(tx: Any) -> None:
        tx.change(delete(sessions).where(over))
        tx.change(insert(sessions).values(row))
        tx.audit(entry(actor, Action.SESSION_STARTED, now, tenant=actor.tenant, subject=id_))

    commit(custody, work)
    return id_


def find(custody: Custody, secret: bytes) -> Session | None:
    """Return the session of this secret; None when there is none, it is over, or its row is not the service's."""
    now = custody.clock.now()
    with custody.records.read() as reads:
        row = reads.execute(_joined().where(sessions.c.secret_digest == digest(secret))).first()
    if row is None or not custody.binding.holds_row(SESSION, row):
        return None
    session = _session(row)
    if session.is_over(now):
        return None
    if now - session.seen_at >= SEEN_AGAIN:
        own = sessions.c.id == session.id
        custody.records.write(lambda tx: tx.change(update(sessions).where(own).values(seen_at=now)))
    return session


def claim_renewal(custody: Custody, session: Session) -> datetime | None:
    """Claim the renewal of `session`, of several requests for one alone: a token to renew with is good once. Return
    until when it is claimed; None if another request has it."""
    later = custody.clock.now() + RENEWAL
    return later if _put_off(custody, session, session.signed_in.renew_at, later) else None


def give_back_renewal(custody: Custody, session: Session, claimed: datetime) -> None:
    """Give a claim back, when the issuer could not be asked: the session counts again only once it was."""
    _put_off(custody, session, claimed, session.signed_in.renew_at)


def _put_off(custody: Custody, session: Session, renew_at: datetime, to: datetime) -> bool:
    mine = sessions.c.id == session.id, sessions.c.renew_at == renew_at
    values = {"renew_at": to, "tag": custody.binding.tag_row(SESSION, _row_with(session, renew_at=to))}
    return custody.records.write(lambda tx: tx.change(update(sessions).where(*mine).values(values))) == 1


def renewed(custody: Custody, session: Session, signed_in: SignedIn) -> Session | None:
    """Put what the issuer says now in place of what it said before; return the session as it is then, None if it has
    ended meanwhile."""
    values: dict[str, Any] = _values(signed_in)
    row = {**_row_with(session), **values}
    values["tag"] = custody.binding.tag_row(SESSION, row)
    own = sessions.c.id == session.id
    custody.records.write(lambda tx: tx.change(update(sessions).where(own).values(values)))
    with custody.records.read() as reads:
        found = reads.execute(_joined().where(own)).first()
    return None if found is None else _session(found)


def end(custody: Custody, actor: Actor, session_id: str, cause: str) -> bool:
    """End one of the actor's own sessions; return whether there was one. `cause` is a word for the entry."""
    own = sessions.c.id == session_id, sessions.c.actor_id == actor.id
    return _end(custody, actor, own, cause) == 1


def end_by_issuer(custody: Custody, actor: Actor, issuer_session: str | None) -> int:
    """End the sessions that began with this session of the actor at the issuer, or all of theirs; return how many."""
    which = [sessions.c.actor_id == actor.id]
    if issuer_session is not None:
        which.append(sessions.c.issuer_session == issuer_session)
    return _end(custody, actor, tuple(which), "issuer")


def actors_of(reads: Reads, issuer_session: str) -> Sequence[str]:
    """Return whose sessions began with this session at the issuer."""
    own = select(sessions.c.actor_id).where(sessions.c.issuer_session == issuer_session).distinct()
    return reads.execute(own).scalars().all()


def list_own(custody: Custody, actor: Actor) -> Sequence[Session]:
    """List the actor's sessions that count now, the latest used first."""
    now = custody.clock.now()
    own = _joined().where(sessions.c.actor_id == actor.id).order_by(sessions.c.seen_at.desc())
    with custody.records.read() as reads:
        found = [_session(row) for row in reads.execute(own)]
    return [session for session in found if not session.is_over(now)]


def _end(custody: Custody, actor: Actor, which: tuple[Any, ...], cause: str) -> int:
    now = custody.clock.now()

    def work(tx: Any) -> int:
        ended = tx.execute(select(sessions.c.id).where(*which)).scalars().all()
        for id_ in ended:
            tx.change(delete(sessions).where(sessions.c.id == id_))
            tx.audit(entry(actor, Action.SESSION_ENDED, now, tenant=actor.tenant, subject=id_, reason=cause))
        return len(ended)

    return commit(custody, work)


def _joined() -> Any:
    columns = [*sessions.c, actors.c.issuer, actors.c.subject, actors.c.name]
    return select(*columns).join_from(sessions, actors, sessions.c.actor_id == actors.c.id)


def _values(signed_in: SignedIn) -> dict[str, Any]:
    return {
        "roles": " ".join(sorted(signed_in.roles)),
        "directory": signed_in.directory,
        "partner": signed_in.partner,
        "renew_at": signed_in.renew_at,
        "issuer_session": signed_in.issuer_session,
        "sealed": signed_in.sealed,
    }


def _row_with(session: Session, **changes: Any) -> dict[str, Any]:
    kept = ("id", "secret_digest", "actor_id", "ends_at")
    row = {name: getattr(session, name) for name in kept}
    return {**row, **_values(session.signed_in), **changes}


def _session(row: Row[Any]) -> Session:
    said = SignedIn(
        roles=frozenset(map(Role, row.roles.split())),
        directory=row.directory,
        partner=row.partner,
        renew_at=row.renew_at,
        issuer_session=row.issuer_session,
        sealed=row.sealed,
    )
    return Session(
        id=row.id,
        secret_digest=row.secret_digest,
        actor_id=row.actor_id,
        issuer=row.issuer,
        subject=row.subject,
        name=row.name,
        signed_in=said,
        started_at=row.started_at,
        seen_at=row.seen_at,
        ends_at=row.ends_at,
    )
