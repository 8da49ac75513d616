"""The HTTP door: the API, the Blob endpoint, the server, and the command line.

api/               The HTTP API as an application: its context, its callers, its errors, its routes.
blob/              The Blob service's protocol, as far as unmodified clients need it to send, at an address of its
                   own.
cli/               The command line, `casevault`.
http/              HTTP, as far as several routes need it: bodies, ranges, checksums, headers.
identity/          Who is calling: bearer token -> Caller.
schemas/           The shapes of requests and responses, one module per resource, validated and documented by
                   marshmallow.
serve/             The running server: its processes, sockets, certificates, logs and metrics.
tus/               The protocol of resumable uploads, tus 1.0.0.
config.py          The service's settings. With retention/config.py, the only module here that reads the
                   environment.
logs.py            The service's logs on standard error: one JSON object per line.
portal/            The portal: pages for engineers, customers' operators and auditors, over the same calls of
                   custody as the API.
processes.py       What the processes of one service owe each other.
state_location.py  Where a service's state folder is on this machine, and the address kept in it.
"""
