"""The outbox: the notices of an act are written in the act's own transaction.

Rules:
- Notices are made from the entries of a commit, in one place (`TellingRecords`), so no verb can forget one, and an act
  that is undone tells nobody. The verbs know nothing of it.
- Each has a row for each receiver that is there at that moment. A receiver that is added later is told of later acts.
- Rows are bound (`retention.domain.row_tag`): a row that somebody else wrote is never sent. None is written for a
  receiver whose own row is not as bound: it would be genuine, and sent, once that row is put right.
- Where there is no receiver an act costs one look-up of an index; an act that is told nobody costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, insert, select

from audit.entry import parse_leaf
from audit.log.append import WRITTEN
from audit.log.tables import audit_entries
from audit.times import from_microseconds, to_microseconds
from audit.tlog.unaccounted import READS
from retention.domain.ids import Kind as IdKind
from retention.domain.ids import new_id
from retention.domain.notice import DENIED_EVERY, RULES, Audience, Kind, State
from retention.domain.row_tag import NOTICE, RECEIVER, Binding
from retention.records.tables import NOT_REMOVED, erasures, grants, notice_receivers, notices
from retention.records.unit_of_work import Records, Transaction, Work

T = TypeVar("T")
_e = audit_entries.c
_NO_DENIAL = "bundle-"
"""The beginning of reasons that refuse nobody access: the bundle is not complete yet, or is being erased."""


class TellingRecords:
    """Records that write the notices of what a work did before it commits."""

    def __init__(self, records: Records, binding: Binding) -> None:
        self._records, self._binding = records, binding

    @property
    def engine(self) -> Engine:
        return self._records.engine

    def write(self, work: Work[T]) -> T:
        def telling(tx: Transaction) -> T:
            value = work(tx)
            for row in tx.entries:
                _tell(tx, self._binding, dict(zip(WRITTEN, row, strict=True)))
            return value

        return self._records.write(telling)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._records.read() as reads:
            yield reads

    def close(self) -> None:
        self._records.close()


def _tell(tx: Transaction, binding: Binding, said: Mapping[str, Any]) -> None:
    """Write the notices of one entry, given by the columns of its row."""
    rule = RULES.get((said["action"], said["outcome"]))
    if rule is None:
        return
    kind, audience = rule
    told = _receivers(tx, binding, said, audience)
    at = from_microseconds(said["at_us"])
    about = said["case_id"] if kind is Kind.DENIED else said["subject"]
    if told and about is not None:
        told = _unless_known(tx, kind, about, at, said, told)
    for receiver in told if about is not None else ():
        row = {
            "id": new_id(IdKind.NOTICE),
            "receiver_id": receiver,
            "kind": kind,
            "about": about,
            "case_id": said["case_id"],
            "at": at,
            "entry_id": said["entry_id"],
            "state": State.WAITING,
        }
        row["tag"] = binding.tag_row(NOTICE, row)
        tx.change(insert(notices).values(row))


def _receivers(
    tx: Transaction, binding: Binding, said: Mapping[str, Any], audience: Audience
) -> Sequence[str]:
    r = notice_receivers.c
    whose: ColumnElement[bool]
    if audience is Audience.ITSELF:
        whose = r.id == said["subject"]
    elif audience is Audience.CUSTOMER:
        if said["tenant"] is None:
            return []
        whose = r.tenant_id == said["tenant"]
    else:
        whose = r.actor_id == parse_leaf(said["leaf"])["details"]["engineer"]
    found = tx.execute(select(notice_receivers).where(whose, NOT_REMOVED).order_by(r.added_at, r.id)).all()
    return [row.id for row in found if binding.holds_row(RECEIVER, row)]


def _unless_known(
    tx: Transaction, kind: Kind, about: str, at: datetime, said: Mapping[str, Any], told: Sequence[str]
) -> Sequence[str]:
    """Leave out whom an earlier notice told already, and of an erasure that the clock began everybody (P8)."""
    if kind is Kind.ERASED:
        asked = select(erasures.c.on_demand).where(erasures.c.id == about)
        return told if tx.execute(asked).scalar() else []
    if kind is Kind.USED:
        new = _not_told(tx, told, kind, about)
        return new if new and not _was_used(tx, about, said["case_id"]) else []
    if kind is Kind.DENIED:
        if str(said["reason"]).startswith(_NO_DENIAL):
            return []
        return _not_told(tx, told, kind, about, within=(at - DENIED_EVERY, at))
    return told


def _not_told(
    tx: Transaction,
    receivers: Sequence[str],
    kind: Kind,
    about: str,
    within: tuple[datetime, datetime] | None = None,
) -> list[str]:
    """Leave out whom a notice of this kind told of this thing (`within`: after the first moment, to the second)."""
    n = notices.c
    same = n.receiver_id.in_(receivers), n.kind == kind, n.about == about
    late = () if within is None else (n.at > within[0], n.at <= within[1])
    told = set(tx.execute(select(n.receiver_id).where(*same, *late)).scalars())
    return [each for each in receivers if each not in told]


def _was_used(tx: Transaction, grant: str, case: str) -> bool:
    """Tell whether the log has an earlier read under the grant; entries of this transaction are not in it yet."""
    given = tx.execute(select(grants.c.granted_at).where(grants.c.id == grant)).scalar()
    if given is None:
        return False
    under = _e.case_id == case, _e.at_us >= to_microseconds(given), _e.subject == grant
    reads = _e.action.in_([action.value for action in sorted(READS)]), _e.outcome == "success"
    return tx.execute(select(_e.row).where(*under, *reads).order_by(_e.at_us).limit(1)).first() is not None
