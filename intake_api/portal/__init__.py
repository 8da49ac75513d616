"""The portal: pages for engineers, customers' operators and auditors, over the same calls of custody as the API.

approval_pages.py   Approval of access: requests with their answers, and when the customer wants to be asked.
auditor_pages.py    An auditor's pages: entries by question and filter, who read a case, unused grants, exports,
                    reviews.
blueprint.py        The portal's routes together: who is calling, which requests are taken, and errors as pages.
browser_session.py  The session of a browser: its cookie, its seal over the issuer's tokens, its renewal.
check_pages.py      Proofs, checked in the page: what is to be checked, and where its script finds it.
engineer_pages.py   Pages of a case and its bundles, for all who see them, and the engineer's own access.
event_pages.py      An event log in the reading room: its events as a table with filters, and one event in full.
forms.py            What a person typed, read by the API's own schemas, so that both doors take the same and refuse the
                    same.
notice_pages.py     Notices: where a customer's go, or the answers to an engineer's own requests, and what became of
                    each.
operator_pages.py   A customer's operator's pages: collections, stamps, consents, erasures and their receipts.
page.py             A page: templates, texts, and how moments, sizes and ids are written in it.
reading_pages.py    The reading room: what is inside a bundle, a screen of a file's lines, and searching.
sign_in_pages.py    Sign-in, sign-out, and a person's own sessions.
upload_pages.py     A customer's operator sends bundles from a page, and hands out upload links for others to send
                    through.
"""

from intake_api.portal.blueprint import portal_pages

__all__ = ["portal_pages"]
