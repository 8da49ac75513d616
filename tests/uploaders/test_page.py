"""The page of clients says what the tests of this run do, no more and no less."""

from __future__ import annotations

from pathlib import Path

from tests.blob.test_clients import TABLE as AZURE
from tests.uploaders.test_clients import TABLE as TUS
from tests.uploaders.test_http_clients import TABLE as HTTP

PAGE = Path(__file__).parents[2] / "docs" / "uploaders-clients.md"
HEAD = """\
# Upload clients, as the tests find them

Written by `python -m tests.uploaders.test_page` from the tables in `tests/uploaders/test_clients.py`,
`tests/uploaders/test_http_clients.py` and `tests/blob/test_clients.py`; a test fails when it is not what they say. A
yes is a test: the client as its registry hands it out (curl, Node and Chromium as the machine has them), against the
running service, over TLS; what the service read back from its store has the SHA-256 of what was sent. A dash: the
client has no such thing by itself.
"""


def page() -> str:
    return "\n".join([HEAD, *TUS.written(), *HTTP.written(), *AZURE.written()])


def test_the_page_of_clients_says_what_these_tests_do() -> None:
    assert PAGE.read_text() == page()


def test_a_table_names_no_client_whose_version_it_does_not_know() -> None:
    for table in (TUS, HTTP, AZURE):
        assert {client for _, client in table.cells()} == set(table.versions)


if __name__ == "__main__":
    PAGE.write_text(page())
