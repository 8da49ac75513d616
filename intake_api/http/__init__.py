"""HTTP, as far as several routes need it: bodies, ranges, checksums, headers.

call_refused.py         Calls that HTTP itself makes wrong, whatever they are about: no length, wrong type,
                        impossible range.
content_disposition.py  Content-Disposition for names that others chose (RFC 6266, RFC 8187). Pure.
cross_origin.py         Pages of other origins that are allowed to send (CORS, https://fetch.spec.whatwg.org):
                        uploads only.
draining.py             Reads and discards an unwanted body, so that its sender gets the refusal and no connection
                        reset.
hosts.py                Loopback hosts (RFC 6761 section 6.3), and the check of the Host header (RFC 9112 section
                        3.2). Pure.
idle_connections.py     This process's connections: ends those on which nothing moves, where the server sets no
                        bound.
method_override.py      The method override of tus clients: behind a proxy without PATCH and DELETE they send POST,
                        and name the method.
pump.py                 From the request's body to the upload session: one thread reads ahead, the request's seals
                        and stores.
ranges.py               Which bytes a Range header asks for (RFC 9110 section 14). Pure.
request_body.py         Between server and application: bodies whose reads can be ended, responses that report their
                        end.
seats.py                Which requests hold this process's threads: seats, counted before a byte of a body is read.
"""
