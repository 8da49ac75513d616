"""Bundles and keys as earlier versions wrote them (tests/vectors/bundles/make.py says how) are read here for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retention.envelope.bundle_file import BundleOpener
from retention.envelope.key_file import LocalKeyWrapper
from retention.envelope.keys import DataKey, WrappedKey
from retention.envelope.manifest import Manifest
from retention.objects.local import LocalObjectStore
from retention.objects.local_keys import LocalKeyStore
from tests.vectors.bundles.make import BUNDLE, HERE, LENGTHS, plaintext, secret, vaults
