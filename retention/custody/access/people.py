"""Actors: an opaque id for each person or machine that an issuer vouches for.

The id is random, so an entry does not tell who it was once the name beside it is redacted. Somebody can be assigned
before they first sign in: the id is made when it is first needed. A partner company has such an id too: leaves name it
by that, so that the log alone tells which company read under which consent.

The scope of a role comes from the token's own claims, role by role, and never from another role beside it:

| role | needs | without it |
|---|---|---|
| operator | a directory that is a registered customer's | `directory-missing`, `directory-unknown` |
| stamp | the same, and that this customer registered its subject | the same, `stamp-not-registered` |
| partner's engineer | a partner | `partner-missing` |

Naming an unknown directory is not the same as naming none: it belongs to nobody. Where the issuer cannot name a stamp's
customer, a deployment can do without (`stamps_named` False): then a stamp whose token names none belongs to the
customer who registered its subject first, and a later registration gets none of its bundles. A role that lacks what it
needs is withheld; a caller left with no role is refused, with that reason.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from sqlalchemy import bindparam, insert, select, update

from audit.entry import Action
from retention.custody.access.bound_access import check_row
from retention.custody.context import Custody, alarmed, commit, refuse
from retention.domain.actor import NO_ROLE, OURS_ALONE, WITHHELD, Actor, Role
from retention.domain.grants import Denied
from retention.domain.ids import Kind, new_id, one_spelling
from retention.domain.row_tag import ACTOR, PARTNER, STAMP, TENANT
from retention.records.tables import actors, partners, stamps, tenants
from retention.records.unit_of_work import Transaction


def actor_id(tx: Transaction, custody: Custody, issuer: str, subject: str, name: str | None = None) -> str:
    """Return the opaque id of `subject` at `issuer`, made now if it is new."""
    issuer, subject = one_spelling(issuer), one_spelling(subject)
    row = tx.execute(select(actors).where(actors.c.issuer == issuer, actors.c.subject == subject)).first()
    if row is None:
        fresh = {"id": new_id(Kind.ACTOR), "issuer": issuer, "subject": subject}
        tag = custody.binding.tag_row(ACTOR, fresh)
        more = {"name": name, "first_seen_at": custody.clock.now(), "tag": tag}
        tx.change(insert(actors).values({**fresh, **more}))
        return fresh["id"]
    check_row(custody.binding, ACTOR, row)
    if name is not None and row.name != name:
        tx.change(update(actors).where(actors.c.id == row.id).values(name=name))
    return str(row.id)


def company_id(tx: Transaction, custody: Custody, partner: str) -> str:
    """Return the opaque id of a partner company, made now if it is new."""
    row = tx.execute(select(partners).where(partners.c.name == partner)).first()
    if row is None:
        fresh = {"id": new_id(Kind.PARTNER), "name": partner}
        more = {"first_seen_at": custody.clock.now(), "tag": custody.binding.tag_row(PARTNER, fresh)}
        tx.change(insert(partners).values({**fresh, **more}))
        return fresh["id"]
    check_row(custody.binding, PARTNER, row)
    return str(row.id)


_FIRST = (
    select(stamps)
    .where(stamps.c.subject == bindparam("subject"), stamps.c.deregistered_at.is_(None))
    .order_by(stamps.c.registered_at, stamps.c.id)
    .limit(1)
)
_FIRST_OF_TENANT = _FIRST.where(stamps.c.tenant_id == bindparam("tenant"))


class Directory:
    """The resolver of callers to actors. Ids and tenants never change, so they are cached; stamps are looked up."""

    _MAX = 10_000

    def __init__(self, custody: Custody, *, stamps_named: bool = True) -> None:
        self._custody = custody
        self._stamps_named = stamps_named
        self._lock = threading.Lock()
        self._ids: dict[tuple[str, str, str | None], str] = {}
        self._tenants: dict[str, str] = {}
        self._companies: dict[str, str] = {}

    def resolve(
        self,
        *,
        issuer: str,
        subject: str,
        roles: frozenset[Role],
        directory: str | None,
        partner: str | None,
        name: str | None,
        particulars: Mapping[str, str],
    ) -> Actor:
        """Return the actor of a verified caller; Refused, with an entry, if no role is left.

        The service's own roles are never taken from a caller.
        """
        subject = one_spelling(subject)
        directory, partner = (
            None if name_ is None else one_spelling(name_) for name_ in (directory, partner)
        )
        with alarmed():
            tenant = self._tenant(directory)
            withheld = self._withheld(roles, directory, tenant, partner)
            held = roles - OURS_ALONE - frozenset(withheld)
            own, company = self._id(issuer, subject, name), self._company(held, partner)
            stamp = self._stamp(subject, tenant) if Role.STAMP in held else None
        actor = Actor(
            id=own,
            roles=held,
            tenant=tenant,
            stamp=stamp,
            partner=partner,
            company=company,
            withheld=withheld,
            particulars={"subject": subject, **({"name": name} if name else {}), **particulars},
        )
        if not held:
            why, now = next(iter(withheld.values()), NO_ROLE), self._custody.clock.now()
            denied = Denied(why, WITHHELD[why])
            commit(self._custody, lambda tx: refuse(tx, actor, Action.CALLER_REFUSED, now, denied))
        return actor

    def forget(self, actor_id: str) -> None:
        """Drop an actor from this process's cache; somebody who signs in as they did is new."""
        with self._lock:
            self._ids = {key: known for key, known in self._ids.items() if known != actor_id}

    def _id(self, issuer: str, subject: str, name: str | None) -> str:
        key = (issuer, subject, name)
        known = self._ids.get(key)
        if known is None:
            known = self._custody.records.write(lambda tx: actor_id(tx, self._custody, issuer, subject, name))
            with self._lock:
                if len(self._ids) >= self._MAX:
                    self._ids.clear()
                self._ids[key] = known
        return known

    def _company(self, roles: frozenset[Role], partner: str | None) -> str | None:
        """Return the company that a caller with these roles acts for, if they are a partner's engineer and not ours."""
        if partner is None or Role.PARTNER_ENGINEER not in roles or Role.SUPPORT_ENGINEER in roles:
            return None
        known = self._companies.get(partner)
        if known is None:
            known = self._custody.records.write(lambda tx: company_id(tx, self._custody, partner))
            with self._lock:
                if len(self._companies) >= self._MAX:
                    self._companies.clear()
                self._companies[partner] = known
        return known

    def _tenant(self, directory: str | None) -> str | None:
        if directory is None:
            return None
        known = self._tenants.get(directory)
        if known is None:
            with self._custody.records.read() as reads:
                row = reads.execute(select(tenants).where(tenants.c.directory == directory)).first()
            if row is not None:
                check_row(self._custody.binding, TENANT, row)
                known = self._tenants[directory] = str(row.id)
        return known

    def _stamp(self, subject: str, tenant: str | None) -> str | None:
        """Return the live stamp with this identity, of the customer named by the token; else the first registered one.

        Registering an identity does not prove that it is one's own: a token that names another customer is not this
        customer's stamp, however it is registered. One that names an unknown customer never gets here.
        """
        first, values = (
            (_FIRST, {"subject": subject})
            if tenant is None
            else (_FIRST_OF_TENANT, {"subject": subject, "tenant": tenant})
        )
        with self._custody.records.read() as reads:
            row = reads.execute(first, values).first()
        if row is None:
            return None
        check_row(self._custody.binding, STAMP, row)
        return str(row.id)

    def _withheld(
        self, roles: frozenset[Role], directory: str | None, tenant: str | None, partner: str | None
    ) -> dict[Role, str]:
        """Return those of `roles` that the claims do not support, each with its reason (a code of `WITHHELD`)."""
        lacking: dict[Role, str] = {}
        if directory is None:
            lacking = {Role.OPERATOR: "directory-missing"}
            if self._stamps_named:
                lacking[Role.STAMP] = "directory-missing"
        elif tenant is None:
            lacking = {Role.OPERATOR: "directory-unknown", Role.STAMP: "directory-unknown"}
        if partner is None:
            lacking[Role.PARTNER_ENGINEER] = "partner-missing"
        return {role: why for role, why in lacking.items() if role in roles}
