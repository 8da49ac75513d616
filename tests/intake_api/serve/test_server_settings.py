"""What can be configured, and what is refused with a sentence that says what to do."""

from __future__ import annotations

import pytest

from intake_api.config import ClockIs, from_environment
from retention.config import SettingError

ISSUER = {"CASEVAULT_ISSUER": "https://login.example/v2.0"}
REHEARSAL = {"CASEVAULT_DEVELOPMENT": "1"}


def test_a_rehearsal_needs_nothing_else():
    settings = from_environment(REHEARSAL)
    assert (settings.host, settings.port, settings.issuer) == ("127.0.0.1", 8443, None)
    assert settings.origin == "https://127.0.0.1:8443"


def test_an_issuer_brings_its_audiences_and_claims():
    environ = {
        **ISSUER,
        "CASEVAULT_AUDIENCE": "api://one, two",
        "CASEVAULT_ROLES_CLAIM": "groups",
        "CASEVAULT_DIRECTORY_CLAIM": "dir",
        "CASEVAULT_PARTNER_CLAIM": "oem",
    }
    issuer = from_environment(environ).issuer
    assert issuer is not None
    assert issuer.audiences == ("api://one", "two")
    assert (issuer.roles_claim, issuer.directory_claim, issuer.partner_claim) == ("groups", "dir", "oem")


@pytest.mark.parametrize(
    ("text", "host", "port", "origin"),
    [
        ("localhost:9", "127.0.0.1", 9, "https://127.0.0.1:9"),
        ("[::1]:8443", "::1", 8443, "https://[::1]:8443"),
        ("127.0.0.2:65535", "127.0.0.2", 65535, "https://127.0.0.2:65535"),
    ],
)
def test_an_address_to_listen_on(text, host, port, origin):
    settings = from_environment({**REHEARSAL, "CASEVAULT_LISTEN": text})
    assert (settings.host, settings.port, settings.origin) == (host, port, origin)


def test_the_blob_endpoint_has_an_address_of_its_own_or_there_is_none():
    assert from_environment(REHEARSAL).blob_origin is None
    served = {**REHEARSAL, "CASEVAULT_BLOB_LISTEN": "127.0.0.1:8444"}
    assert from_environment(served).blob_origin == "https://127.0.0.1:8444"
    named = from_environment({**served, "CASEVAULT_BLOB_ORIGIN": "https://blobs.example/"})
    assert named.blob_origin == "https://blobs.example"
    assert named.for_blobs().port == 8444


def test_where_callers_find_it_and_which_pages_may_send():
    bare = from_environment(REHEARSAL)
    assert (bare.address, bare.upload_origins) == (None, frozenset())
    pages = "https://portal.example.com,http://localhost:3000"
    told = {"CASEVAULT_ORIGIN": "https://vault.example/", "CASEVAULT_UPLOAD_ORIGINS": pages}
    named = from_environment({**REHEARSAL, **told})
    assert (named.address, named.upload_origins) == ("https://vault.example", frozenset(pages.split(",")))


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "CASEVAULT_ISSUER"),
        ({**ISSUER, **REHEARSAL}, "are both set"),
        ({"CASEVAULT_ISSUER": "http://login.example"}, "https address"),
        ({**ISSUER, "CASEVAULT_AUDIENCE": ""}, "CASEVAULT_AUDIENCE"),
        ({**ISSUER, "CASEVAULT_LISTEN": "10.0.0.1:443"}, "CASEVAULT_TLS_CERTIFICATE"),
        ({**REHEARSAL, "CASEVAULT_LISTEN": "8443"}, "CASEVAULT_LISTEN"),
        ({**REHEARSAL, "CASEVAULT_LISTEN": "vault.example:8443"}, "CASEVAULT_LISTEN"),
        ({**REHEARSAL, "CASEVAULT_LISTEN": "127.0.0.1:0"}, "CASEVAULT_LISTEN"),
        ({**REHEARSAL, "CASEVAULT_LISTEN": "127.0.0.1:65536"}, "CASEVAULT_LISTEN"),
        ({**REHEARSAL, "CASEVAULT_TLS_KEY": __file__}, "go together"),
        ({**REHEARSAL, "CASEVAULT_TLS_CERTIFICATE": "/nowhere"}, "does not exist"),
        ({**REHEARSAL, "CASEVAULT_THREADS": "3"}, "from 12 to 4096"),
        ({**REHEARSAL, "CASEVAULT_STALL_SECONDS": "soon"}, "CASEVAULT_STALL_SECONDS"),
        ({**REHEARSAL, "CASEVAULT_BEAT_MILLISECONDS": "49"}, "CASEVAULT_BEAT_MILLISECONDS"),
        ({**REHEARSAL, "CASEVAULT_BLOB_LISTEN": "8444"}, "CASEVAULT_BLOB_LISTEN"),
        ({**ISSUER, "CASEVAULT_BLOB_LISTEN": "10.0.0.1:443"}, "CASEVAULT_TLS_CERTIFICATE"),
        ({**REHEARSAL, "CASEVAULT_BLOB_ORIGIN": "https://blobs.example"}, "CASEVAULT_BLOB_LISTEN"),
        ({**REHEARSAL, "CASEVAULT_BLOB_ORIGIN": "http://blobs.example"}, "CASEVAULT_BLOB_ORIGIN"),
        ({**REHEARSAL, "CASEVAULT_BLOB_ORIGIN": "https://blobs.example/a"}, "CASEVAULT_BLOB_ORIGIN"),
        ({**REHEARSAL, "CASEVAULT_ORIGIN": "https://vault.example/a"}, "CASEVAULT_ORIGIN"),
        ({**REHEARSAL, "CASEVAULT_UPLOAD_ORIGINS": "*"}, "CASEVAULT_UPLOAD_ORIGINS.*not an origin"),
        ({**REHEARSAL, "CASEVAULT_CLOCK": "function"}, "CASEVAULT_CLOCK must be embedded or functions"),
        (
            {**ISSUER, "CASEVAULT_DEVELOPMENT_ISSUER": "https://127.0.0.1:8443"},
            "needs CASEVAULT_DEVELOPMENT=1",
        ),
        ({**REHEARSAL, "CASEVAULT_DEVELOPMENT_ISSUER": "127.0.0.1:8443"}, "CASEVAULT_DEVELOPMENT_ISSUER"),
        ({**REHEARSAL, "CASEVAULT_DEVELOPMENT_ISSUER": "https://example.com"}, "CASEVAULT_DEVELOPMENT"),
    ],
)
def test_what_cannot_be_served_is_refused(environ, told):
    with pytest.raises(SettingError, match=told):
        from_environment(environ)


def test_development_is_refused_beyond_loopback_even_with_a_certificate():
    environ = {
        **REHEARSAL,
        "CASEVAULT_LISTEN": "0.0.0.0:8443",
        "CASEVAULT_TLS_CERTIFICATE": __file__,
        "CASEVAULT_TLS_KEY": __file__,
    }
    with pytest.raises(SettingError, match="only on 127"):
        from_environment(environ)


def test_the_clock_is_embedded_unless_a_function_app_is_it():
    assert from_environment(REHEARSAL).clock is ClockIs.EMBEDDED
    assert from_environment({**REHEARSAL, "CASEVAULT_CLOCK": "functions"}).clock is ClockIs.FUNCTIONS


def test_processes_of_one_rehearsal_may_know_the_same_people():
    address = "https://127.0.0.1:9000"
    other = from_environment({**REHEARSAL, "CASEVAULT_DEVELOPMENT_ISSUER": address})
    assert other.development_origin == address != other.origin
