"""The check that the database's schema is what the migrations made, and nothing else.

Triggers, rules, views and policies act behind the service's back: one of them can delete an entry as it is written
(P3).

Rules:
- The expected schema is derived from the tables that the service declares, never from what is found.
- Anything that runs code, hides or rewrites rows, or refuses them is foreign: triggers, rules, views, row security,
  other constraints, columns, defaults, unique indexes, and indexes over expressions. While there is any, nothing opens.
- An additional plain index is an administrator's own business: it is reported, and stops nothing.
- A database brought to a newer version meanwhile is not altered: its columns, indexes and constraints cannot be judged
  here, so nothing opens in this process, and all else goes on until a process of the newer version replaces it. No
  version makes things that act behind the service's back, so a newer version is no cover for them.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Connection,
    ForeignKeyConstraint,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    create_engine,
    inspect,
    text,
)
from sqlalchemy.dialects import postgresql

from audit.log.tables import metadata as audit_metadata
from retention.domain.faults import Unavailable
from retention.records.migrate import newest_version
from retention.records.tables import metadata
from retention.records.unit_of_work import Records

LOG = logging.getLogger(__name__)
FOREIGN, NEWER = "database-altered", "newer-schema"
LOOK_SECONDS = 10.0
_VERSIONS = "alembic_version"
_TABLES: tuple[Table, ...] = (*metadata.sorted_tables, *audit_metadata.sorted_tables)
_NAMES = frozenset(table.name for table in _TABLES)


@dataclass(frozen=True, slots=True)
class Schema:
    """The differences found between the live schema and the declared one."""

    foreign: tuple[str, ...] = ()
    """Foreign things, a sentence each; while there is one nothing is opened."""
    indexes: tuple[str, ...] = ()
    """Plain indexes that the service did not make."""
    newer: str | None = None
    """The database's version, if unknown to this program; of the rest, only things that act are reported then."""


def inspect_schema(connection: Connection) -> Schema:
    """Compare the live schema of a database with the declared one."""
    on_postgres = connection.dialect.name == "postgresql"
    acting = tuple(_acting_on_postgres(connection) if on_postgres else _acting_on_sqlite(connection))
    versions = _versions(connection)
    if len(versions) != 1:
        return Schema(foreign=(*acting, f"{_VERSIONS} names {len(versions)} versions: it must name one"))
    if versions[0] > newest_version():
        return Schema(foreign=acting, newer=versions[0])
    found = _postgres(connection) if on_postgres else _sqlite(connection)
    return replace(found, foreign=(*acting, *found.foreign))


def _versions(connection: Connection) -> Sequence[str]:
    """Read the versions that the migrations left; none where their table is gone."""
    if not inspect(connection).has_table(_VERSIONS):
        return ()
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars()
    return [str(version) for version in found]


