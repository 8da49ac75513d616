"""Sending a notice out: one adapter for each way (`retention.domain.notice.Sender`).

mail.py     Notices by mail: SMTP with TLS, one message a connection, bounded in time.
webhook.py  Notices by webhook: a CloudEvent, signed as Standard Webhooks says, sent to a public https address.
"""
