"""Stores of sealed parts and wrapped data keys: the contract, and its implementations.

azure/           The stores in Azure Blob Storage.
local/           The stores in folders on this machine.
object_names.py  The names of all objects, built here and nowhere else.
store.py         The contract of the stores. Every store passes the suites in tests/contracts/.
store_errors.py  The errors of the stores. None knows of HTTP; no message holds key material.
"""
