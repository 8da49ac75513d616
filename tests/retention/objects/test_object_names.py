from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.objects import object_names
from retention.objects.store_errors import BadName
from tests.fakes.ids import an_id

ids = st.builds(an_id, st.sampled_from(["bdl", "prt", "xyz"]), st.integers(0, 2**130 - 1))
ONE = (
    object_names.bundle_folder,
    object_names.key_object,
    object_names.key_partial,
    object_names.key_destroyed,
)
TWO = (object_names.part_object, object_names.part_partial)


@given(st.text(max_size=40) | st.from_regex(r"[a-z/.]{3}_[a-z2-7./\n]{25,27}", fullmatch=True))
def test_a_name_is_made_of_ids_or_not_at_all(text: str) -> None:
    if object_names.is_id(text):
        assert len(text) == 30 and not {"/", ".", "\0", "\n"} & set(text)
        return
    for name in ONE:
        with pytest.raises(BadName):
            name(text)
    for name2 in TWO:
        with pytest.raises(BadName):
            name2(text, an_id("prt", 1))
        with pytest.raises(BadName):
            name2(an_id("bdl", 1), text)


@given(ids, ids)
def test_every_name_is_another_and_stays_in_its_folder(bundle_id: str, part_id: str) -> None:
    names = [name(bundle_id) for name in ONE] + [name(bundle_id, part_id) for name in TWO]
    assert len(set(names)) == len(names)
    for name in names:
        assert ".." not in PurePosixPath(name).parts and not PurePosixPath(name).is_absolute()
    assert all(PurePosixPath(name).parent == PurePosixPath(bundle_id) for name in names[-2:])


@given(ids)
def test_a_name_is_read_back_to_its_id_by_its_own_ending_only(identifier: str) -> None:
    suffixes = (
        object_names.SEALED,
        object_names.PARTIAL,
        object_names.KEY,
        object_names.KEY_PARTIAL,
        object_names.KEY_DESTROYED,
    )
    for suffix in suffixes:
        found = [object_names.id_in(identifier + suffix, other) for other in suffixes]
        assert found == [identifier if other == suffix else None for other in suffixes]
    assert object_names.id_in(identifier, object_names.KEY) is None


def test_the_names_are_pinned() -> None:
    b, p = "bdl_" + "a" * 26, "prt_" + "2" * 26
    assert object_names.part_object(b, p) == f"{b}/{p}.sealed"
    assert object_names.part_partial(b, p) == f"{b}/{p}.partial"
    assert (object_names.key_object(b), object_names.key_destroyed(b)) == (f"{b}.key", f"{b}.destroyed")
