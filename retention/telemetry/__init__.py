"""Watching custody at work: `observer` is the contract, `opentelemetry` its one adapter.

exposition.py     The metrics of several processes as one page, in Prometheus' text format. Pure.
observer.py       The contract of an observer of the service, and the wrappers that report custody's parts to it.
opentelemetry.py  The observer that counts and traces by OpenTelemetry: the only module that imports it, loaded only
                  when it is on.
"""
