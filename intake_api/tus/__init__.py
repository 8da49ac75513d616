"""The protocol of resumable uploads, tus 1.0.0.

checksums.py  Checksums of request bodies (tus: checksum): computed as the bytes pass, compared before any of them
              counts.
protocol.py   What a tus request says (tus 1.0.0, https://tus.io/protocols/resumable-upload), and what is refused.
              Pure.
"""
