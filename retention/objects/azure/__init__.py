"""The stores in Azure Blob Storage.

account_check.py  Whether a storage account can keep the promise that erased is gone (P5, P7), and what to change if
                  it cannot.
blob_service.py   How this service speaks to Azure Blob Storage: connections, patience, and what its errors are
                  called here.
block_names.py    How a bundle lies in one block blob: names of blocks, and what a list of them says. Pure.
bundle_blob.py    One bundle's blob, and the few calls of the service that act on it as a whole. Names of blocks:
                  azure_blocks.py.
key_store.py      Wrapped data keys in Azure Blob Storage, in a container of their own.
part_reader.py    A stored part, read by ranges of its bundle's blob, with the next ranges fetched ahead.
part_store.py     Sealed parts in Azure Blob Storage: one block blob a bundle.
part_writer.py    A part being written: sealed bytes gather in memory and go out as staged blocks, two at once.
"""
