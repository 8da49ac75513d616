"""The protocol of resumable uploads, tus 1.0.0.

checksums.py  Checksums of request bodies (tus: checksum): computed as bytes pass, compared before any of them counts.
protocol.py   The requests of tus 1.0.0 (https://tus.io/protocols/resumable-upload): parsed, or refused. Pure.
"""
