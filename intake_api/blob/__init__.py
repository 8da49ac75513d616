"""The Blob service's protocol, as far as unmodified clients need it to send, at an address of its own.

addresses.py     The place a request names: `/<container>/<blob>`, with `/<account>` before for a bare IP address. Pure.
app.py           The endpoint as a WSGI application, for the root of a host name or port of its own.
blob_errors.py   The Blob service's errors: the only table, and how custody's refusals translate into them.
blobs.py         Operations on a blob: sent in one piece or in blocks, committed, looked at, given up. Never read.
bodies.py        Request bodies: into a block, into memory if small, or discarded; and their checksums.
containers.py    Operations on a container: its properties, and the list of its blobs.
crc64.py         The Blob service's checksum: CRC-64/NVME, as x-ms-content-crc64 carries it.
documents.py     The XML that clients send (block lists) and get (errors, lists), and block ids. Pure.
headers.py       What a request's headers say: sizes, conditions, checksums, metadata. Pure.
link_address.py  An upload link's address: made when issued; checked by the endpoint's own rules when pasted.
request.py       A parsed request, what all operations share, and the headers of every response.
sas.py           Shared access signatures of upload links: made, and checked by making them again. Pure.
structured.py    Structured bodies (XSM/1.0; properties=crc64): segments of content, each with its CRC64. Pure.
"""
