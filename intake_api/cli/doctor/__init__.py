"""`casevault doctor`: what is wrong here, and what to do.

checks.py   What the server stands on: its certificate, its issuer, the folder and the disk it works in.
command.py  `casevault doctor`: every setting and every part, a line each, and what to change.
line.py     The line to the service: whether something on it takes whole bodies before the service hears of them.
running.py  Checks run side by side: one that fails or hangs hides no other.
"""
