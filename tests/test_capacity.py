"""The capacity page is what its data file comes to, and each figure says where it is from."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
from datetime import date
from typing import Any

import pytest

from functions.config import DEFAULTS
from tests.bench import capacity


@pytest.fixture
def data() -> Any:
    return json.loads(capacity.DATA.read_text())


def test_the_page_is_computed_from_the_data_file(data: Any) -> None:
    assert capacity.PAGE.read_text() == capacity.page(data), "run python -m tests.bench.capacity --write"


def test_it_follows_its_figures(data: Any) -> None:
    twice = copy.deepcopy(data)
    twice["assumed"]["stamps"]["value"] *= 2
    figures, larger = capacity.Figures(data), capacity.Figures(twice)
    (*_, storm), (*_, larger_storm) = figures.loads(), larger.loads()
    assert larger.gbps(larger_storm) == pytest.approx(2 * figures.gbps(storm))
    assert capacity.page(twice) != capacity.page(data)


def test_a_day_brings_what_it_takes_away_and_a_part_costs_what_was_counted(data: Any) -> None:
    figures = capacity.Figures(data)
    assert figures.a_day * figures.a["days_kept"] * figures.a["bundle_gb"] == pytest.approx(1e6)
    assert figures.parts == 30
    assert figures.upload("commits") == 6 + 29 * (8 - 6) / 2


def test_every_measured_figure_says_when_where_and_by_which_command(data: Any) -> None:
    for name, each in data["measured"].items():
        assert date.fromisoformat(each["date"]), name
        assert each["machine"] and each["unit"], name
        module = each["command"].split()[2] if " -m " in each["command"] else "tests.bench.run"
        assert importlib.util.find_spec(module) is not None, name


def test_all_measured_figures_are_of_one_machine_which_the_page_names(data: Any) -> None:
    """Processor as the system names it, and its cores: what else ran there is each figure's own."""
    machines = {each["machine"].partition(", Python")[0] for each in data["measured"].values()}
    (one,) = machines
    assert re.fullmatch(r"\S.+, \d+ cores", one), one
    assert f"Machine: {one}, Python " in capacity.PAGE.read_text()


def test_every_documented_figure_names_its_page(data: Any) -> None:
    for name, each in data["documented"].items():
        assert each["page"].startswith("https://learn.microsoft.com/"), name
        assert date.fromisoformat(each["read"]), name


def test_it_computes_with_the_schedule_of_the_code() -> None:
    assert DEFAULTS["CASEVAULT_READ_BACK_SCHEDULE"] == f"*/{capacity.EVERY} * * * * *"


def test_it_computes_with_as_many_instances_as_the_template_allows(data: Any) -> None:
    template = (capacity.DOCS / "deploy" / "modules" / "clock.bicep").read_text()
    (most,) = re.findall(r"maximumInstanceCount: (\d+)", template)
    assert data["assumed"]["instances"]["value"] == int(most)
