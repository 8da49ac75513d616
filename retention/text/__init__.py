"""A file's bytes as text: encodings, lines, times, levels, events and searching. Pure: no I/O and no clock.

encodings.py   What a file is encoded in: by its bytes, with a guess that says it is one, or as the caller says.
events.py      Windows event logs (.evtx): the layout of a file, and an event as people look for it.
levels.py      How bad a line says that it is.
line_index.py  Where lines begin: blocks of a file with their line numbers and times.
lines.py       Bytes split into lines of a bounded length, however they arrive.
pattern.py     What is searched for: a literal or a regular expression, in linear time.
search.py      Searching lines as they arrive, with context, bounded, to be gone on with.
times.py       The time that a line says it is from.
"""
