from __future__ import annotations

import pytest

from retention.custody.erasure import erasure_steps
from retention.custody.key_rotation import rewrap_all
from retention.custody.reading import bundle_reads
from retention.domain.faults import Erased, Invalid
from retention.envelope.format import FIRST_PLAINTEXT
from retention.objects.store_errors import StoreUnavailable
from tests.fakes.stores import MemoryKeyWrapper
from tests.retention.custody.world import World, but

CONTENT = bytes(range(256)) * 5000  # more than a segment
assert len(CONTENT) > FIRST_PLAINTEXT


@pytest.fixture
def bundle(strict: World) -> str:
    strict.open_case()
    made = strict.upload(CONTENT)
    strict.assign(strict.engineer)
    strict.grant()
    return made


def test_the_entry_is_durable_before_the_key_is_touched(strict: World, bundle: str) -> None:
    """Fail closed (P3): when the log cannot be written, not even the key is unwrapped."""
    asked: list[str] = []

    class Keys:
        def get(self, bundle_id: str) -> object:
            asked.append(strict.last()[0])
            return strict.custody.keys.get(bundle_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retention.records.unit_of_work.append.append_rows", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            but(strict, keys=Keys()).read(bundle)
    assert asked == []
    but(strict, keys=Keys()).read(bundle)
    assert asked == ["bundle.opened"]


def test_a_read_is_two_entries_with_what_was_asked_and_what_was_handed_over(
    strict: World, bundle: str
) -> None:
    spans = [(0, 10), (FIRST_PLAINTEXT - 5, 10)]
    opened = bundle_reads.open_bundle(strict.custody, strict.engineer, bundle, lambda _row: spans)
    got = [b"".join(opened.pieces(span)) for span in opened.spans]
    opened.done()
    opened.close()
    opened.close()
    assert got == [CONTENT[at : at + length] for at, length in spans]
    first, second = strict.leaves()[-2:]
    assert first["details"] == {
        "ranges": ["0+10", f"{FIRST_PLAINTEXT - 5}+10"],
        "range_count": 2,
        "asked_bytes": 20,
    }
    assert (second["outcome"], second["details"]) == ("success", {"bytes": 20, "opened": first["id"]})


def test_a_caller_that_goes_away_leaves_a_cut_read_behind(strict: World, bundle: str) -> None:
    opened = strict.open(bundle)
    next(opened.pieces((0, len(CONTENT))))
    opened.close()
    assert strict.last() == ("bundle.read-ended", "failed", "cut")


def test_an_impossible_range_is_the_callers_mistake_and_no_entry(strict: World, bundle: str) -> None:
    def choose(_row: object) -> list[tuple[int, int]]:
        raise Invalid("no such range")

    before = len(strict.entries())
    with pytest.raises(Invalid):
        bundle_reads.open_bundle(strict.custody, strict.engineer, bundle, choose)
    assert len(strict.entries()) == before


def test_an_opening_that_fails_at_the_key_has_an_end_too(strict: World, bundle: str) -> None:
    class Keys:
        def get(self, bundle_id: str) -> object:
            raise StoreUnavailable("no answer")

    with pytest.raises(StoreUnavailable):
        but(strict, keys=Keys()).open(bundle)
    assert [row.action for row in strict.entries()[-2:]] == ["bundle.opened", "bundle.read-ended"]


def test_an_erasure_between_the_decision_and_the_key_is_answered_as_erased(
    strict: World, bundle: str
) -> None:
    class Keys:
        def __getattr__(self, name: str) -> object:
            return getattr(strict.custody.keys, name)

        def get(self, bundle_id: str) -> object:
            erasure_steps.request_bundle_erasure(strict.custody, strict.operator, bundle_id)
            erasure_steps.erase_bundle(strict.custody, bundle_id)
            return strict.custody.keys.get(bundle_id)

    with pytest.raises(Erased):
        but(strict, keys=Keys()).open(bundle)
    assert strict.last() == ("bundle.read-ended", "failed", "erased")


def test_opening_takes_an_allowed(strict: World, bundle: str) -> None:
    with pytest.raises(TypeError):
        bundle_reads._unseal(strict.custody, bundle)  # type: ignore[arg-type]


def test_rotation_wraps_every_key_anew_and_is_resumable(strict: World, bundle: str) -> None:
    assert isinstance(strict.custody.wrapper, MemoryKeyWrapper)
    strict.upload(b"second")
    fresh = strict.custody.wrapper.rotate()
    assert strict.read(bundle) == CONTENT
    assert rewrap_all(strict.custody, strict.administrator).rewrapped == 2
    assert rewrap_all(strict.custody, strict.administrator).rewrapped == 0
    assert {strict.custody.keys.get(b).kek_id for b in strict.custody.keys.list_bundles()} == {fresh}
    assert strict.read(bundle) == CONTENT
