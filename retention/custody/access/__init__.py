"""People, stamps and cases, and what lets somebody read.

altered_records.py    Finding altered records: all that decide who reads what, checked against tags and log.
approval_policies.py  What customers chose about being asked for access (`retention.domain.approval`), for all cases or
                      for one.
bound_access.py       Bound access to a case: what lets somebody read it, believed only under the service's tag (P2,
                      P6).
first_binding.py      The first binding: records older than the binding key are bound once, from the signed log.
manage_approvals.py   Requests for the customer's approval (`retention.domain.approval`): answered, withdrawn, lapsed,
                      listed.
manage_cases.py       Cases: opened, assigned, unassigned, closed and reopened by the case system.
manage_consents.py    Consents: the customer lets one partner see one case (P6).
manage_grants.py      Grants in the records (P2): given, listed, ended. The rules are in `retention.domain.grants`.
manage_links.py       Upload links: issued, listed, renewed, revoked, and looked up for use.
manage_reviews.py     Reviews of grants that are over (`retention.domain.review`): listed, shown with what was done,
                      signed off, questioned.
manage_stamps.py      Tenants and stamps: the senders of bundles.
people.py             Actors: an opaque id for each person or machine that an issuer vouches for.
portal_sessions.py    Sessions of people at the portal: begun after a sign-in at the issuer, renewed there, ended.
"""
