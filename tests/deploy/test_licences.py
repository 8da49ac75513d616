"""Every package that is installed with the service has a licence that it may be used under, and the page says which."""

from __future__ import annotations

import re

import pytest

from tests.deploy import licences


def test_the_page_is_what_the_packages_say() -> None:
    assert licences.PAGE.read_text() == licences.page(), "run python -m tests.deploy.licences --write"


@pytest.mark.parametrize("package", sorted(licences.locked()))
def test_a_package_may_be_used(package: str) -> None:
    told = licences.licence_of(package)
    names = set(re.split(r" (?:AND|OR|WITH) |[()]", told)) - {""}
    assert names <= licences.ALLOWED, f"{package}: {told!r}; look at it before it is added to ALLOWED"
