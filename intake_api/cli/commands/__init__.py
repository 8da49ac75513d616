"""The commands, a module for each group of them.

access.py        Commands about bundles and who may read them: collections, claim, grants, consents, erasure.
audit.py         Commands for auditors: the entries, their export, and checks that take nobody's word.
audit_replay.py  What the log alone tells, by code that the service does not use: `casevault audit overdue` and
                 `unaccounted`.
audit_verify.py  `casevault audit verify`: is the log what was signed, and what its witness keeps of it?
cases.py         Commands about cases, tenants and stamps: who may send, and for what.
fetch.py         `casevault files` and `casevault fetch`: what is inside a bundle, and the bytes.
links.py         Commands about upload links, for who sends without a token: issued, listed, renewed, revoked, and a
                 pasted one checked.
machine.py       Commands on the service's own machine: init, serve, sweep, keys.
moves.py         Commands about what came that should not have: a bundle in the wrong case, data that nobody should
                 hold.
receipts.py      `casevault receipts`: take a receipt, and check one offline, with nothing but the pinned keys.
reconcile.py     `casevault reconcile`: the records held against log, key store and object store, by command;
                 `casevault rebind`: a case whose access was altered, begun anew.
save.py          `casevault save`: the bundle and its collection as files, where there is no line to send it over.
send.py          `casevault send`: a file, a folder, a saved bundle or a pipe to the service, and the receipt back.
"""
