"""Stores of sealed parts and wrapped data keys: the contract, and what implements it.

azure/           The stores in Azure Blob Storage.
local/           The stores in folders on this machine.
object_names.py  Every object name is built here, and nowhere else.
store.py         The contract of the stores. Every store passes the suites in tests/contracts/.
store_errors.py  What can go wrong in the stores. Nothing here knows of HTTP; no message holds key material.
"""
