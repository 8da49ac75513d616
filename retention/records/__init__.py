"""The database: tables, the unit of work, engines and migrations.

bundle_list.py      The list of bundles: each page is searched from what the caller sees, by an index in its order.
migrate.py          Schema versions, by Alembic, and the check that a database can keep its promises.
postgres.py         Records on PostgreSQL: many processes at once, each write a transaction of its own.
postgres_engine.py  Opening a PostgreSQL database.
postgres_url.py     The URL of a PostgreSQL database, and the check that it is safe. Needs no driver.
queries.py          The queries and keyset pages that several verbs share; SQL only, no rules.
retry.py            The meaning of a failed statement, and whether its work runs again. Pure.
rights.py           The rights of each role in the database (PostgreSQL), decided table by table and enforced by the
                    server.
schema.py           The check that the database's schema is what the migrations made, and nothing else.
sqlite_engine.py    Opening a SQLite database, the embedded default; and a lock that one process at a time holds.
tables.py           The tables of the records: tenants, stamps, cases, bundles, grants, consents, erasures.
unit_of_work.py     The unit of work: one change of the records and its audit entries, durable together or not at
                    all (P3).
visibility.py       The cases and bundles that an actor is allowed to know of: one clause for lists and look-ups.
"""
