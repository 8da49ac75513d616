"""Sealing and opening bytes (P1): the format of a part, and the manifest that orders the parts.

bundle_file.py      Reading a bundle: plaintext ranges over its ordered parts, and the same as a seekable file.
data_keys.py        Data keys, wrapped keys, and the contract of their wrappers.
format.py           The sealed format: a part's bytes and arithmetic, associated data, and the envelope's errors. Pure.
manifest.py         The manifest: the ordered parts of a bundle. Its hash binds them in the audit log and in receipts.
part_stream.py      Sealing and opening one part, segment by segment, and sealing a stream of pieces.
sealed_index.py     The contents index sealed under its bundle's data key, and read from the middle.
sealed_manifest.py  The manifest sealed and stored with the parts, so that objects and data key suffice (P1).
"""
