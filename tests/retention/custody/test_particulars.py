"""Leaves stay for ever: no name, address, file name, reason or case number stands in one (P3)."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from retention.custody.access import manage_cases, manage_consents, manage_grants, manage_stamps
from retention.custody.erasure import erasure_steps
from retention.custody.uploads import declaration
from retention.domain.actor import Role
from retention.domain.bundle import CollectionType
from retention.domain.faults import CustodyError
from retention.jobs.sweep import sweep
from tests.retention.custody.world import DAY, HOUR, ISSUER, TRIGGER, strict_world

# Long and odd enough not to be found by chance in ids, hashes or machine codes.
_words = st.text("ABCDEFGHJKLMNPQRSTUVWXYZäöü", min_size=9, max_size=20).filter(lambda w: len(set(w)) > 3)
_numbers = st.text("0123456789", min_size=15, max_size=16).filter(lambda n: len(set(n)) > 3)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_no_particular_ever_stands_in_a_leaf(data: Any) -> None:
    words = iter(data.draw(st.lists(_words, min_size=20, max_size=20, unique=True)))
    number, other = data.draw(st.lists(_numbers, min_size=2, max_size=2, unique=True))
    secrets = [number, other]

    def secret(suffix: str = "") -> str:
        secrets.append(next(words) + suffix)
        return secrets[-1]

    with strict_world() as w:
        c = w.custody
        tenant, stamp, engineer = secret(), secret(), secret("@support.example")
        manage_stamps.register_tenant(c, w.administrator, secret(), tenant)
        operator = w.actor(secret("@mail.example"), Role.OPERATOR, directory=tenant)
        manage_stamps.register_stamp(c, operator, secret(), stamp, proactive=True)
        sender = w.actor(stamp, Role.STAMP, directory=tenant)
        manage_cases.open_case(c, w.case_system, number, tenant)
        manage_cases.assign(c, w.case_system, number, ISSUER, engineer)
        reader = w.actor(engineer, Role.SUPPORT_ENGINEER)
        collection = w.collection(7, file_name=secret(".zip"), roles=(secret(),))
        bundle = declaration.create_upload(c, sender, collection, case_number=number, stamp_id=None).id
        w.send(bundle, b"content", actor=sender)
        loose = w.collection(4, type=CollectionType.PROACTIVE, trigger=TRIGGER, file_name=secret(".zip"))
        unclaimed = declaration.create_upload(c, sender, loose, case_number=None, stamp_id=None).id
        w.send(unclaimed, b"more", actor=sender)
        sweep(c)
        declaration.claim_bundle(c, reader, unclaimed, number)
        manage_grants.give_grant(c, reader, number, secret(" drives"), HOUR)
        w.read(bundle, reader)
        until = w.clock.now() + DAY
        consent = manage_consents.give_consent(c, operator, number, secret(), until, [bundle])
        manage_consents.revoke_consent(c, operator, consent.id)
        for attempt in (
            lambda: manage_cases.get_case(c, reader, other),
            lambda: declaration.get_bundle(c, reader, secret()),
            lambda: manage_grants.release_grant(c, reader, secret()),
            lambda: manage_cases.close_case(c, reader, number),
        ):
            try:
                attempt()
            except CustodyError:
                continue
            raise AssertionError("this should have been refused")
        erasure = erasure_steps.request_case_erasure(c, operator, number, secret())
        secrets += [erasure.confirmation, erasure.confirmation.replace("-", "")]
        sweep(c)
        manage_cases.close_case(c, w.case_system, number)
        leaves = b"\n".join(row.leaf for row in w.entries()).decode()
        beside = "\n".join(row.particulars or "" for row in w.entries())
    assert [word for word in secrets if word in leaves] == []
    assert number in beside and erasure.confirmation in beside, "they are kept, beside the leaf"
