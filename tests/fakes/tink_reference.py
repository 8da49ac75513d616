"""The reference: Google's own `tink` package, given one raw data key."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import tink  # type: ignore[import-untyped]
from tink import secret_key_access, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2  # type: ignore[import-untyped]

streaming_aead.register()


class _Kept(io.BytesIO):
    """Survives the close() that ends a Tink stream."""

    def close(self) -> None:
        pass


def _primitive(key: bytes) -> Any:
    message = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(
        version=0,
        params=aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
            ciphertext_segment_size=1 << 20, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
        ),
        key_value=key,
    )
    keyset = {
        "primaryKeyId": 1,
        "key": [
            {
                "keyData": {
                    "typeUrl": "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey",
                    "value": base64.b64encode(message.SerializeToString()).decode(),
                    "keyMaterialType": "SYMMETRIC",
                },
                "status": "ENABLED",
                "keyId": 1,
                "outputPrefixType": "RAW",
            }
        ],
    }
    handle = tink.json_proto_keyset_format.parse(json.dumps(keyset), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


def tink_seal(key: bytes, associated_data: bytes, plaintext: bytes) -> bytes:
    out = _Kept()
    with _primitive(key).new_encrypting_stream(out, associated_data) as stream:
        stream.write(plaintext)
    return out.getvalue()


def tink_open(key: bytes, associated_data: bytes, ciphertext: bytes) -> bytes:
    with _primitive(key).new_decrypting_stream(io.BytesIO(ciphertext), associated_data) as stream:
        opened: bytes = stream.read()
    return opened
