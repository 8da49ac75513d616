"""The HTTP door: the API, the Blob endpoint, the server, and the command line.

api/             The HTTP API as an application: its context, its callers, its errors, its routes.
blob/            The Blob service's protocol, as far as unmodified clients need it to send: a door at the root of
                 its own address.
cli/             The command line, `casevault`.
http/            HTTP, as far as several routes need it: bodies, ranges, checksums, headers.
identity/        Who is calling: bearer token -> Caller.
schemas/         The shapes of requests and answers, one module a resource: marshmallow, which validates and
                 documents in one.
serve/           The running server: its processes, sockets, certificates, logs and metrics.
tus/             The protocol of resumable uploads, tus 1.0.0.
config.py        What the service is configured with. With retention/config.py, the only module here that reads the
                 environment.
logs.py          What the processes of the service write to standard error: one JSON object a line.
processes.py     What the processes of one service owe each other.
state_folder.py  The state folder of a service on this machine, as its callers find it: where it is, and the address
                 kept in it.
"""
