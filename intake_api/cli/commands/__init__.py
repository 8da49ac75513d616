"""The commands, a module for each group of them.

access.py          Commands about bundles and who is allowed to read them: collections, claim, grants, consents,
                   erasure.
approvals.py       Commands about approval of access: requests listed, shown, answered, withdrawn; the customer's
                   policy.
audit.py           Commands for auditors: the entries, their export, checks that trust nobody; for administrators,
                   redaction.
audit_findings.py  `casevault audit overdue` and `unaccounted`: findings from the log alone, by code that the
                   service does not use.
audit_verify.py    `casevault audit verify`: is the log what was signed, and what its witness keeps of it?
cases.py           Commands about cases, tenants and stamps: who is allowed to send, and for what.
events.py          `casevault events`: a Windows event log inside a bundle as its events.
fetch.py           `casevault files` and `casevault fetch`: what a bundle contains, and its bytes.
links.py           Commands about upload links, for senders without a token: issue, list, renew, revoke, check.
machine.py         Commands on the service's own machine: init, serve, sweep, keys.
misdirected.py     Commands about data received by mistake: a bundle in the wrong case, data that nobody should
                   hold.
notices.py         Commands about notices: receivers added, listed, tested and removed, and what became of each
                   message.
read_text.py       `casevault view` and `casevault grep`: lines of files inside bundles, without fetching them.
receipts.py        `casevault receipts`: fetch a receipt, and check one offline, with only the pinned keys.
reconcile.py       `casevault reconcile`: check the records against log, key store and object store. `casevault
                   rebind`: start a case whose access records were altered afresh.
reviews.py         Commands about reviews of grants that are over: listed, shown with what was done, signed off,
                   questioned.
save.py            `casevault save`: the bundle and its collection as files, for stamps without a connection.
send.py            `casevault send`: a file, a folder, a saved bundle or a pipe to the service, and the receipt
                   back.
"""
