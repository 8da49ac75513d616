"""The roles that the guide registers at the issuer are those that tokens may claim."""

from __future__ import annotations

import json
from uuid import UUID

from intake_api.identity.roles import ROLE_OF_CLAIM_VALUE
from retention.actor import Role
from tests.deploy.site import ROOT

REGISTERED = json.loads((ROOT / "docs/deploy/app-roles.json").read_text())
MACHINES = {Role.STAMP.value, Role.CASE_SYSTEM.value}


def test_every_role_that_a_token_may_claim_is_registered_and_no_other() -> None:
    assert {role["value"] for role in REGISTERED} == set(ROLE_OF_CLAIM_VALUE)
    assert all(role["isEnabled"] for role in REGISTERED)
    assert len({UUID(role["id"]) for role in REGISTERED}) == len(REGISTERED)


def test_machines_have_theirs_as_applications_and_people_as_users() -> None:
    for role in REGISTERED:
        kind = "Application" if role["value"] in MACHINES else "User"
        assert role["allowedMemberTypes"] == [kind], role["value"]
