"""Who reviews a grant, when, and what is final, whatever is tried in whatever order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.domain.actor import Actor, Role
from retention.domain.faults import Conflict, Invalid
from retention.domain.review import Verdict, decide_review

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
WHY = "Why was the whole bundle read at night?"
AUDREY = Actor(id="audrey", roles=frozenset({Role.AUDITOR}))
ADELE = Actor(id="adele", roles=frozenset({Role.AUDITOR}))
BOTH = Actor(id="both", roles=frozenset({Role.AUDITOR, Role.SUPPORT_ENGINEER}))
OLGA = Actor(id="olga", roles=frozenset({Role.AUDITOR, Role.OPERATOR}), tenant="contoso")
OTHERS = (
    Actor(id="erin", roles=frozenset({Role.SUPPORT_ENGINEER})),
    Actor(id="oscar", roles=frozenset({Role.OPERATOR}), tenant="contoso"),
    Actor(id="root", roles=frozenset({Role.ADMINISTRATOR})),
)
PART = frozenset({"both", "olga"})
"""The grant's holder, and who approved it: auditors as well."""

tries = st.tuples(
    st.sampled_from([AUDREY, ADELE, BOTH, OLGA, *OTHERS]),
    st.sampled_from(list(Verdict)),
    st.sampled_from([None, "", "so", WHY]),
    st.integers(0, 3),
)


@given(st.lists(tries, max_size=12))
def test_only_another_auditor_signs_off_and_only_once_when_it_is_over(
    tried: list[tuple[Actor, Verdict, str | None, int]],
) -> None:
    now, ended = START, START + 4 * HOUR
    before: Verdict | None = None
    said: list[tuple[Actor, Verdict]] = []
    for who, verdict, note, hours in tried:
        now += hours * HOUR
        try:
            denied = decide_review(who, PART, ended, before, verdict, note, now)
        except Conflict:
            assert now < ended or before is Verdict.SIGNED_OFF
            continue
        except Invalid:
            assert verdict is Verdict.QUESTIONED and note != WHY
            continue
        if denied is None:
            assert now >= ended and before is not Verdict.SIGNED_OFF
            before = verdict
            said.append((who, verdict))
        else:
            assert who not in (AUDREY, ADELE)
    assert {who.id for who, _ in said} <= {"audrey", "adele"}
    assert Verdict.SIGNED_OFF not in [verdict for _, verdict in said[:-1]]


def test_a_question_is_answered_by_signing_off() -> None:
    assert decide_review(AUDREY, PART, START, None, Verdict.QUESTIONED, WHY, START) is None
    assert decide_review(ADELE, PART, START, Verdict.QUESTIONED, Verdict.SIGNED_OFF, None, START) is None
    with pytest.raises(Conflict) as final:
        decide_review(ADELE, PART, START, Verdict.SIGNED_OFF, Verdict.QUESTIONED, WHY, START)
    assert final.value.reason == "signed-off"


def test_a_grant_that_lives_is_not_reviewed() -> None:
    for ends in (None, START + HOUR):
        with pytest.raises(Conflict) as early:
            decide_review(AUDREY, PART, ends, None, Verdict.SIGNED_OFF, None, START)
        assert early.value.reason == "grant-live"
