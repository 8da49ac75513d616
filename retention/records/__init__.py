"""The database: tables, the unit of work, engines and migrations.

migrate.py          Schema versions, by Alembic. Every process brings the database to the newest version before it
                    uses it.
postgres.py         Records on PostgreSQL: many processes at once, each write a transaction of its own.
postgres_engine.py  Opening a PostgreSQL database.
postgres_url.py     Where a PostgreSQL database is, and how it may be reached. Needs no driver.
queries.py          The queries that several verbs share; SQL only, no rules.
retry.py            What a failed statement means, and whether the work that it belonged to runs again. Pure.
rights.py           Who may do what in the database (PostgreSQL): one decision for each table, held by the server
                    and not by the program.
schema.py           Is the database's schema what the migrations made, and nothing beside it? Triggers, rules, views
                    and policies act behind the service's back: one of them can delete an entry as it is written
                    (P3).
sqlite_engine.py    Opening the database: SQLite as the embedded default.
tables.py           The records: what custody knows of tenants, stamps, cases, bundles, grants, consents and
                    erasures.
unit_of_work.py     The unit of work: one change of the records and its audit entries, durable together or not at
                    all (P3).
visibility.py       Which cases and bundles an actor may know of: one clause for lists and for single look-ups
                    alike.
"""
