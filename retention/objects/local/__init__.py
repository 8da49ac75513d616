"""The stores in folders on this machine.

aligned_file.py  A new file written front to back at the speed of the disk, by a background thread.
folders.py       The local stores' calls of the operating system, and the store errors of its failures.
key_store.py     Wrapped data keys in a local folder of their own.
part_store.py    Sealed parts in a local folder: one folder a bundle, one file a part.
"""
