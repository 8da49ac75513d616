"""The stores in Azure Blob Storage.

account_check.py  The check that a storage account can keep the promise that erased is gone (P5, P7), and what to
                  change if it cannot.
blob_service.py   The connection to Azure Blob Storage: its clients, their patience, and the store errors of its
                  failures.
block_names.py    The layout of a bundle in one block blob: names of blocks, and the meaning of a list of them. Pure.
bundle_blob.py    One bundle's blob: the calls that act on it as a whole, and the finding of its every form.
key_store.py      Wrapped data keys in Azure Blob Storage, in a container of their own.
part_reader.py    A stored part, read by ranges of its bundle's blob, with the next ranges fetched ahead.
part_store.py     Sealed parts in Azure Blob Storage: one block blob a bundle.
part_writer.py    A part being written: sealed bytes gather in memory and go out as staged blocks, two at once.
"""
