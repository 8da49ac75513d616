"""Custody: who is allowed to do what with bundles, and until when; where bundles are kept, and how they end.

archive/             The files inside a bundle: listed, and read one at a time, over the opened bundle's ranges.
                     Nothing is written to a disk.
custody/             The verbs of custody: each checks the rules, changes the records and writes its entry in one
                     commit.
domain/              The rules of the domain, without I/O: cases, bundles, grants, deadlines, links, receipts.
envelope/            Sealing and opening bytes (P1): the format of a part, and the manifest that orders the parts.
jobs/                What the clock does without a caller.
keys/                Keys: the key-encryption key, signing keys, and the places where they are kept.
objects/             Stores of sealed parts and wrapped data keys: the contract, and its implementations.
records/             The database: tables, the unit of work, engines and migrations.
sandbox/             Child processes that take untrusted bytes apart, for decoders and parsers that are not
                     Python's own.
senders/             Sending a notice out: one adapter for each way (`retention.domain.notice.Sender`).
telemetry/           Watching custody at work: `observer` is the contract, `opentelemetry` its one adapter.
text/                A file's bytes as text: encodings, lines, times, levels and searching, without I/O.
adapters.py          The only module that names concrete adapters: each part of custody, as the settings place it.
assembly.py          Settings in, custody out: the service's parts are made once, and put together for each process.
clock.py             The clock. `now` and `sure` are passed in everywhere; only assembly chooses the clock.
config.py            Custody's settings, read from the environment here and in the config modules beside.
config_azure.py      The settings that place parts of custody in Azure. Nothing here needs Azure's libraries.
config_notices.py    The settings of notices: read by the process that sends them, which is the clock.
config_telemetry.py  The settings of telemetry by OTLP: OpenTelemetry's standard variables.
doctor.py            Checks of custody's parts, one by one, each independent of the others as far as possible.
"""
