"""The Blob service's protocol, as far as unmodified clients need it to send: a door at the root of its own
address.

addresses.py     Where a request goes: `/<container>/<blob>`, or `/<account>/<container>/<blob>` for a bare IP
                 address. Pure.
app.py           The endpoint as a WSGI application, for the root of a host name or port of its own.
blob_errors.py   The Blob service's errors: the only table, and what custody's answers are in its words.
blobs.py         Operations on a blob: sent in one piece or in blocks, committed, looked at, given up. Never read.
bodies.py        Request bodies: into a block, into memory when they are small, or away.
containers.py    Operations on a container: what is in it, and that it is there.
crc64.py         The Blob service's checksum: CRC-64/NVME, as clients and this service write it (x-ms-content-
                 crc64).
documents.py     Block ids and block lists, as clients send them. Pure.
headers.py       What a request's headers say: sizes, conditions, checksums, metadata. Pure.
link_address.py  An upload link's address: made when it is issued; checked, by the endpoint's own rules, when
                 somebody pastes one.
request.py       One request, as far as every operation needs it, and what every answer carries.
sas.py           Shared access signatures of upload links: made, and checked by making them again. Pure.
structured.py    Structured bodies (XSM/1.0; properties=crc64): content in segments, each followed by its CRC64.
                 Pure.
"""
