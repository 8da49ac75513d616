"""The suite every key wrapper passes. Subclass it and give `wrapper` and `rotate`, which makes a new key current.

`stranger` is a wrapper of the same kind with other keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from retention.envelope.data_keys import DataKey, KeyWrapper, WrappedKey
from retention.envelope.format import FIRST, KeyWrapperError, UnknownKeyEncryptionKey, WrappedKeyBroken
from tests.fakes.ids import bundle

B = bundle(1)


class KeyWrapperContract:
    def test_what_was_wrapped_unwraps(self, wrapper: KeyWrapper) -> None:
        key = DataKey.generate()
        wrapped = wrapper.wrap(key, B)
        assert wrapped.kek_id == wrapper.current_kek_id
        assert wrapper.unwrap(WrappedKey.from_json(wrapped.to_json()), B) == key

    def test_the_wrapped_key_does_not_hold_the_key(self, wrapper: KeyWrapper) -> None:
        key = DataKey.generate()
        assert key.reveal() not in wrapper.wrap(key, B).to_json()
        assert key.reveal() not in wrapper.wrap(key, B).sealed

    def test_two_wraps_of_one_key_differ(self, wrapper: KeyWrapper) -> None:
        key = DataKey.generate()
        assert wrapper.wrap(key, B).sealed != wrapper.wrap(key, B).sealed

    def test_a_wrapped_key_does_not_unwrap_for_another_bundle(self, wrapper: KeyWrapper) -> None:
        wrapped = wrapper.wrap(DataKey.generate(), B)
        with pytest.raises(WrappedKeyBroken):
            wrapper.unwrap(wrapped, bundle(2))

    def test_every_changed_byte_is_noticed(self, wrapper: KeyWrapper) -> None:
        wrapped = wrapper.wrap(DataKey.generate(), B)
        for place in range(len(wrapped.sealed)):
            changed = bytearray(wrapped.sealed)
            changed[place] ^= 1
            with pytest.raises(WrappedKeyBroken):
                wrapper.unwrap(replace(wrapped, sealed=bytes(changed)), B)

    def test_a_cut_lengthened_or_mislabelled_wrapped_key_is_refused(self, wrapper: KeyWrapper) -> None:
        wrapped = wrapper.wrap(DataKey.generate(), B)
        for broken in (
            replace(wrapped, sealed=b""),
            replace(wrapped, sealed=wrapped.sealed[:-1]),
            replace(wrapped, sealed=wrapped.sealed + b"\0"),
            replace(wrapped, algorithm="rot13"),
            replace(wrapped, framing=FIRST),
        ):
            with pytest.raises(WrappedKeyBroken):
                wrapper.unwrap(broken, B)

    def test_a_key_wrapped_elsewhere_is_refused_by_its_key_id(
        self, wrapper: KeyWrapper, stranger: KeyWrapper
    ) -> None:
        wrapped = stranger.wrap(DataKey.generate(), B)
        with pytest.raises(UnknownKeyEncryptionKey):
            wrapper.unwrap(wrapped, B)
        with pytest.raises(KeyWrapperError):
            wrapper.unwrap(replace(wrapped, kek_id=wrapper.current_kek_id), B)

    def test_after_rotation_old_keys_unwrap_and_new_wraps_use_the_new_key(
        self, wrapper: KeyWrapper, rotate: Callable[[], object]
    ) -> None:
        key = DataKey.generate()
        wrapped = [wrapper.wrap(key, B)]
        for _ in range(2):
            rotate()
            assert wrapper.current_kek_id not in {old.kek_id for old in wrapped}
            wrapped.append(wrapper.wrap(key, B))
            assert wrapped[-1].kek_id == wrapper.current_kek_id
        assert [wrapper.unwrap(each, B) for each in wrapped] == [key] * 3

    def test_a_wrap_relabelled_to_another_of_its_keys_is_refused(
        self, wrapper: KeyWrapper, rotate: Callable[[], object]
    ) -> None:
        wrapped = wrapper.wrap(DataKey.generate(), B)
        rotate()
        with pytest.raises(WrappedKeyBroken):
            wrapper.unwrap(replace(wrapped, kek_id=wrapper.current_kek_id), B)

    def test_nothing_shows_key_bytes(self, wrapper: KeyWrapper) -> None:
        key = DataKey.generate()
        for shown in (repr(key), str(key), repr(wrapper), repr(wrapper.wrap(key, B))):
            assert key.reveal().hex() not in shown
            assert repr(key.reveal())[2:-1] not in shown
