"""Pages: every text is used and every used one exists, values are never markup, numbers read as people say them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import intake_api.portal
from intake_api.portal import auditor_pages, check_pages, page
from intake_api.schemas.reviews import STATES
from retention.domain.approval import Asks, Rule, State
from retention.domain.notice import Kind as NoticeKind
from retention.domain.notice import State as NoticeState
from retention.domain.notice import Way
from retention.text.search import Why

ROOM = Path(intake_api.portal.__file__).parent
TEMPLATES = sorted((ROOM / "templates").glob("*.html"))
USED = re.compile(r"""\btn?\(["']([a-z.-]+)["']""")
# Names that a template or a module puts together.
MADE = {f"pages.{name}" for _, name, _ in page.NAVIGATION}
MADE |= {f"log.{name}" for name, _ in auditor_pages.QUESTIONS}
MADE |= {f"case.{kind}" for kind in ("opened", "closed", "reopened")}
MADE |= {f"bundle.{name}" for name in ("staging", "receiving", "complete", "damaged", "erasing", "erased")}
MADE |= {f"approvals.{state}" for state in State} | {f"approvals.rule-{rule}" for rule in Rule}
MADE |= {f"approvals.asks-{asks}" for asks in Asks}
MADE |= {f"reviews.{state}" for state in (*STATES, "altered")}
MADE |= {f"search.{why}" for why in Why} | {"search.found-one", "search.found-many"}
MADE |= {f"events.{why}" for why in Why} | {"events.found-one", "events.found-many"}
MADE |= {f"check.wrong-{fault}" for fault in check_pages.FAULTS}
MADE |= {f"notices.{kind.replace('.', '-')}" for kind in NoticeKind if kind != NoticeKind.TEST} | {
    "notices.kind-test"
}
MADE |= {f"notices.{way}" for way in Way} | {f"notices.is-{state}" for state in NoticeState}
MADE |= {f"notices.{state}" for state in ("ok", "failing", "altered")}
MADE |= {"lines.guessed", "lines.read-as"}
MADE |= {"bundle.received-state", "case.hours-one", "case.hours-many"}
IN_MODULES = {"words.none", "words.unknown"}


def test_every_text_that_is_used_exists_and_every_one_that_exists_is_used() -> None:
    used = {name for path in TEMPLATES for name in USED.findall(path.read_text())}
    used = {name for name in used if not name.endswith((".", "-"))} - {
        "case.hours",
        "search.found",
        "events.found",
    }
    assert (used | MADE | IN_MODULES) ^ set(page.texts()) == set()


def test_templates_hold_no_text_of_their_own() -> None:
    """What is left of a template without its tags, expressions and elements is no word."""
    for path in TEMPLATES:
        bare = re.sub(r"{%.*?%}|{{.*?}}|<[^>]*>", " ", path.read_text(), flags=re.DOTALL)
        assert re.findall(r"[A-Za-z]{3,}", bare) in ([], ["UTC"], ["UTC", "UTC"], ["UTC"] * 3), path.name


def test_no_template_has_script_or_style_of_its_own() -> None:
    for path in TEMPLATES:
        text = path.read_text()
        assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:|\|\s*safe", text), path.name
        assert re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL) in ([], [""]), path.name


@given(st.text())
def test_a_value_in_a_text_is_never_markup(value: str) -> None:
    shown = str(page.text("case.title", number=value))
    assert "<" not in shown and shown.count('"') == 0


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        *((0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (999_499, "999 kB"), (999_500, "1 MB")),
        *((2_147_483_648, "2.15 GB"), (10**15, "1,000 TB"), (None, "not known yet")),
    ],
)
def test_sizes_read_as_people_say_them(number: int | None, shown: str) -> None:
    assert re.sub(r"<[^>]*>", "", str(page.size(number))) == shown


@pytest.mark.parametrize(
    ("minutes", "shown"),
    [(0, "0 min"), (1, "1 min"), (60, "1 h"), (61, "1 h 1 min"), (1440, "1 d"), (90 * 1440 + 61, "90 d 1 h")],
)
def test_lengths_of_time_are_in_their_two_largest_units(minutes: int, shown: str) -> None:
    assert page.span(timedelta(minutes=minutes)) == shown


def test_moments_are_in_utc_for_people_and_exact_for_the_script() -> None:
    at = datetime(2026, 11, 29, 21, 5, 7, tzinfo=UTC)
    assert '">29 Nov 2026, 21:05 UTC</time>' in str(page.moment(at))
    assert 'datetime="2026-11-29T21:05:07' in str(page.moment(at))
    assert str(page.moment(None)) == "–"
