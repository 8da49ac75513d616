"""Upload links over the API: issued once, listed without their secret, revoked, checked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from audit.times import rfc3339
from retention.records.tables import upload_links
from tests.intake_api.blob.calling import Sender
from tests.service import CASE, ENGINEER, OPERATOR, OTHER_OPERATOR, STAMP, Persona, Service

CASE_LINKS = f"/cases/{CASE}/upload-links"


def later(service: Service, **by: float) -> str:
    return rfc3339(service.clock.now() + timedelta(**(by or {"days": 1})))


def issue(service: Service, path: str = CASE_LINKS, who: Persona = OPERATOR, **asked: Any) -> dict[str, Any]:
    body = {"expires_at": later(service), **asked}
    return dict(service.done("POST", path, who, json=body))


def check(service: Service, url: str, who: Persona = OPERATOR) -> dict[str, Any]:
    return dict(service.done("POST", "/upload-links/check", who, json={"url": url}))


def stamp_links(service: Service) -> str:
    (stamp,) = service.done("GET", "/stamps", OPERATOR)["items"]
    return f"/stamps/{stamp['id']}/upload-links"


def test_a_link_is_issued_once_and_listed_without_its_secret(service: Service) -> None:
    issued = issue(service, permissions="rcw", ip="192.0.2.1-192.0.2.9", roles="Compute")
    url = issued.pop("url")
    assert url.startswith("https://blobs.example/lnk-")
    (listed,) = service.done("GET", CASE_LINKS, OPERATOR)["items"]
    assert listed == issued
    assert (listed["permissions"], listed["ip"], listed["roles"]) == (
        "rcw",
        "192.0.2.1-192.0.2.9",
        ["Compute"],
    )
    signature = url.rsplit("sig=", 1)[1]
    assert signature not in str(service.done("GET", stamp_links(service), STAMP))
    assert signature not in str(service.entries())


def test_a_stamps_link_is_for_proactive_collections_and_names_their_trigger(service: Service) -> None:
    path = stamp_links(service)
    assert issue(service, path, STAMP, trigger="Urp.UpdateFailure")["type"] == "proactive"
    body = {"expires_at": later(service)}
    assert service.call("POST", path, STAMP, json=body).json["errors"].keys() == {"trigger"}  # type: ignore[index]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"expires_at": None}, "expires_at"),
        ({"permissions": "x"}, "permissions"),
        ({"ip": "everywhere"}, "ip"),
        ({"type": "proactive"}, "trigger"),
        ({"stamp": "stp_unknown"}, "stamp"),
        ({"url": "https://blobs.example"}, "url"),
    ],
)
def test_what_cannot_be_issued_is_told_by_field(service: Service, asked: dict[str, Any], field: str) -> None:
    answer = service.call("POST", CASE_LINKS, OPERATOR, json={"expires_at": later(service), **asked})
    assert answer.status_code == 422
    assert set(answer.json["errors"]) == {field}  # type: ignore[index]


def test_a_deployment_without_the_endpoint_issues_nothing(tmp_path: Path) -> None:
    with Service(tmp_path, blob_origin=None) as service:
        service.set_up()
        answer = service.call("POST", CASE_LINKS, OPERATOR, json={"expires_at": later(service)})
        assert (answer.status_code, answer.json["reason"]) == (409, "no-blob-endpoint")  # type: ignore[index]


def test_an_engineer_of_the_case_issues_a_link_for_the_customer(service: Service) -> None:
    issued = issue(service, who=ENGINEER)
    assert Sender(service, issued["url"]).put().status_code == 201


def test_a_good_link_is_accepted(service: Service) -> None:
    issued = issue(service)
    found = check(service, f"  {issued['url']}\n", ENGINEER)
    assert found == {
        "accepted": True,
        "reason": None,
        "detail": None,
        "link": issued["id"],
        "expires_at": issued["expires_at"],
    }


def forged_of(url: str) -> str:
    """The address with a signature of somebody else."""
    return f"{url.partition('sig=')[0]}sig={'A' * 43}%3D"


def lose(service: Service) -> None:
    """What a database restored from before knows of links that were issued since."""
    service.custody.records.write(lambda tx: tx.change(delete(upload_links)))


def test_a_link_that_a_restore_lost_is_not_called_badly_signed(service: Service) -> None:
    issued = issue(service)
    lose(service)
    found = check(service, issued["url"])
    assert (found["accepted"], found["reason"]) == (False, "not-on-record")
    assert "new link" in found["detail"] and issued["id"] in found["detail"]
    forged = check(service, forged_of(issued["url"]))
    assert forged["reason"] == "signature", "who made an address up is told nothing of what is on record"
    service.advance(timedelta(days=400))
    assert check(service, issued["url"])["reason"] == "expired"


def test_who_sends_through_a_link_that_a_restore_lost_is_told_so(service: Service) -> None:
    issued = issue(service)
    lose(service)
    answer = Sender(service, issued["url"]).put()
    assert answer.status_code == 403
    assert b"AuthenticationFailed" in answer.data and b"new link" in answer.data
    (refused,) = service.entries(action="upload-link.refused")
    assert refused["reason"] == "not-on-record"
    other = Sender(service, forged_of(issued["url"])).put()
    assert b"new link" not in other.data and b"Signature did not match" in other.data


def test_a_check_says_why_not(service: Service) -> None:
    issued = issue(service)
    url = issued["url"]
    lacking = issue(service, permissions="rl")["url"]
    early = issue(service, starts_at=later(service, hours=2))["url"]
    revoked = issue(service)
    service.done("POST", f"/upload-links/{revoked['id']}/revoke", OPERATOR)
    reasons = {
        url.replace("sp=rcwl", "sp=rcwdl"): "signature",
        url.replace("lnk-", "lnk-a"): "malformed",
        url.replace("https://", "http://"): "host",
        url.replace("blobs.example", "elsewhere.example"): "host",
        url + "&sp=r": "malformed",
        "not an address": "host",
        "https://[": "malformed",
        lacking: "permission",
        early: "not-yet-valid",
        revoked["url"]: "revoked",
    }
    for pasted, reason in reasons.items():
        found = check(service, pasted)
        assert (found["accepted"], found["reason"]) == (False, reason), pasted
        assert found["detail"]
    service.advance(timedelta(days=1))
    assert check(service, url)["reason"] == "expired"


def test_a_renewed_link_goes_on_with_the_blocks_that_its_old_end_cut_off(service: Service) -> None:
    issued = issue(service, permissions="rcwl")
    sender = Sender(service, issued["url"])
    assert sender.call("PUT", query="comp=block&blockid=QUFB", data=b"first").status_code == 201
    service.advance(timedelta(days=2))
    assert sender.call("PUT", query="comp=block&blockid=QUFC", data=b"second").status_code == 403
    path = f"/upload-links/{issued['id']}/renew"
    renewed = service.done("POST", path, OPERATOR, json={"expires_at": later(service)})
    assert renewed["id"] == issued["id"] and renewed["expires_at"] > issued["expires_at"]
    assert renewed["url"].split("?")[0] == issued["url"].split("?")[0]
    anew = Sender(service, renewed["url"])
    assert b"QUFB" in anew.call("GET", query="comp=blocklist&blocklisttype=all").data
    assert anew.call("PUT", query="comp=block&blockid=QUFC", data=b"second").status_code == 201
    listed = b"<BlockList><Latest>QUFB</Latest><Latest>QUFC</Latest></BlockList>"
    assert anew.call("PUT", query="comp=blocklist", data=listed).status_code == 201
    assert check(service, issued["url"])["reason"] == "expired"  # the old address ends when it says
    assert renewed["url"].rsplit("sig=", 1)[1] not in str(service.entries())


def test_a_renewal_past_what_a_link_may_have_says_until_when(service: Service) -> None:
    issued = issue(service)
    path = f"/upload-links/{issued['id']}/renew"
    for asked, said in (
        ({"days": 731}, "within two years"),
        ({"hours": 1}, "present end"),
        ({"days": -1}, "future"),
    ):
        refused = service.call("POST", path, OPERATOR, json={"expires_at": later(service, **asked)})
        assert refused.status_code == 422
        assert said in refused.get_json()["errors"]["expires_at"]
    service.done("POST", f"/upload-links/{issued['id']}/revoke", OPERATOR)
    gone = service.call("POST", path, OPERATOR, json={"expires_at": later(service, days=2)})
    assert (gone.status_code, gone.get_json()["reason"]) == (409, "link-revoked")


def test_another_customers_link_is_accepted_for_nobody_else(service: Service) -> None:
    url = issue(service)["url"]
    found = check(service, url, OTHER_OPERATOR)
    assert (found["accepted"], found["reason"], found["link"]) == (False, "another-customer", None)


def test_the_log_keeps_a_links_life(service: Service) -> None:
    issued = issue(service, ip="192.0.2.7")
    Sender(service, issued["url"]).put()
    service.done("POST", f"/upload-links/{issued['id']}/revoke", OPERATOR)
    Sender(service, issued["url"]).put()
    told = [(e["action"], e["outcome"]) for e in service.entries() if e.get("subject") == issued["id"]]
    assert told[::-1] == [
        ("upload-link.created", "success"),
        ("upload-link.used", "success"),
        ("upload.continued", "success"),
        ("upload-link.revoked", "success"),
        ("upload-link.refused", "refused"),
    ]
    (created,) = service.entries(action="upload-link.created")
    assert created["particulars"]["addresses"] == "192.0.2.7"
    assert "192.0.2.7" not in str(created["details"])
