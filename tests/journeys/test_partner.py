"""The partner's engineer: only with the customer's consent, only as far as it reaches, only while it lasts (P6)."""

from __future__ import annotations

from tests.journeys.served import CASE_SYSTEM, Sent, Served

PAT, OLGA = "partner:pat/oem", "operator:olga@contoso"
REASON = "firmware of the disks in node 2"


def test_consent_opens_a_case_to_a_partner_and_its_revocation_closes_it(
    served: Served, sent: Sent, case: str
) -> None:
    bundle = sent.bundle
    served.cli("cases", "assign", case, "pat", who=CASE_SYSTEM)
    refused = served.cli("grant", case, "--reason", REASON, who=PAT)
    assert refused.code == 3 and "no-consent" in refused.error
    consent = served.do("consent", case, "--partner", "oem", "--days", "7", who=OLGA)
    served.do("grant", case, "--reason", REASON, who=PAT)
    assert served.cli("files", bundle, who=PAT).code == 0
    served.do("revoke", consent["id"], who=OLGA)
    assert served.cli("files", bundle, who=PAT).code == 3
    (grant,) = served.do("grants", case, who=OLGA)
    assert (grant["end_cause"], grant["consent"]) == ("consent-revoked", consent["id"])
    (listed,) = served.do("consents", case, who=OLGA)
    assert listed["revoked_at"]


def test_a_partner_who_has_one_of_the_two_is_told_that_both_are_needed(served: Served, case: str) -> None:
    """The assignment by the case system, and the customer's consent."""
    served.do("consent", case, "--partner", "oem", "--days", "7", who=OLGA)
    unassigned = served.cli("grant", case, "--reason", REASON, who=PAT)
    assert unassigned.code == 3 and "no case" in unassigned.error  # as where there is none
    served.cli("cases", "assign", case, "rob", who=CASE_SYSTEM)
    unconsented = served.cli("grant", case, "--reason", REASON, who="partner:rob/rival")
    assert unconsented.code == 3 and "no-consent" in unconsented.error
    for refused in (unassigned, unconsented):
        assert "needs both" in refused.error


def test_another_partners_consent_is_no_consent(served: Served, sent: Sent, case: str) -> None:
    served.cli("cases", "assign", case, "pat", who=CASE_SYSTEM)
    served.do("consent", case, "--partner", "somebody-else", "--days", "7", who=OLGA)
    assert served.cli("grant", case, "--reason", REASON, who=PAT).code == 3


def test_a_consent_for_one_bundle_reaches_no_other(served: Served, sent: Sent, case: str) -> None:
    bundle = sent.bundle
    other = served.do("send", sent.file, "--case", case, "--roles", "Other", who="stamp:rack-1@contoso")
    served.cli("cases", "assign", case, "pat", who=CASE_SYSTEM)
    served.do("consent", case, "--partner", "oem", "--days", "7", "--bundle", bundle, who=OLGA)
    served.do("grant", case, "--reason", REASON, who=PAT)
    assert served.cli("files", bundle, who=PAT).code == 0
    assert served.cli("files", other["bundle"], who=PAT).code == 3
