"""The page of notices: a receiver added, its secret seen once, tested, looked at and removed; each sees their own."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.intake_api.portal.test_requests import SAME, ask, sign_in
from tests.service import DIRECTORY, OPERATOR, Service

HOOK = "https://hooks.example/casevault?a=<b>"


@pytest.fixture
def operator(service: Service) -> Any:
    browser = service.app.test_client()
    sign_in(browser, OPERATOR.subject, "CaseVault.Operator", directory=DIRECTORY)
    return browser


def show(browser: Any, path: str = "/portal/notices") -> str:
    answer = ask(browser, "GET", path, SAME)
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def test_a_webhook_is_added_its_secret_seen_once_tested_and_removed(service: Service, operator: Any) -> None:
    assert "Nobody is told" in show(operator)
    added = ask(operator, "POST", "/portal/notices", SAME, way="webhook", address=HOOK)
    assert added.status_code == 200 and added.headers["Cache-Control"] == "no-store"
    assert len(re.findall(r"whsec_[A-Za-z0-9+/=]{44}", added.text)) == 1
    page = show(operator)
    assert "whsec_" not in page and "a=&lt;b&gt;" in page and "works" in page
    (receiver,) = re.findall(r"/portal/notices/(rcv_[a-z2-7]+)\"", page)
    tested = ask(operator, "POST", f"/portal/notices/{receiver}/test", SAME)
    assert (tested.status_code, tested.headers["Location"]) == (303, f"/portal/notices/{receiver}")
    shown = show(operator, f"/portal/notices/{receiver}")
    assert "A test" in shown and "A receiver of notices was added or removed" in shown and "waits" in shown
    removed = ask(operator, "POST", f"/portal/notices/{receiver}/remove", SAME)
    assert removed.status_code == 303
    assert "Nobody is told" in show(operator)
    assert ask(operator, "GET", f"/portal/notices/{receiver}", SAME).status_code == 404
    actions = [one["action"] for one in service.entries() if one["action"].startswith("notice-receiver")]
    assert sorted(actions) == ["notice-receiver.added", "notice-receiver.removed", "notice-receiver.tested"]


def test_an_address_that_cannot_be_is_a_page_that_says_what_is_needed(operator: Any) -> None:
    refused = ask(operator, "POST", "/portal/notices", SAME, way="webhook", address="http://hooks.example/")
    assert refused.status_code == 422 and "https://" in refused.text


def test_an_engineer_adds_their_own_and_sees_no_customers(service: Service, operator: Any) -> None:
    ask(operator, "POST", "/portal/notices", SAME, way="webhook", address=HOOK)
    engineer = service.app.test_client()
    sign_in(engineer, "engineer", "CaseVault.SupportEngineer")
    assert "hooks.example" not in show(engineer)
    form = {"way": "mail", "address": "erin@support.example", "mine": "yes"}
    assert ask(engineer, "POST", "/portal/notices", SAME, **form).status_code == 303
    assert "erin@support.example" in show(engineer)
    assert "erin@support.example" not in show(operator)


def test_an_auditor_sees_them_and_is_offered_nothing_to_change(service: Service, operator: Any) -> None:
    ask(operator, "POST", "/portal/notices", SAME, way="mail", address="security@contoso.example")
    auditor = service.app.test_client()
    sign_in(auditor)
    page = show(auditor)
    assert "security@contoso.example" in page
    assert not re.findall(r"action=\"/portal/notices", page)
