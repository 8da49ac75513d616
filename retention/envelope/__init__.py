"""How bytes are sealed and opened (P1): the format of a part, and the manifest that orders the parts.

bundle_file.py      Reading a whole bundle: plaintext ranges over its ordered parts, and the same as a seekable
                    file.
data_keys.py        Data keys, wrapped keys, and the contract of whatever wraps them.
format.py           What can go wrong in sealing, opening and key handling. No message holds key material or
                    plaintext.
manifest.py         The manifest: which parts, in which order, are a bundle. Its hash is what the audit log and the
                    receipts bind.
part_stream.py      Sealing and opening one part, segment by segment. The format is in format.py.
sealed_manifest.py  The manifest as it is kept with the parts: objects and data key alone give a bundle back (P1).
"""
