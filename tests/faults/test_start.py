"""A start with a key that is missing, another's or open to others is refused with what to do, and changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from retention.assembly import assemble, initialise
from retention.config import Settings
from retention.custody.uploads.completion import verify_bundle
from retention.envelope.format import EnvelopeError, KeyFileRefused, UnknownKeyEncryptionKey
from retention.keys.key_file import LocalKeyWrapper
from retention.keys.signing import SigningKeyRefused
from tests.faults.scenarios import CONTENT, start
from tests.retention.custody.world import START

KEYS = ("key-encryption-key.json", "log-signing-key", "receipt-signing-key")
Harm = Callable[[Path], object]


def another(path: Path) -> None:
    path.unlink()
    LocalKeyWrapper.create(path, START)


HARMS: list[tuple[str, str, Harm, str]] = [
    *[(f"missing {name}", name, Path.unlink, "missing") for name in KEYS],
    *[(f"open {name}", name, lambda path: path.chmod(0o644), "chmod 600") for name in KEYS],
    *[
        (f"empty {name}", name, lambda path: path.write_text(""), "is not a key file|does not hold")
        for name in KEYS
    ],
    ("another installation's", KEYS[0], another, "put back the right one"),
]


def everything(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(("name", "harm", "says"), [h[1:] for h in HARMS], ids=[h[0] for h in HARMS])
def test_the_start_is_refused_and_nothing_is_changed(
    tmp_path: Path, name: str, harm: Harm, says: str
) -> None:
    state = tmp_path / "state"
    world = start(state)
    world.open_case()
    bundle = world.announce(len(CONTENT))
    world.send(bundle, CONTENT)
    world.custody.records.close()
    kept = (state / name).read_bytes()
    harm(state / name)
    before = everything(state)
    settings = Settings(state=state)
    for _ in range(2):
        with pytest.raises((EnvelopeError, SigningKeyRefused), match=says) as refused:
            assemble(settings)
        assert kept.hex()[:32] not in str(refused.value)
        initialise(settings)  # makes nothing where there are records
        assert everything(state) == before
    (state / name).unlink(missing_ok=True)
    (state / name).write_bytes(kept)
    (state / name).chmod(0o600)
    world = start(state)
    assert verify_bundle(world.custody, bundle) == "complete"
    world.custody.records.close()


def test_the_refusals_are_those_of_the_key_that_is_wrong(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path / "state")
    with pytest.raises(KeyFileRefused):
        assemble(settings)
    assert not settings.state.exists()
    initialise(settings)
    assemble(settings).close()
    another(settings.key_file)
    assemble(settings).close()  # no stored key yet: any key file will do
    world = start(settings.state)
    world.open_case()
    world.send(world.announce(len(CONTENT)), CONTENT)
    world.custody.records.close()
    another(settings.key_file)
    with pytest.raises(UnknownKeyEncryptionKey):
        assemble(settings)


def test_a_start_that_was_interrupted_anywhere_is_simply_begun_again(tmp_path: Path) -> None:
    """Whatever of the state folder was made already, in the order in which it is made."""
    whole = tmp_path / "whole"
    initialise(Settings(state=whole))
    for made in range(len(KEYS) + 1):
        state = tmp_path / f"after-{made}"
        state.mkdir(mode=0o700)
        for name in KEYS[:made]:
            (state / name).write_bytes((whole / name).read_bytes())
            (state / name).chmod(0o600)
        initialise(Settings(state=state))
        assert all((state / name).read_bytes() == (whole / name).read_bytes() for name in KEYS[:made])
        assemble(Settings(state=state)).close()
