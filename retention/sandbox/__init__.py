"""Child processes that take untrusted bytes apart, for decoders and parsers that are not Python's own.

1. A child has no key, no setting, no open file and no network, and cannot get any (`confinement`). Bytes go in and come
   out by two pipes, one bounded request and one bounded response at a time; nothing is written anywhere (P1).
2. Its death, its silence and its excess are an error of the one thing that it was asked for.
3. A child serves one session, which is one call about one bundle: what one bundle does to it, no other bundle meets.
4. The number of children is bounded for the whole process; whoever waits too long for one hears that it is busy.

children.py     The children of this process: begun, shared out, asked and ended.
confinement.py  Limits of the child on itself, before it sees a byte: no files, no network, no processes.
decoders.py     The decoders that run in a child.
event_logs.py   Windows event logs in a child: a chunk of a log in, its events out, a line of JSON each.
lzx.py          LZX, as cab files hold it: plain Python.
ppmd.py         PPMd, which needs a thread.
worker.py       The child's program: it confines itself, then serves requests until its input ends.
"""
