"""Custody: what may be done with bundles, by whom and until when; where they are kept and how they end.

archive/             The files inside a bundle: listed, and read singly, over the opened bundle's ranges. Nothing is
                     written to a disk.
custody/             The verbs of custody: each checks the rules, changes the records and writes its entry in one
                     commit.
domain/              The rules of the domain, without I/O: cases, bundles, grants, deadlines, links, receipts.
envelope/            How bytes are sealed and opened (P1): the format of a part, and the manifest that orders the
                     parts.
jobs/                What the clock does without a caller.
keys/                Keys: data keys and what wraps them, signing keys, and where each is kept.
objects/             Stores of sealed parts and wrapped data keys: the contract, and what implements it.
records/             The database: tables, the unit of work, engines and migrations.
telemetry/           What may watch custody at work, and how: `observer` is the contract, `telemetry` the one
                     adapter behind it.
adapters.py          The only module that names concrete adapters: each part of custody, as the settings place it.
assembly.py          Settings in, custody out: the service's parts are made once, and put together for each process.
clock.py             The clock. `now` and `sure` are passed in everywhere; only assembly chooses which clock it is.
config.py            What custody is configured with. The only module of this package that reads the environment.
config_azure.py      Which parts of custody are in Azure. Read by settings.py; nothing here needs Azure's libraries.
config_telemetry.py  Whether telemetry is sent by OTLP, as the standard variables of OpenTelemetry say.
doctor.py            Custody's parts looked at one by one, each as far as it goes without the others. What is
                     written is removed again.
"""
