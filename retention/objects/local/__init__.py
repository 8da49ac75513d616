"""The stores in folders on this machine.

aligned_file.py  A new file written front to back at the speed of the disk.
file_io.py       What the local stores ask of the operating system, and how its errors are named.
key_store.py     Wrapped data keys in a local folder of their own.
part_store.py    Sealed parts in a local folder: one folder a bundle, one file a part.
"""
