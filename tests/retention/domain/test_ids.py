from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.domain.ids import Kind, _luhn, new_confirmation, new_id, read_confirmation
from retention.objects.object_names import is_id

numbers = (
    st.lists(st.integers(0, 9), min_size=15, max_size=15)
    .map(lambda digits: "".join(map(str, digits)))
    .map(lambda digits: digits + str(_luhn(digits)))
)


@pytest.mark.parametrize("kind", Kind)
def test_an_id_names_its_kind_and_nothing_else_and_never_comes_twice(kind: Kind) -> None:
    made = {new_id(kind) for _ in range(200)}
    assert len(made) == 200
    assert all(re.fullmatch(rf"{kind}_[a-z2-7]{{26}}", id_) and is_id(id_) for id_ in made)


def test_a_confirmation_number_is_read_back_however_it_is_grouped() -> None:
    for _ in range(50):
        number = new_confirmation()
        assert re.fullmatch(r"\d{4}-\d{4}-\d{4}-\d{4}", number, re.ASCII)
        bare = number.replace("-", "")
        for said in (number, bare, number.replace("-", " "), f" {bare} ", "-".join(bare)):
            assert read_confirmation(said) == number


def test_the_check_digit_is_luhns() -> None:
    assert read_confirmation("4539 1488 0343 6467") == "4539-1488-0343-6467"
    assert read_confirmation("4539 1488 0343 6468") is None


@given(numbers, st.integers(0, 15), st.integers(1, 9))
def test_any_one_wrong_digit_is_heard(number: str, place: int, by: int) -> None:
    assert read_confirmation(number) is not None
    wrong = number[:place] + str((int(number[place]) + by) % 10) + number[place + 1 :]
    assert read_confirmation(wrong) is None


@given(numbers, st.integers(0, 14))
def test_any_two_swapped_neighbours_are_heard_but_0_and_9(number: str, place: int) -> None:
    one, other = number[place], number[place + 1]
    swapped = number[:place] + other + one + number[place + 2 :]
    unheard = one == other or {one, other} == {"0", "9"}
    assert (read_confirmation(swapped) is not None) == unheard


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "4539148803436467" * 2,
        "453914880343646",
        "4539_1488_0343_6467",
        "４５３９1488０３４３6467",
        "x" * 16,
    ],
)
def test_anything_else_is_no_number(text: str) -> None:
    assert read_confirmation(text) is None
