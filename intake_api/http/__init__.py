"""HTTP, as far as several routes need it: bodies, ranges, checksums, headers.

cross_origin.py  Pages of other origins that may send (CORS, https://fetch.spec.whatwg.org): from a list, and
                 uploads alone.
draining.py      Bodies that nobody wants are read away, so that the refusal is heard: who is still sending reads no
                 answer, and a server that closes on them resets the connection.
headers.py       tus: a client behind a proxy that knows no PATCH or DELETE sends POST and says what it means.
hosts.py         What counts as this machine talking to itself: 127.0.0.0/8, ::1, and the name localhost (RFC 6761
                 section 6.3).
idle.py          This process's connections: those on which nothing moves are ended, where the server knows no bound
                 of its own.
pump.py          From the request's body to the upload session: one thread reads ahead, the request's own thread
                 seals and stores.
ranges.py        Which bytes a Range header asks for (RFC 9110 section 14). Pure.
seats.py         Who holds a thread of this process: seats, counted before a byte of a body is read.
wsgi_guard.py    What stands between the server and the application: bodies that are left alone, answers that tell
                 their end.
"""
