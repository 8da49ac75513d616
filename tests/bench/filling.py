"""Records of a service that has run for years, made in SQL: `fill(connection, bundles, entries)`.

Proportions: a thousand bundles a tenant, ten stamps a tenant, five bundles a case. Every fifth bundle is unclaimed.
Most cases are closed and most of their bundles erased; a tenth of what is left is due. Some uploads run, some wait for
their read-back, some erasures are pending. The same names are made every time, so a benchmark can ask for them.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, insert, text
from sqlalchemy.schema import CreateIndex, DropIndex

from audit.log.tables import audit_entries, audit_tree
from audit.times import to_microseconds

NOW = datetime(2026, 11, 20, tzinfo=UTC)
HOUR = 3_600_000_000
DAY = 24 * HOUR
UNSEQUENCED = 500

# In every statement: :n bundles, :m entries, :u of them without a leaf number, :now, :hour, :day. `i` counts from 0.
_STEPS = (
    """INSERT INTO tenants SELECT 'ten_' || i, 'Tenant ' || i, 'directory-' || i, :now - 900 * :day
       FROM generate_series(0, :n / 1000 - 1) i""",
    """INSERT INTO stamps SELECT 'stp_' || i, 'ten_' || i / 10, 'Stamp ' || i, 'stamp-' || i, true, :now - 900 * :day,
         NULL FROM generate_series(0, :n / 100 - 1) i""",
    """INSERT INTO actors SELECT 'act_' || i, 'https://issuer.example', 'person-' || i || '@example.com',
         'Person ' || i, :now - 900 * :day FROM generate_series(0, :n / 500 - 1) i""",
    """INSERT INTO cases SELECT 'cas_' || i, lpad(i::text, 15, '0'), 'ten_' || i / 200,
         CASE WHEN i % 10 < 8 THEN 'closed' ELSE 'open' END, :now - (:n / 5 - i) * :hour / 10
       FROM generate_series(0, :n / 5 - 1) i""",
    """INSERT INTO case_events (case_id, kind, effective_at, recorded_at)
       SELECT id, 'opened', opened_at, opened_at FROM cases""",
    """INSERT INTO case_events (case_id, kind, effective_at, recorded_at)
       SELECT id, 'closed', opened_at + :hour, opened_at + :hour FROM cases WHERE state = 'closed'""",
    """INSERT INTO assignments (case_id, actor_id, assigned_at)
       SELECT 'cas_' || i / 2, 'act_' || (i / 2 + i % 2 * 7) % (:n / 500), :now - 30 * :day
       FROM generate_series(0, 2 * (:n / 5) - 1) i""",
    """INSERT INTO bundles (id, tenant_id, stamp_id, case_id, uploader_id, state, type, send_logs_now, logs_start,
         logs_end, time_collected, trigger, roles, file_name, size, created_at, expires_at, "offset", received_at,
         manifest, sha256, due_at, erased_at, erased_cause)
       SELECT 'bun_' || i, 'ten_' || i / 1000, 'stp_' || i / 100, CASE WHEN i % 5 < 4 THEN 'cas_' || i / 5 END,
         'act_' || i % (:n / 500), s.state, CASE WHEN i % 5 < 4 THEN 'on-demand' ELSE 'proactive' END, false,
         t.at - 4 * :hour, t.at - :hour, t.at, NULL, '[]', 'logs.zip', 2000000000, t.at, t.at + 7 * :day,
         CASE WHEN s.state = 'receiving' THEN i % 3 * 67108864 * 3 / 2 ELSE 2000000000 END,
         CASE WHEN s.state <> 'receiving' THEN t.at END, md5(i::text), md5(i::text),
         CASE WHEN s.state IN ('erased', 'erasing') OR i % 50 >= 40 AND i % 5 < 4 THEN NULL
              ELSE :now + ((i * 7919) % 90 - 9) * :day END,
         CASE WHEN s.state = 'erased' THEN t.at + :day END,
         CASE WHEN s.state IN ('erased', 'erasing') THEN 'deadline' END
       FROM generate_series(0, :n - 1) i,
         LATERAL (SELECT CASE WHEN i % 997 = 0 THEN 'receiving' WHEN i % 1009 = 0 THEN 'received'
           WHEN i % 991 = 0 THEN 'erasing' WHEN i % 10 < 6 THEN 'erased' ELSE 'complete' END AS state) s,
         LATERAL (SELECT :now - (:n - i) * :hour / 100 AS at) t""",
    """INSERT INTO parts SELECT id, p, 'prt_' || id || '_' || p, p * 67108864::bigint, 67108864, md5(id) || md5(id),
         created_at FROM bundles, generate_series(0, 2) p WHERE state <> 'erased'""",
    """INSERT INTO consents SELECT 'con_' || i, 'cas_' || i * 10, 'partner-' || i % 5, i % 2 = 0, :now - 30 * :day,
         :now + 30 * :day, 'act_1', NULL FROM generate_series(0, :n / 50 - 1) i""",
    """INSERT INTO consent_bundles SELECT 'con_' || i, 'bun_' || i * 50 FROM generate_series(1, :n / 50 - 1, 2) i""",
    """INSERT INTO grants SELECT 'grn_' || i, 'cas_' || i / 2, 'act_' || (i / 2 + i % 2 * 7) % (:n / 500),
         CASE WHEN i % 20 = 0 THEN 'con_' || i / 20 END, 'Looking into it', :now - 9 * :hour,
         :now + (i % 12 - 9) * :hour, CASE WHEN i % 10 < 8 THEN :now - :hour END, NULL
       FROM generate_series(0, 2 * (:n / 5) - 1) i""",
    r"""INSERT INTO erasures SELECT 'ers_' || i, 
         regexp_replace(lpad(i::text, 16, '0'), '(....)(....)(....)(....)', '\1-\2-\3-\4'), 'ten_' || i / 200,
         'cas_' || i, 'case',
         CASE WHEN i % 10 = 0 THEN 'customer-request' ELSE 'deadline' END, i % 10 = 0, :now - i * :hour / 100, 'act_1',
         CASE WHEN NOT EXISTS (SELECT FROM bundles WHERE case_id = 'cas_' || i AND state = 'erasing')
              THEN :now - :hour END
       FROM generate_series(0, :n / 5 - 1) i WHERE i % 10 < 7""",
    """INSERT INTO erasure_bundles SELECT e.id, b.id FROM erasures e JOIN bundles b ON b.case_id = e.case_id
       WHERE b.state IN ('erasing', 'erased')""",
    """INSERT INTO receipts SELECT id, 'erasure', '{}', 'ent_' || id, :now FROM erasures
       WHERE proven_at IS NOT NULL""",
    """INSERT INTO audit_entries (entry_id, leaf_index, at_us, actor, actor_kind, action, outcome, reason, tenant,
         case_id, bundle, subject, leaf)
       SELECT 'ent_' || i, CASE WHEN i < :m - :u THEN i END, :now - (:m - i) * 1000000,
         'act_' || (i * 31) % (:n / 500), 'engineer', CASE i % 4 WHEN 0 THEN 'bundle.opened' WHEN 1
           THEN 'bundle.read-ended' WHEN 2 THEN 'grant.given'
           ELSE CASE WHEN i % 100003 = 3 THEN 'key.rotated' ELSE 'upload.continued' END END,
         CASE WHEN i % 100019 = 7 THEN 'failed' WHEN i % 1000 = 1 THEN 'refused' ELSE 'success' END, NULL,
         'ten_' || (i * 7 + i / 1000) % (:n / 1000), CASE WHEN i % 3 > 0 THEN 'cas_' || (i * 13) % (:n / 5) END,
         CASE WHEN i % 3 > 0 THEN 'bun_' || (i * 17) % :n END, NULL,
         convert_to('{"action":"bundle.opened","actor":"act_1","actor_kind":"engineer","at":"2026-01-01T00:00:00.000000Z",'
           || '"details":{"opened":"' || md5(i::text) || '"},"id":"ent_1","outcome":"success","v":1}', 'UTF8')
       FROM generate_series(0::bigint, :m - 1) i""",
)


def fill(connection: Connection, bundles: int, entries: int) -> None:
    """Fill an empty database of the newest version; `bundles` is a multiple of 1000."""
    values = {
        "n": bundles,
        "m": entries,
        "now": to_microseconds(NOW),
        "hour": HOUR,
        "day": DAY,
        "u": UNSEQUENCED,
    }
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SET LOCAL maintenance_work_mem = '512MB'"))
    connection.execute(text("SET LOCAL synchronous_commit = off"))
    for index in audit_entries.indexes:
        connection.execute(DropIndex(index))
    for step in _STEPS:
        wanted = {name: value for name, value in values.items() if f":{name}" in step}
        literal = step
        for name in sorted(wanted, key=len, reverse=True):
            literal = literal.replace(f":{name}", f"{wanted[name]}::bigint")
        connection.exec_driver_sql(literal.replace("%", "%%"))
    size = entries - UNSEQUENCED
    frontier = size.to_bytes(8, "big") + bytes(
        32 * size.bit_count()
    )  # the right shape; the leaves are not real
    tree = {"id": 1, "size": size, "frontier": frontier, "checkpoint_size": size}
    connection.execute(insert(audit_tree).values(tree))
    for index in sorted(audit_entries.indexes, key=lambda index: str(index.name)):
        connection.execute(CreateIndex(index))
    connection.execute(text("ANALYZE"))
