"""Notices (`retention.domain.notice`): written with the act, sent later, and who gets them.

deliveries.py        Deliveries: waiting notices are claimed receiver by receiver, and what became of each try is
                     recorded.
manage_receivers.py  Receivers of notices: added, tested, removed and listed by who is told, with how sending goes.
outbox.py            The outbox: the notices of an act are written in the act's own transaction.
"""
