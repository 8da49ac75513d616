"""A customer's operator's pages: collections, stamps, consents, erasures and their receipts."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from flask import Response, redirect, request

from intake_api.api.authentication import caller, custody
from intake_api.api.looks import looked_at
from intake_api.api.routes import bundles
from intake_api.portal import forms, page
from intake_api.portal.engineer_pages import receipt_file
from intake_api.schemas.access import NewConsent
from intake_api.schemas.bundles import BundleQuery
from intake_api.schemas.fields import PageQuery
from retention.custody import receipts
from retention.custody.access import manage_cases, manage_consents, manage_stamps
from retention.custody.context import about, about_bundle, about_case
from retention.custody.erasure import erasure_steps
from retention.custody.uploads import declaration
from retention.domain.bundle import STATUSES, CollectionType


def collections() -> Response:
    """Show the collection history, newest first by the time collected."""
    asked = forms.read(BundleQuery, request.args)
    found = bundles.listed(asked)
    filters = {
        name: value for name, value in request.args.items() if value and name not in ("cursor", "limit")
    }
    stamps = manage_stamps.list_stamps(custody(), caller(), None, 50).items
    return page.show(
        "collections.html",
        bundles=found.items,
        next=found.next,
        asked=request.args,
        filters=urlencode(filters),
        stamps={stamp.id: stamp.name for stamp in stamps},
        statuses=list(STATUSES),
        types=[kind.value for kind in CollectionType],
    )


def stamps() -> Response:
    """Show the customer's stamps, and whether they may collect by themselves."""
    asked = forms.read(PageQuery, request.args)
    found = manage_stamps.list_stamps(custody(), caller(), asked["cursor"], asked["limit"])
    return page.show("stamps.html", stamps=found.items, next=found.next)


def set_proactive(stamp: str) -> Response:
    """Give or revoke the consent to proactive collection from a stamp."""
    manage_stamps.set_proactive(custody(), caller(), stamp, request.form.get("enabled") == "yes")
    return _to("/portal/stamps")


def give_consent(number: str) -> Response:
    """Let one partner see one case, until a day."""
    form = request.form
    named = {"partner": form.get("partner", ""), "expires_at": forms.day(form.get("expires_on", ""))}
    asked = forms.read(NewConsent, named)
    manage_consents.give_consent(
        custody(), caller(), number, asked["partner"], asked["expires_at"], asked["bundles"]
    )
    return _to(f"/portal/cases/{quote(number, safe='')}")


def revoke_consent(consent: str) -> Response:
    """Revoke a consent: the partner's grants end at once."""
    revoked = manage_consents.revoke_consent(custody(), caller(), consent)
    return _to(f"/portal/cases/{quote(revoked.number, safe='')}")


def ask_erase_case(number: str) -> Response:
    """Show what goes with a case's data, what stays, and from when it cannot be undone."""
    found = manage_cases.get_case(custody(), caller(), number)
    looked_at(**about_case(found))
    held = declaration.list_bundles(custody(), caller(), None, 50, case_number=number)
    return page.show("erase.html", case=found, bundle=None, held=held)


def ask_erase_bundle(bundle: str) -> Response:
    """Show what goes with a bundle, what stays, and from when it cannot be undone."""
    found = declaration.get_bundle(custody(), caller(), bundle)
    looked_at(**about_bundle(found))
    return page.show("erase.html", case=None, bundle=found, held=None)


def erase_case(number: str) -> Response:
    """Begin the erasure of a case's data."""
    begun = erasure_steps.request_case_erasure(custody(), caller(), number)
    return _to(f"/portal/erasures/{begun.confirmation}")


def erase_bundle(bundle: str) -> Response:
    """Begin the erasure of one bundle."""
    begun = erasure_steps.request_bundle_erasure(custody(), caller(), bundle)
    return _to(f"/portal/erasures/{begun.confirmation}")


def erasures() -> Response:
    """Show the erasures, newest first."""
    asked = forms.read(PageQuery, request.args)
    found = erasure_steps.list_erasures(custody(), caller(), asked["cursor"], asked["limit"])
    return page.show("erasures.html", erasures=found.items, next=found.next)


def erasure(confirmation: str) -> Response:
    """Show one erasure, and its receipt once it is proven."""
    return page.show("erasure.html", erasure=_found(confirmation))


def erasure_receipt(confirmation: str) -> Any:
    """Hand over an erasure's signed receipt."""
    found = _found(confirmation)
    return receipt_file(receipts.hand_out(custody(), found.id), f"erasure-{found.confirmation}.json")


ROUTES: tuple[tuple[str, str, str, Any], ...] = (
    ("GET", "/collections", "collections", collections),
    ("GET", "/stamps", "stamps", stamps),
    ("POST", "/stamps/<stamp>/proactive", "set_proactive", set_proactive),
    ("POST", "/cases/<number>/consents", "give_consent", give_consent),
    ("POST", "/consents/<consent>/revoke", "revoke_consent", revoke_consent),
    ("GET", "/cases/<number>/erase", "ask_erase_case", ask_erase_case),
    ("POST", "/cases/<number>/erase", "erase_case", erase_case),
    ("GET", "/bundles/<bundle>/erase", "ask_erase_bundle", ask_erase_bundle),
    ("POST", "/bundles/<bundle>/erase", "erase_bundle", erase_bundle),
    ("GET", "/erasures", "erasures", erasures),
    ("GET", "/erasures/<confirmation>", "erasure", erasure),
    ("GET", "/erasures/<confirmation>/receipt", "erasure_receipt", erasure_receipt),
)


def _found(confirmation: str) -> Any:
    found = erasure_steps.find_erasure(custody(), caller(), confirmation)
    looked_at(**about(found), subject=found.id)
    return found


def _to(address: str) -> Response:
    return redirect(address, 303)  # type: ignore[return-value]