class SchemaWatch:
    """A cache of the schema check for LOOK_SECONDS. A background thread that looks more often keeps requests from
    waiting. Safe from many threads."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._monotonic = monotonic
        self._looked: float | None = None
        self._found = Schema()

    def look(self, records: Records, seconds: float = LOOK_SECONDS) -> Schema:
        """Return a result that is at most `seconds` old."""
        with self._lock:
            now = self._monotonic()
            if self._looked is None or now - self._looked >= seconds:
                with records.read() as reads:
                    found = inspect_schema(reads)
                if found.foreign and found != self._found:
                    LOG.critical("the database's schema was altered: %s", "; ".join(found.foreign))
                if found.newer and found != self._found:
                    LOG.error("%s", _newer(found.newer))
                self._found, self._looked = found, now
            return self._found

    def require(self, records: Records) -> None:
        """Raise Unavailable while anything foreign is in the database, or it has a newer version."""
        found = self.look(records)
        if found.newer and not found.foreign:
            raise Unavailable(_newer(found.newer), reason=NEWER)
        if found.foreign:
            raise Unavailable(
                "the database was altered outside the service; nothing is opened until that is undone: `casevault "
                "doctor` says what was altered",
                reason=FOREIGN,
            )


def _newer(version: str) -> str:
    return (
        f"the database was brought to version {version}, and this program knows versions up to {newest_version()}: it "
        "no longer opens anything; use the newer program"
    )


def refuse_foreign(records: Records) -> None:
    """At a start, raise Unavailable that names what is foreign, if anything."""
    with records.read() as reads:
        found = inspect_schema(reads).foreign
    if found:
        raise Unavailable(
            f"the database was altered outside the service: {'; '.join(found)}; remove it, and find out who did it",
            reason=FOREIGN,
        )


def _different(
    what: str, expected: Mapping[str, Iterable[str]], found: Mapping[str, Iterable[str]]
) -> Iterator[str]:
    """Yield the differences between two sets of facts, by table."""
    for table in sorted({*expected, *found} & _NAMES):
        wanted, there = set(expected.get(table, ())), set(found.get(table, ()))
        for fact in sorted(there - wanted):
            yield f"table {table} has a foreign {what}: {fact}"
        for fact in sorted(wanted - there):
            yield f"table {table} lacks its {what}: {fact}"


def _grouped(rows: Iterable[Sequence[Any]]) -> dict[str, list[str]]:
    """Group rows by the first column, joining the others."""
    found: dict[str, list[str]] = {}
    for table, *facts in rows:
        if table != _VERSIONS:
            found.setdefault(table, []).append(" ".join(str(fact) for fact in facts))
    return found


# SQLite: the same queries to the live database and to one made from the declared tables in memory.

_OBJECTS = "SELECT type, name, tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
_FACTS = {
    "column": "SELECT m.name, c.name, c.type, c.\"notnull\", c.pk, c.hidden, trim(coalesce(c.dflt_value, ''), '''') "
    "FROM sqlite_master m, pragma_table_xinfo(m.name) c WHERE m.type = 'table'",
    "foreign key": 'SELECT m.name, f."from", f."table", f."to", f.on_update, f.on_delete '
    "FROM sqlite_master m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table'",
    "unique index": "SELECT m.name, CASE WHEN i.origin = 'c' THEN i.name ELSE i.origin END, "
    "(SELECT group_concat(coalesce(x.name, '?') || ' ' || x.coll || ' ' || x.\"desc\") "
    "FROM pragma_index_xinfo(i.name) x WHERE x.key), "
    "coalesce((SELECT s.sql FROM sqlite_master s WHERE s.name = i.name AND i.origin = 'c'), '') "
    "FROM sqlite_master m, pragma_index_list(m.name) i WHERE m.type = 'table' AND i.\"unique\"",
}
_CLAUSES = re.compile(
    r"\bCHECK\b\s*\(.*?\)(?=\s*[,)])|\bON\s+CONFLICT\s+\w+|\bCOLLATE\s+\w+|\bGENERATED\b|\bAUTOINCREMENT\b|\bSTRICT\b"
    r"|\bWITHOUT\s+ROWID\b|\bDEFERRABLE\b",
    re.IGNORECASE | re.DOTALL,
)


def _acting_on_sqlite(connection: Connection) -> Iterator[str]:
    """Find what runs code, or takes the place of a table."""
    for kind, name, table in connection.execute(text(_OBJECTS)):
        if kind in ("trigger", "view"):
            yield f"there is a foreign {kind} {name} on {table}"
    if connection.execute(text("SELECT count(*) FROM sqlite_temp_master")).scalar():
        yield "there are temporary objects on this connection"


def _sqlite(connection: Connection) -> Schema:
    declared, found = _declared_on_sqlite(), _facts_on_sqlite(connection)
    objects = {(kind, name): table for kind, name, table in connection.execute(text(_OBJECTS))}
    foreign = [
        f"there is a foreign table {name}"
        for kind, name in objects
        if kind == "table" and name not in _NAMES | {_VERSIONS}
    ]
    foreign += [f"table {name} is missing" for name in sorted(_NAMES) if ("table", name) not in objects]
    for what, facts in declared.items():
        foreign += _different(what, facts, found[what])
    ours = {index.name for table in _TABLES for index in table.indexes}
    more = {name: table for (kind, name), table in objects.items() if kind == "index" and name not in ours}
    plain, odd = _own_indexes(connection, more)
    return Schema((*foreign, *odd), tuple(plain))


def _own_indexes(connection: Connection, more: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Split foreign indexes into those that only order columns, and those that compute."""
    plain: list[str] = []
    odd: list[str] = []
    for name, table in sorted(more.items()):
        columns = connection.execute(text("SELECT cid FROM pragma_index_xinfo(:name)"), {"name": name})
        partial = connection.execute(
            text('SELECT partial FROM pragma_index_list(:table) WHERE name = :name AND "unique" = 0'),
            {"table": table, "name": name},
        ).scalar()
        computes = any(cid == -2 for cid in columns.scalars()) or bool(partial)
        (odd if computes else plain).append(f"there is a foreign index {name} on {table}")
    return plain, odd


