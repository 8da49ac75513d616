"""docs/licences.md: the licence of everything that is installed with the service, as each package states it.

    python -m tests.deploy.licences --write

The list is docs/deploy/requirements.lock; the words are the packages' own metadata (License-Expression, else the trove
classifiers, else License). tests/deploy/test_licences.py holds the page to both, and every licence to `ALLOWED`.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/licences.md"
LOCK = ROOT / "docs/deploy/requirements.lock"
ALLOWED = frozenset(
    {
        "MIT",
        "MIT-0",
        "Apache-2.0",
        "BSD-3-Clause",
        "BSD-2-Clause",
        "ISC",
        "MPL-2.0",
        "LGPL-2.1-or-later",
        "LGPL-3.0-only",
        "PSF-2.0",
    }
)
"""SPDX identifiers. MPL-2.0 and the LGPL ask for the source of changes to the package itself; ours are none."""
_SPDX = {
    "mit": "MIT",
    "mit license": "MIT",
    "apache software license": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "bsd license": "BSD-3-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "isc license": "ISC",
    "mozilla public license 2.0": "MPL-2.0",
    "gnu lesser general public license v3": "LGPL-3.0-only",
    "gnu lesser general public license v2 or later": "LGPL-2.1-or-later",
    "lgpl-3.0-only": "LGPL-3.0-only",
    "python software foundation license": "PSF-2.0",
}
_HEAD = """# Licences of what is installed

casevault is [Apache-2.0](../LICENSE). These are what [requirements.lock](deploy/requirements.lock) installs
beside it, as the container file does. The licence is what the package's own metadata says. Written by
`python -m tests.deploy.licences --write`; a test compares the page with the packages that are installed.

| package | version | licence |
|---|---|---|
"""


def locked() -> dict[str, str]:
    """The version of each package in the lock, by name."""
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[\w,]+\])?==([^ ;\\]+)", LOCK.read_text(), flags=re.M)
    return dict(found)


def licence_of(package: str) -> str:
    """An SPDX expression; what the package says in its own words when they are not known as one."""
    told = metadata(package)
    expression = told.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = [
        line.rpartition(" :: ")[2].partition(" (")[0]
        for line in told.get_all("Classifier") or []
        if line.startswith("License :: ") and not line.endswith(":: OSI Approved")
    ]
    words = classifiers or [(told.get("License") or "none told").partition("\n")[0]]
    return " OR ".join(dict.fromkeys(_SPDX.get(word.lower(), word) for word in words))


def page() -> str:
    """The whole page. PackageNotFoundError when a package of the lock is not installed."""
    rows = [f"| {name} | {version} | {licence_of(name)} |" for name, version in sorted(locked().items())]
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    try:
        text = page()
    except PackageNotFoundError as missing:
        sys.exit(f"{missing.name} is not installed: pip install -r {LOCK}")
    if "--write" in sys.argv:
        PAGE.write_text(text)
    else:
        sys.stdout.write(text)
