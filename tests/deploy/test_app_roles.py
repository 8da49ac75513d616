"""The roles that the guide registers at the issuer are those that tokens may claim."""

from __future__ import annotations

import json
import re
from uuid import UUID

from intake_api.identity.caller import ROLE_OF_CLAIM_VALUE
from retention.domain.actor import Role
from tests.deploy.site import ROOT

REGISTERED = json.loads((ROOT / "docs/deploy/app-roles.json").read_text())
GUIDE = (ROOT / "docs/deployment.md").read_text()
MACHINES = {Role.STAMP.value, Role.CASE_SYSTEM.value}


def test_every_role_that_a_token_may_claim_is_registered_and_no_other() -> None:
    assert {role["value"] for role in REGISTERED} == set(ROLE_OF_CLAIM_VALUE)
    assert all(role["isEnabled"] for role in REGISTERED)
    assert len({UUID(role["id"]) for role in REGISTERED}) == len(REGISTERED)


def test_machines_have_theirs_as_applications_and_people_as_users() -> None:
    for role in REGISTERED:
        kind = "Application" if role["value"] in MACHINES else "User"
        assert role["allowedMemberTypes"] == [kind], role["value"]


def made(name: str) -> str:
    """The guide's command that makes the application of that name."""
    (command,) = re.findall(rf"az ad app create --display-name {name} (?:.*\\\n)*.*", GUIDE)
    return str(command)


def test_nobody_signs_in_by_the_application_that_is_the_audience() -> None:
    """An ID token's audience is the client that asked for it: the API's must be none (RFC 8725 section 3.12)."""
    assert "@docs/deploy/app-roles.json" in made("casevault-api")
    assert not re.search("redirect|id-token|public-client", made("casevault-api"))
    assert "redirect" in made("casevault-client")
    assert "`audience` the application id of the API" in GUIDE


def test_the_templates_ask_for_an_audience_that_is_no_clients() -> None:
    text = (ROOT / "docs/deploy/main.bicep").read_text()
    (said,) = re.findall(r"@description\('(.*)'\)\nparam audience string", text)
    assert "API\\'s own application" in said and "client id" not in said
