"""`casevault demo`: the life of one real bundle against the real service, every step checked.

access.py      The middle steps: an engineer is refused, assigned, granted access; reads; and all of it is in the log.
collecting.py  A collection as a stamp would make it, of this machine's own logs and inventory: real bytes, one
               folder a role.
command.py     `casevault demo`: the command, and its steps in order.
ending.py      The last steps: the case closes, 90 days pass, the bundle is gone, and that is proven.
intake.py      The first steps: the service is inspected, customer, stamp and case registered, the bundle sent and
               received.
narrator.py    The demo's output (each step, its checks, its time), its cast, and what its steps share.
rehearsal.py   The demo's stage: the real service as a child process, the people who use it, and the clock that can
               be moved.
"""
