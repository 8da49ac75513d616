"""A person at the portal, in a real browser."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Page


def signed_in(
    context: BrowserContext, who: str, role: str, directory: str = "", to: str = "/portal/"
) -> Page:
    page = context.new_page()
    page.goto(to)
    page.get_by_text("Somebody else").click()
    page.get_by_label("Name").fill(who)
    page.get_by_label("Role").select_option(f"CaseVault.{role}")
    page.get_by_label("Customer's directory").fill(directory)
    page.get_by_role("button", name="Go on").click()
    return page
