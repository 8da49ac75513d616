from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from retention.custody.context import GIB
from retention.settings import SettingError, from_environment, read_triggers


def test_with_nothing_set_there_is_a_default_for_everything() -> None:
    made = from_environment({})
    assert made.state == Path("casevault-state").resolve()
    assert made.limits.max_bundle_size == 64 * GIB
    assert made.limits.upload_lifetime == timedelta(days=7)
    assert (made.limits.stamp_quota, made.limits.case_quota) == (None, None)
    assert not made.development
    assert made.receipt_key_name == "casevault.local/receipts"


def test_every_part_of_the_embedded_default_stands_in_the_state_folder(tmp_path: Path) -> None:
    made = from_environment({"CASEVAULT_STATE": str(tmp_path)})
    places = [
        made.records_file, made.objects_folder, made.data_keys_folder, made.key_file, made.log_key_file,
        made.receipt_key_file, made.log_folder, made.clock_file,
    ]  # fmt: skip
    assert {place.parent for place in places} == {tmp_path}
    assert len(set(places)) == len(places)


def test_what_is_set_is_taken() -> None:
    made = from_environment(
        {
            "CASEVAULT_LOG_ORIGIN": "logs.example.com/casevault",
            "CASEVAULT_MAX_BUNDLE_SIZE": "5",
            "CASEVAULT_UPLOAD_DAYS": "1",
            "CASEVAULT_STAMP_QUOTA": "70",
            "CASEVAULT_CASE_QUOTA": "50",
            "CASEVAULT_CASE_NUMBER_PATTERN": "C[0-9]+",
            "CASEVAULT_TRIGGER_PREFIXES": "Hidden., Other. ,",
            "CASEVAULT_DEVELOPMENT": "1",
        }
    )
    assert (made.log_origin, made.receipt_key_name) == (
        "logs.example.com/casevault",
        "logs.example.com/receipts",
    )
    assert (made.limits.max_bundle_size, made.limits.upload_lifetime) == (5, timedelta(days=1))
    assert (made.limits.case_number_pattern, made.trigger_prefixes) == ("C[0-9]+", ("Hidden.", "Other."))
    assert (made.limits.stamp_quota, made.limits.case_quota) == (70, 50)
    assert made.development


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CASEVAULT_LOG_ORIGIN", "no slash"),
        ("CASEVAULT_LOG_ORIGIN", "a/b\n"),
        ("CASEVAULT_LOG_ORIGIN", ""),
        ("CASEVAULT_MAX_BUNDLE_SIZE", "0"),
        ("CASEVAULT_MAX_BUNDLE_SIZE", "-1"),
        ("CASEVAULT_MAX_BUNDLE_SIZE", "1e9"),
        ("CASEVAULT_MAX_BUNDLE_SIZE", "٣"),
        ("CASEVAULT_MAX_BUNDLE_SIZE", ""),
        ("CASEVAULT_UPLOAD_DAYS", "seven"),
        ("CASEVAULT_STAMP_QUOTA", "0"),
        ("CASEVAULT_CASE_QUOTA", ""),
        ("CASEVAULT_CASE_NUMBER_PATTERN", "["),
        ("CASEVAULT_DEVELOPMENT", "yes"),
        ("CASEVAULT_DEVELOPMENT", ""),
    ],
)
def test_a_value_that_will_not_do_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name):
        from_environment({name: value})


def test_the_alert_table_is_read_and_a_deployment_can_extend_it(tmp_path: Path) -> None:
    base = read_triggers(from_environment({}))
    assert len(base.titles) >= 20
    assert all(base.titles) and all(base.titles.values())
    assert all(base.knows(trigger) for trigger in base.titles)
    more = tmp_path / "more.csv"
    more.write_text("fault_id_type,alert_title\nOwn.Fault,Our own\n")
    own = read_triggers(
        from_environment({"CASEVAULT_TRIGGERS_FILE": str(more), "CASEVAULT_TRIGGER_PREFIXES": "Hidden."})
    )
    assert {**base.titles, "Own.Fault": "Our own"} == own.titles
    assert own.knows("Own.Fault") and own.knows("Hidden.x") and not base.knows("Own.Fault")


@pytest.mark.parametrize(
    "content", ["", "a,b\n1,2\n", "fault_id_type,alert_title\n", "fault_id_type,alert_title\nX\n",
                "fault_id_type,alert_title\nX,Y,Z\n", None]
)  # fmt: skip
def test_a_table_that_will_not_do_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingError, match="CASEVAULT_TRIGGERS_FILE"):
        read_triggers(from_environment({"CASEVAULT_TRIGGERS_FILE": str(path)}))
