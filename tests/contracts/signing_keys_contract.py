"""The suite every place of signing keys passes. Subclass it and give the fixture `signing`: an empty one."""

from __future__ import annotations

import pytest

from retention.keys.signing import SIGNING_KEYS, SigningKeyRefused, SigningKeys


class SigningKeysContract:
    def test_a_key_that_was_never_made_is_refused(self, signing: SigningKeys) -> None:
        for name in SIGNING_KEYS:
            with pytest.raises(SigningKeyRefused, match=name):
                signing.read(name)

    def test_each_key_is_a_seed_of_its_own_and_stays(self, signing: SigningKeys) -> None:
        for name in SIGNING_KEYS:
            signing.make_missing(name)
        seeds = [signing.read(name) for name in SIGNING_KEYS]
        assert [len(seed) for seed in seeds] == [32] * len(SIGNING_KEYS)
        assert len(set(seeds)) == len(SIGNING_KEYS)
        assert [signing.read(name) for name in SIGNING_KEYS] == seeds

    def test_a_key_that_is_there_is_not_made_anew(self, signing: SigningKeys) -> None:
        signing.make_missing(SIGNING_KEYS[0])
        seed = signing.read(SIGNING_KEYS[0])
        signing.make_missing(SIGNING_KEYS[0])
        assert signing.read(SIGNING_KEYS[0]) == seed

    def test_it_does_not_show_what_it_keeps(self, signing: SigningKeys) -> None:
        signing.make_missing(SIGNING_KEYS[0])
        seed = signing.read(SIGNING_KEYS[0])
        assert seed.hex() not in repr(signing)
        assert repr(seed) not in repr(vars(signing))
