"""What may watch custody at work, and how: `observer` is the contract, `telemetry` the one adapter behind it.

exposition.py     The metrics of several processes as one page, in Prometheus' text format. Pure.
observer.py       What an observer of the service is told. The doors and the assembly tell it; the rules of custody
                  know nothing of it.
opentelemetry.py  The observer that counts and traces, by OpenTelemetry: the only module that imports it, loaded
                  only when it is on.
"""
