"""`casevault doctor`: what is wrong here, and what to do.

command.py          `casevault doctor`: every setting and every part, a line each, and what to change.
proxy_buffering.py  The line to the service: whether a proxy on it takes whole bodies before the service hears of
                    them.
running.py          Checks run side by side: one that fails or hangs hides no other.
server_checks.py    The doctor's checks of the server: settings, certificate, issuer, state folder, disk.
"""
