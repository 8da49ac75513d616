"""One page of several: read back by Prometheus' own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from retention.telemetry.exposition import merge

API = """# HELP requests_total Requests
# TYPE requests_total counter
requests_total{route="/a"} 3.0
requests_total{route="/b"} 1.0
# HELP seconds Time
# TYPE seconds histogram
seconds_bucket{le="+Inf"} 4.0
seconds_count 4.0
seconds_sum 0.5
"""
CLOCK = """# HELP requests_total Requests
# TYPE requests_total counter
requests_total{route="/a"} 2.0
# HELP due Due
# TYPE due gauge
due 7.0
"""


def test_each_metric_stands_once_with_the_lines_of_all_processes() -> None:
    page = merge({("api", "11"): API, ("clock", "12"): CLOCK})
    families = {family.name: family for family in text_string_to_metric_families(page)}
    assert set(families) == {"requests", "seconds", "due"}
    requests = {
        (sample.labels["process"], sample.labels["pid"], sample.labels["route"]): sample.value
        for sample in families["requests"].samples
    }
    assert requests == {("api", "11", "/a"): 3, ("api", "11", "/b"): 1, ("clock", "12", "/a"): 2}
    assert [sample.value for sample in families["due"].samples] == [7]
    assert len(families["seconds"].samples) == 3
    assert page.count("# TYPE requests_total") == page.count("# HELP requests_total") == 1


def test_two_workers_of_one_role_do_not_collide() -> None:
    page = merge({("api", "11"): API, ("api", "12"): API})
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    assert len({line.rsplit(" ", 1)[0] for line in lines}) == len(lines) == 10


def test_nobody_answers_and_the_page_is_empty() -> None:
    assert merge({}) == ""
