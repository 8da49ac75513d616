"""The suite every key store passes. Subclass it and give the fixture `keys`: an empty KeyStore."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from retention.envelope.data_keys import WrappedKey
from retention.objects.store import KeyStore
from retention.objects.store_errors import BadName, KeyDestroyed, KeyExists, KeyMissing
from tests.fakes.ids import bundle

B = bundle(1)
FIRST = WrappedKey("kek-1", "test", b"first" * 12)
SECOND = WrappedKey("kek-2", "test", b"second" * 12)


class KeyStoreContract:
    def test_a_kept_key_is_got_back(self, keys: KeyStore) -> None:
        keys.put(B, FIRST)
        assert keys.get(B) == FIRST
        assert keys.exists(B)
        assert keys.remains(B) != []

    def test_a_key_is_put_once(self, keys: KeyStore) -> None:
        keys.put(B, FIRST)
        with pytest.raises(KeyExists):
            keys.put(B, SECOND)
        assert keys.get(B) == FIRST

    def test_a_rewrapped_key_takes_the_place_of_the_old(self, keys: KeyStore) -> None:
        keys.put(B, FIRST)
        keys.replace(B, SECOND)
        keys.replace(B, SECOND)
        assert keys.get(B) == SECOND

    def test_an_unknown_bundle_has_no_key(self, keys: KeyStore) -> None:
        with pytest.raises(KeyMissing):
            keys.get(B)
        with pytest.raises(KeyMissing):
            keys.replace(B, FIRST)
        assert not keys.exists(B)
        assert keys.remains(B) == []

    @pytest.mark.parametrize("had_a_key", [True, False])
    def test_destroyed_is_final(self, keys: KeyStore, had_a_key: bool) -> None:
        if had_a_key:
            keys.put(B, FIRST)
        keys.destroy(B)
        keys.destroy(B)
        for call in (lambda: keys.get(B), lambda: keys.put(B, FIRST), lambda: keys.replace(B, SECOND)):
            with pytest.raises(KeyDestroyed):
                call()
        assert not keys.exists(B)
        assert keys.remains(B) == []
        assert list(keys.list_bundles()) == []

    def test_destroying_one_key_leaves_the_others(self, keys: KeyStore) -> None:
        keys.put(B, FIRST)
        keys.put(bundle(2), SECOND)
        keys.destroy(B)
        assert keys.get(bundle(2)) == SECOND
        assert list(keys.list_bundles()) == [bundle(2)]

    def test_bundles_with_a_key_are_listed(self, keys: KeyStore) -> None:
        for number in (3, 1, 2):
            keys.put(bundle(number), FIRST)
        assert sorted(keys.list_bundles()) == [bundle(1), bundle(2), bundle(3)]

    @pytest.mark.parametrize("name", ["", "..", "../" + B, B + ".key", B.upper(), "bdl_" + "a" * 25])
    def test_only_ids_are_names(self, keys: KeyStore, name: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: keys.put(name, FIRST),
            lambda: keys.replace(name, FIRST),
            lambda: keys.get(name),
            lambda: keys.destroy(name),
            lambda: keys.exists(name),
            lambda: keys.remains(name),
        ]
        for call in calls:
            with pytest.raises(BadName):
                call()

    def test_a_healthy_store_is_ready(self, keys: KeyStore) -> None:
        keys.check()
        assert list(keys.list_bundles()) == []
