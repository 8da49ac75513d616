from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from retention.domain.faults import Unavailable
from retention.records.retry import PATIENCE, Trouble, give_up, trouble


class _Driver(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("the driver's words")
        self.sqlstate = sqlstate


def failed(sqlstate: str | None, kind: type[DBAPIError] = OperationalError, lost: bool = False) -> DBAPIError:
    return kind("SELECT 1", {}, _Driver(sqlstate), connection_invalidated=lost)


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (failed("40001"), Trouble.CONTENDED),
        (failed("40P01"), Trouble.CONTENDED),
        (failed("23505", IntegrityError), Trouble.TAKEN),
        (failed("23503", IntegrityError), Trouble.OTHER),
        (failed("42601"), Trouble.OTHER),
        (failed("08006"), Trouble.LOST),
        (failed("57P01"), Trouble.LOST),
        (failed("53300"), Trouble.LOST),
        (failed(None), Trouble.LOST),
        (failed(None, IntegrityError), Trouble.OTHER),
        (failed("40001", lost=True), Trouble.LOST),
        (failed("57014"), Trouble.SLOW),
        (failed("55P03"), Trouble.SLOW),
        (PoolTimeout("the pool is empty"), Trouble.SLOW),
        (ValueError("a mistake of the work"), Trouble.OTHER),
    ],
)
def test_an_error_means_one_trouble(error: BaseException, meaning: Trouble) -> None:
    assert trouble(error) is meaning


@given(st.sampled_from(sorted(PATIENCE, key=str)), st.floats(0, 1, exclude_max=True))
def test_patience_ends_within_seconds_and_no_pause_is_longer_than_its_limit(
    why: Trouble, draw: float
) -> None:
    patience = PATIENCE[why]
    pauses = [patience.pause(run, draw) for run in range(1, patience.runs)]
    assert all(0 <= pause <= patience.longest for pause in pauses)
    assert pauses == sorted(pauses)
    assert sum(pauses) < 10


@given(st.integers(1, 10_000))
def test_a_pause_is_drawn_between_nothing_and_its_limit(runs: int) -> None:
    patience = PATIENCE[Trouble.CONTENDED]
    assert patience.pause(runs, 0.0) == 0.0
    assert patience.pause(runs, 0.5) == patience.pause(runs, 0.25) * 2


@pytest.mark.parametrize("why", [Trouble.CONTENDED, Trouble.LOST, Trouble.SLOW])
def test_giving_up_says_why_and_that_nothing_was_changed(why: Trouble) -> None:
    answer = give_up(why)
    assert isinstance(answer, Unavailable)
    assert "nothing was changed" in answer.message
    assert answer.reason
