"""Who there is, which cases they have, and what lets them read.

altered_records.py  Everything in the records that decides who reads what, held against its tags and the log's
                    newest acts.
bound_access.py     Access to a case as it is bound: what lets somebody read it, believed only under the service's
                    tag (P2, P6).
first_binding.py    Binding what was written before there was a key to bind it with: once, from the signed log, as
                    an act in the log.
manage_cases.py     Cases: opened, assigned, unassigned, closed and reopened by the case system.
manage_consents.py  Consents: the customer lets one partner see one case (P6).
manage_grants.py    Grants: who may read, until when (P2). The rules are in `retention.domain.grants`; here they
                    meet the records.
manage_links.py     Upload links: issued, listed, renewed, revoked, and looked up by the door that they open.
manage_stamps.py    Tenants and stamps: who may send bundles at all.
people.py           Actors: an opaque id for each person or machine that an issuer vouches for.
"""
