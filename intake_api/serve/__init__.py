"""The running server: its processes, sockets, certificates, logs and metrics.

blob_worker.py     The Blob endpoint's worker process: `intake_api.serve.worker` for a smaller application.
certificates.py    A local certificate authority, so that the service speaks TLS on loopback with no setup.
clock_process.py   The clock process: work that no caller asks for, beside the server so that it never slows an
                   upload.
descriptors.py     File descriptors: as many as the processes may need, or fewer connections.
granian_server.py  The worker's parent: one listening socket, and a worker on it that can be renewed without a gap.
metrics.py         The metrics of all processes of the service on one page, for Prometheus: plain HTTP, GET
                   /metrics.
parent.py          `casevault serve`: the parent of the service's processes, and nothing else.
stop_accepting.py  Makes a worker that is about to be replaced accept no more callers, and serve those that it has.
worker.py          The worker process around the HTTP API: start, readiness, stop.
worker_health.py   Whether a worker responds, asked over the socket as any caller would (/healthz).
"""
