"""The Blob service's protocol, as far as unmodified clients need it to send: a door at the root of its own address.

What comes through it is custody's: `retention.custody.staging` and `committing`. Nothing here can read a bundle.
"""
