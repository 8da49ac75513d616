"""Sending with a token: over tus, by one connection or by several.

Which is faster was measured (docs/intake.md): to a service that is near one connection is, for nothing is sealed twice.
Over a line with a long round trip each break costs several of them; there several connections are, because the others
go on meanwhile. So the round trip decides. An upload is continued as it was begun.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from itertools import takewhile

from intake_api.cli import tus
from intake_api.cli.client import Client
from intake_api.cli.errand import Errand, share
from intake_api.cli.errors import ServiceProblem, Unreachable
from intake_api.cli.partials import GONE, LANES, Partials
from intake_api.cli.printing import say
from intake_api.cli.progress import transfer
from intake_api.cli.remembered import Begun, Way

FAR_SECONDS = 0.1
WORTH_IT = 1 << 20
"""Bytes from which on several connections are worth their beginnings."""
_LOOK_BACK = 200
_Standing = tuple[str, int]
"""Where an upload of one connection stands: its address, and its offset."""


def deliver(it: Errand) -> tuple[str, str | None]:
    """Send it, or the rest of it; the bundle's id, and the file's SHA-256 if it was announced."""
    begun = it.place.begun()
    if begun is not None and begun.way is Way.PARALLEL:
        return _by_several(it, begun.announced, begun)
    standing = _begun_before(it, begun) or (_begun_elsewhere(it) if it.saved else None)
    if standing is not None:
        location, kept = standing
        say(f"going on with {tus.bundle_of(location)}: the service has {share(kept, it.what.size)} already")
        return _by_one(it, location, kept), it.what.sha256
    try:
        tus.preflight(it.client, it.what.size, it.metadata)
    except (
        ServiceProblem
    ) as error:  # of what was erased lately the digest, which is not known yet, may tell this file
        if error.reason != "erased-lately" or not it.with_digest:
            raise
    several = it.what.size > 0 and (it.connections > 1 if it.connections else _is_worth_it(it))
    sha256 = it.sha256()
    announced = it.announced(sha256)
    if several:
        return _by_several(it, announced, None)
    return _by_one(it, tus.create(it.client, it.what.size, announced), 0), sha256


def _is_worth_it(it: Errand) -> bool:
    """Whether to use several, when nobody said. Not for a saved bundle: what one machine began another may end."""
    return not it.saved and it.what.size >= WORTH_IT and is_far(it.client)


def is_far(client: Client) -> bool:
    """Whether a round trip takes long; the connection stands already."""
    began = time.monotonic()
    try:
        client.knock()
    except Unreachable:
        return True  # it breaks: all the more
    return time.monotonic() - began >= FAR_SECONDS


def _by_one(it: Errand, location: str, offset: int) -> str:
    it.place.keep(Begun(Way.TUS, (location,)))
    size = it.what.size
    with it.what.path.open("rb") as source, transfer("sending", size) as progress:
        tus.send(it.client, location, source, size, progress, offset=offset, pace=it.pace)
    it.place.forget()
    return tus.bundle_of(location)


def _by_several(it: Errand, announced: Mapping[str, str], begun: Begun | None) -> tuple[str, str | None]:
    parts = Partials(it.client, it.what.size, announced, it.place, begun)
    if not parts.whole:
        if kept := parts.look():
            say(f"going on: the service has {share(kept, it.what.size)} already")
        with transfer("sending", it.what.size) as progress:
            parts.send(it.what.path, progress, it.pace, it.connections or LANES)
    try:
        location = parts.join()
    except ServiceProblem as problem:
        if problem.status in GONE:
            it.place.forget()  # the parts expired: begin anew
        raise
    it.place.forget()
    return tus.bundle_of(location), parts.sha256


def _begun_before(it: Errand, begun: Begun | None) -> _Standing | None:
    """The upload that this machine began and the service still has."""
    if begun is None or begun.way is not Way.TUS or not any(begun.locations):
        return None
    location = begun.locations[0]
    try:
        return location, tus.offset_of(it.client, location)
    except ServiceProblem as problem:
        if problem.status not in GONE:
            raise
        it.place.forget()  # expired or erased meanwhile
        return None


def _begun_elsewhere(it: Errand) -> _Standing | None:
    """The same saved bundle, wholly or partly at the service, whichever machine sent it: known by its SHA-256."""
    since = datetime.fromisoformat(it.metadata["time_collected"])
    query = {name: it.metadata.get(name) for name in ("case", "type", "stamp")}
    found = it.client.items("/bundles", _LOOK_BACK, **query)
    for item in takewhile(lambda one: datetime.fromisoformat(one["time_collected"]) >= since, found):
        if item["state"] not in ("receiving", "received", "complete") or item["size"] != it.what.size:
            continue
        try:
            kept, told = tus.kept_of(it.client, location := f"/uploads/{item['id']}")
        except ServiceProblem:
            continue  # expired meanwhile, or not ours to write to
        if told.get("sha256") == it.what.sha256:
            return location, kept
    return None
