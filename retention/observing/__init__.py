"""What may watch custody at work, and how: `observer` is the contract, `telemetry` the one adapter behind it."""