def _facts_on_sqlite(connection: Connection) -> dict[str, dict[str, list[str]]]:
    facts = {what: _grouped(connection.execute(text(query))) for what, query in _FACTS.items()}
    written = connection.execute(
        text("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    )
    facts["clause"] = {
        name: [" ".join(clause.split()).upper() for clause in _CLAUSES.findall(sql)]
        for name, sql in written
        if name != _VERSIONS
    }
    facts["unique index"] = {
        table: [" ".join(fact.replace('"', "").split()) for fact in found]
        for table, found in facts["unique index"].items()
    }
    return {
        what: {table: found for table, found in by.items() if not table.startswith("sqlite_")}
        for what, by in facts.items()
    }


@cache
def _declared_on_sqlite() -> dict[str, dict[str, list[str]]]:
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            for tables in (metadata, audit_metadata):
                tables.create_all(connection)
            return _facts_on_sqlite(connection)
    finally:
        engine.dispose()


# PostgreSQL: the catalog, compared with what the declared tables come to.

_ACTING = {
    "relations": "SELECT c.relname, c.relkind, c.relrowsecurity OR c.relforcerowsecurity "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() "
    "AND c.relkind IN ('r', 'v', 'm', 'f', 'p')",
    "acting": "SELECT c.relname, 'trigger ' || t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() "
    "AND (NOT t.tgisinternal OR t.tgenabled <> 'O') "
    "UNION ALL SELECT c.relname, 'rule ' || r.rulename FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() AND c.relkind = 'r' "
    "UNION ALL SELECT c.relname, 'policy ' || p.polname FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() "
    "UNION ALL SELECT c.relname, 'inheritance' FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema()",
    "elsewhere": "SELECT c.relname, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = ANY (current_schemas(true)) AND n.nspname <> current_schema() AND c.relkind IN "
    "('r', 'v', 'm', 'f', 'p') AND n.nspname <> 'pg_catalog'",
    "session": "SELECT (current_schemas(true))[1], current_setting('session_replication_role')",
    "events": "SELECT evtname FROM pg_event_trigger WHERE evtenabled <> 'D'",
}
_CATALOG = {
    "columns": "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, "
    "a.attgenerated, coalesce(l.collname, ''), coalesce(pg_get_expr(d.adbin, d.adrelid), '') "
    "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
    "LEFT JOIN pg_collation l ON l.oid = a.attcollation "
    "WHERE n.nspname = current_schema() AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped",
    "constraints": "SELECT c.relname, pg_get_constraintdef(k.oid), k.condeferrable, k.convalidated "
    "FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = current_schema() AND k.contype <> 'n'",
    "indexes": "SELECT c.relname, x.relname, i.indisunique, i.indexprs IS NOT NULL, "
    "coalesce(pg_get_expr(i.indpred, i.indrelid), ''), "
    "(SELECT string_agg(pg_get_indexdef(i.indexrelid, k, true), ',') FROM generate_series(1, i.indnkeyatts) k) "
    "FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() AND NOT EXISTS "
    "(SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))",
}
_PLAIN_TABLES = (
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = current_schema() AND c.relkind = 'r'"
)
_WORDS = re.compile(r"'[^']*'|\b[a-z_][a-z_0-9]*\b")
_CASTS = re.compile(r"::[a-z ]+(\[\])?")
_NOT_WORDS = frozenset(
    {
        "not",
        "null",
        "is",
        "and",
        "or",
        "in",
        "all",
        "any",
        "array",
        "true",
        "false",
        "text",
        "character",
        "varying",
    }
)


_KINDS = {"v": "view", "m": "materialized view", "f": "foreign table", "p": "partitioned table"}


def _acting_on_postgres(connection: Connection) -> Iterator[str]:
    """Find what runs code, hides or rewrites rows, or takes the place of a table."""
    found = {name: connection.execute(text(query)).all() for name, query in _ACTING.items()}
    for name, kind, row_security in found["relations"]:
        if kind != "r":
            yield f"there is a foreign {_KINDS[kind]} {name}"
        elif row_security:
            yield f"table {name} has row security"
    yield from (f"table {table} has a foreign {what}" for table, what in found["acting"])
    for table, schema in _hiding(found["elsewhere"]):
        yield f"{schema}.{table} hides a table of the service"
    for first, replication in found["session"]:
        if (first, replication) != ("pg_catalog", "origin"):
            yield "search_path or session_replication_role was changed for this role or database"
    yield from (f"there is a foreign event trigger {name}" for (name,) in found["events"])


def _postgres(connection: Connection) -> Schema:
    found = {name: connection.execute(text(query)).all() for name, query in _CATALOG.items()}
    tables = set(connection.execute(text(_PLAIN_TABLES)).scalars())
    foreign = [f"there is a foreign table {name}" for name in sorted(tables - _NAMES - {_VERSIONS})]
    foreign += [f"table {name} is missing" for name in sorted(_NAMES - tables)]
    declared = _declared_on_postgres()
    foreign += _different("column", declared["columns"], _grouped(_columns(found["columns"])))
    foreign += _different("constraint", declared["constraints"], _grouped(found["constraints"]))
    more, odd = _indexes(found["indexes"], declared["indexes"])
    return Schema((*foreign, *odd), tuple(more))


def _hiding(elsewhere: Sequence[Any]) -> Iterator[tuple[str, str]]:
    return ((name, schema) for name, schema in elsewhere if name in _NAMES)


def _columns(rows: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for table, name, type_, not_null, identity, generated, collation, default in rows:
        collated = collation if collation not in ("default", "") else ""
        made = "serial" if default.startswith("nextval(") else _CASTS.sub("", default).strip("'")
        yield table, name, type_, not_null, identity + generated, collated, made


def _indexes(rows: Sequence[Any], declared: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Split indexes into others' plain ones, and odd ones: ours changed or gone, others' that refuse or compute."""
    plain: list[str] = []
    odd: list[str] = []
    there = set()
    for table, name, unique, computes, predicate, columns in rows:
        if name in declared:
            there.add(name)
            if computes or declared[name] != _index(table, unique, columns, predicate):
                odd.append(f"index {name} on {table} is not as it was made")
        elif unique or computes or predicate:
            odd.append(f"there is a foreign index {name} on {table}")
        else:
            plain.append(f"there is a foreign index {name} on {table}")
    odd += [f"index {name} is missing" for name in sorted(set(declared) - there)]
    return plain, odd


def _index(table: str, unique: bool, columns: str, predicate: str) -> str:
    """Describe an index; by its predicate's names and values only, because the server writes it in its own way."""
    words = set(_WORDS.findall(_CASTS.sub("", predicate.lower()))) - _NOT_WORDS - {table}
    named = columns.replace('"', "").replace(" DESC", "").replace(" ", "")
    return f"{table} {unique} {named} {sorted(words)}"


@cache
def _declared_on_postgres() -> dict[str, Any]:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    columns: dict[str, list[str]] = {}
    constraints: dict[str, list[str]] = {}
    indexes: dict[str, str] = {}
    for table in _TABLES:
        columns[table.name] = [_column(column, dialect) for column in table.columns]
        held = [*table.constraints, *(one for column in table.columns for one in column.constraints)]
        constraints[table.name] = [f"{written} False True" for one in held if (written := _definition(one))]
        for index in table.indexes:
            where = index.dialect_options["postgresql"]["where"]
            predicate = "" if where is None else str(where.compile(dialect=dialect))
            names = ",".join(str(getattr(each, "name", each)) for each in index.expressions)
            indexes[str(index.name)] = _index(table.name, bool(index.unique), names, predicate)
    return {"columns": columns, "constraints": constraints, "indexes": indexes}


_TYPES = {
    "VARCHAR": "character varying",
    "BYTEA": "bytea",
    "BIGSERIAL": "bigint",
}


def _column(column: Any, dialect: Any) -> str:
    written = column.type.compile(dialect=dialect)
    name, _, collation = written.partition(" COLLATE ")
    default = column.server_default
    made = "" if default is None else getattr(default.arg, "text", None) or str(default.arg)
    serial = column.table._autoincrement_column is column
    facts = (
        column.name,
        _TYPES.get(name, name.lower()),
        not column.nullable,
        "",
        collation.strip('"'),
        "serial" if serial else made,
    )
    return " ".join(str(fact) for fact in facts)


def _definition(constraint: Any) -> str:
    names = ", ".join(_quoted(column.name) for column in getattr(constraint, "columns", ()))
    if isinstance(constraint, PrimaryKeyConstraint):
        return f"PRIMARY KEY ({names})"
    if isinstance(constraint, UniqueConstraint):
        return f"UNIQUE ({names})"
    if isinstance(constraint, ForeignKeyConstraint):
        target = constraint.elements[0].column
        return f"FOREIGN KEY ({names}) REFERENCES {target.table.name}({_quoted(target.name)})"
    if isinstance(constraint, CheckConstraint):
        return f"CHECK (({constraint.sqltext}))"
    return ""


def _quoted(name: str) -> str:
    return f'"{name}"' if name in ("row", "offset") else name
