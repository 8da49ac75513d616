from __future__ import annotations

from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from intake_api.http.content_disposition import attachment


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
def test_any_name_stays_inside_its_quotes_and_its_line(name: str) -> None:
    header = attachment(name)
    assert header.isascii() and header.isprintable()
    assert header.count('"') == 2
    assert header.startswith('attachment; filename="')
    assert unquote(header.rpartition("UTF-8''")[2]) == (name.replace("\\", "/").rsplit("/", 1)[-1] or "file")


def test_only_the_last_part_of_a_path_is_the_name() -> None:
    assert attachment("a/b\\c.log") == "attachment; filename=\"c.log\"; filename*=UTF-8''c.log"


def test_a_lone_surrogate_does_no_harm() -> None:
    assert attachment("a\udc80b").endswith("UTF-8''a%3Fb")
