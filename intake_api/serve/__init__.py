"""The running server: its processes, sockets, certificates, logs and metrics.

blob_worker.py     What runs in the process that answers the Blob endpoint's requests: `intake_api.serve.worker` for
                   a smaller application.
clock_process.py   The clock process: what happens without a caller, beside the server so that it never slows an
                   upload.
descriptors.py     File descriptors: as many as the processes may need, or fewer connections.
granian_server.py  The server's parent: one listening socket, and a worker behind it that can be renewed without a
                   gap.
metrics.py         The metrics of all processes of the service on one page, for Prometheus: `GET /metrics`, plain
                   HTTP, GET alone.
stop_accepting.py  A worker that is about to be replaced hears no more callers, and serves those that it has.
supervisor.py      `casevault serve`: the parent of its processes, and nothing else.
tls.py             A local certificate authority, so that the service speaks TLS on loopback with nothing to set up.
worker.py          What runs in the process that answers requests, beside the application: start, readiness, stop.
worker_health.py   Whether a worker responds, asked over the socket as any caller would: /healthz needs no seat and
                   no part.
"""
