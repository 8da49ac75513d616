"""App settings: named for the host where they exist, defaults where they do not, refused by name when wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.config import DEFAULTS, from_environment
from retention.config import SettingError

QUEUE_NAMES = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){1,4}", fullmatch=True)


def test_without_app_settings_the_defaults_stand() -> None:
    settings = from_environment({})
    assert settings.sweep_schedule == DEFAULTS["CASEVAULT_SWEEP_SCHEDULE"]
    assert settings.sequence_schedule == DEFAULTS["CASEVAULT_SEQUENCE_SCHEDULE"]
    assert settings.witness_schedule == DEFAULTS["CASEVAULT_WITNESS_SCHEDULE"]
    assert settings.cosign_schedule == DEFAULTS["CASEVAULT_COSIGN_SCHEDULE"]
    assert settings.read_back_schedule == DEFAULTS["CASEVAULT_READ_BACK_SCHEDULE"]
    assert settings.scrub_schedule == DEFAULTS["CASEVAULT_SCRUB_SCHEDULE"]
    assert settings.tidy_schedule == DEFAULTS["CASEVAULT_TIDY_SCHEDULE"]
    assert settings.erase_queue == DEFAULTS["CASEVAULT_ERASE_QUEUE"]
    assert settings.read_back_queue == DEFAULTS["CASEVAULT_READ_BACK_QUEUE"]


def test_the_read_back_has_a_queue_of_its_own() -> None:
    settings = from_environment({"CASEVAULT_READ_BACK_QUEUE": "reads"})
    assert settings.read_back_queue == "%CASEVAULT_READ_BACK_QUEUE%"
    assert settings.read_back_poison_queue == "%CASEVAULT_READ_BACK_QUEUE%-poison"
    for given_ in (
        {"CASEVAULT_READ_BACK_QUEUE": "casevault-erase"},
        {"CASEVAULT_READ_BACK_QUEUE": "one", "CASEVAULT_ERASE_QUEUE": "one"},
    ):
        with pytest.raises(SettingError, match=r"CASEVAULT_ERASE_QUEUE and .* the same queue"):
            from_environment(given_)


@given(QUEUE_NAMES)
def test_a_queue_that_is_set_is_named_for_the_host_and_its_poison_queue_follows(name: str) -> None:
    settings = from_environment({"CASEVAULT_ERASE_QUEUE": name})
    assert settings.erase_queue == "%CASEVAULT_ERASE_QUEUE%"
    assert settings.poison_queue == settings.erase_queue + "-poison"
    assert 3 <= len(name + "-poison") <= 63


@pytest.mark.parametrize(
    "name", ["", "ab", "a" * 57, "Erase", "a--b", "-ab", "ab-", "a_b", "a b", "é-queue", "ab\n"]
)
def test_a_queue_name_that_azure_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match="CASEVAULT_ERASE_QUEUE"):
        from_environment({"CASEVAULT_ERASE_QUEUE": name})


@pytest.mark.parametrize(
    "schedule", ["", "* * * * *", "00:05:00", "0 * * * * * *", "0 * * * * *\n", "@hourly"]
)
@pytest.mark.parametrize("name", sorted(name for name in DEFAULTS if name.endswith("_SCHEDULE")))
def test_a_schedule_that_has_not_six_fields_is_refused(name: str, schedule: str) -> None:
    with pytest.raises(SettingError, match=name):
        from_environment({name: schedule})


@pytest.mark.parametrize("schedule", ["0 0 0 30 2 *", "0 0 0 31 4,6,9,11 *", "0 0 0 * * 7", "0 60 * * * *"])
def test_a_schedule_that_never_fires_or_that_the_host_refuses_is_named(schedule: str) -> None:
    with pytest.raises(SettingError, match="CASEVAULT_SWEEP_SCHEDULE"):
        from_environment({"CASEVAULT_SWEEP_SCHEDULE": schedule})


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_every_default_would_be_accepted_as_a_setting(name: str) -> None:
    from_environment({name: DEFAULTS[name]})


def test_a_wrong_setting_of_custody_stops_the_app_as_well() -> None:
    with pytest.raises(SettingError, match="CASEVAULT_UPLOAD_DAYS"):
        from_environment({"CASEVAULT_UPLOAD_DAYS": "soon"})
