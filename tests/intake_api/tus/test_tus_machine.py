"""Any order of what tus clients do, against a model that is nothing but bytes: what is sealed in the end equals it."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from werkzeug.test import TestResponse

from tests.service import OFFSET_BYTES, OPERATOR, STAMP, Service, collection, pack

V = {"Tus-Resumable": "1.0.0"}
PACKED = pack(collection().items())
BYTES = st.binary(max_size=300)
SUMS = st.sampled_from(["none", "right", "wrong"])


@dataclass
class Upload:
    """What the model knows: the bytes that count, and the length if it is known."""

    size: int | None
    partial: bool
    kept: bytes = b""
    gone: bool = False
    of: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        return len(self.kept) == self.size

    @property
    def closed(self) -> bool:
        return self.whole and not (self.size == 0 and not self.partial)


class TusMachine(RuleBasedStateMachine):
    bundles = Bundle("bundles")
    partials = Bundle("partials")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.service = self.stack.enter_context(Service(folder))
        self.service.set_up()
        self.model: dict[str, Upload] = {}

    def teardown(self) -> None:
        with self.stack:
            self.service.tick()
            self.service.tick()
            for location, upload in self.model.items():
                self.check_sealed(location, upload)

    def check_sealed(self, location: str, upload: Upload) -> None:
        bundle = location.rsplit("/", 1)[1]
        if upload.gone:
            custody = self.service.custody
            assert custody.objects.remains(bundle) == custody.keys.remains(bundle) == []
        elif upload.whole and not upload.partial:
            stored = self.service.done("GET", f"/bundles/{bundle}", OPERATOR)
            assert (stored["state"], stored["size"]) == ("complete", upload.size)
            assert stored["sha256"] == hashlib.sha256(upload.kept).hexdigest()

    def post(self, upload: Upload, data: bytes) -> str:
        head = {**V, "Upload-Concat": "partial"} if upload.partial else {**V, "Upload-Metadata": PACKED}
        length = {"Upload-Defer-Length": "1"} if upload.size is None else {"Upload-Length": str(upload.size)}
        body = {"Content-Type": OFFSET_BYTES} if data else {}
        response = self.service.call("POST", "/uploads", STAMP, headers={**head, **length, **body}, data=data)
        assert response.status_code == 201, response.data
        location = response.headers["Location"]
        upload.kept = data
        self.model[location] = upload
        return location

    @rule(target=bundles, size=st.integers(1, 900), early=BYTES, deferred=st.booleans())
    def create(self, size: int, early: bytes, deferred: bool) -> str:
        return self.post(Upload(None if deferred else size, partial=False), early[:size])

    @rule(target=partials, size=st.integers(0, 300), early=BYTES, deferred=st.booleans())
    def create_partial(self, size: int, early: bytes, deferred: bool) -> str:
        return self.post(Upload(None if deferred else size, partial=True), early[:size])

    def patch(self, location: str, at: int, data: bytes, announced: int, **more: str) -> TestResponse:
        head = {**V, "Content-Type": OFFSET_BYTES, "Upload-Offset": str(at)}
        sent = {name.replace("_", "-"): value for name, value in more.items()}
        length = {"CONTENT_LENGTH": str(announced)}
        return self.service.call(
            "PATCH", location, STAMP, headers={**head, **sent}, data=data, environ_overrides=length
        )

    @rule(
        location=st.one_of(bundles, partials),
        data=BYTES,
        lost=st.integers(0, 60),
        sum_=SUMS,
        off=st.sampled_from([0, 0, 0, 1]),
        tell=st.booleans(),
    )
    def send(self, location: str, data: bytes, lost: int, sum_: str, off: int, tell: bool) -> None:
        """`lost` bytes of the body never come: the line is cut."""
        upload = self.model[location]
        if upload.size is not None:
            data = data[: max(0, upload.size - len(upload.kept))]
        summed = data if sum_ == "right" else data + b"x"
        packed = base64.b64encode(hashlib.sha1(summed).digest()).decode()  # noqa: S324 - tus's own
        more = {} if sum_ == "none" else {"Upload_Checksum": f"sha1 {packed}"}
        told = len(upload.kept) + len(data) if tell and upload.size is None else None
        more |= {} if told is None else {"Upload_Length": str(told)}
        at = len(upload.kept) + off
        came = data[: max(0, len(data) - lost)]
        response = self.patch(location, at, came, len(data), **more)
        self.expect(upload, response, came, data, sum_, off, told)

    def expect(
        self,
        upload: Upload,
        response: TestResponse,
        came: bytes,
        data: bytes,
        sum_: str,
        off: int,
        told: int | None,
    ) -> None:
        status = response.status_code
        if upload.gone:
            assert status == 410
        elif upload.of:
            assert status == 403
        elif off:
            assert status in (409, 413)
        elif upload.closed:
            assert status == 409
        else:
            upload.size = upload.size if told is None else told
            cut = len(came) < len(data)
            upload.kept += came if sum_ == "none" or (sum_ == "right" and not cut) else b""
            assert status == (400 if cut else 460 if sum_ == "wrong" else 204), response.data

    @rule(location=st.one_of(partials, bundles))
    def send_the_rest(self, location: str) -> None:
        upload = self.model[location]
        rest = bytes(7 if upload.size is None else upload.size - len(upload.kept))
        told = len(upload.kept) + len(rest) if upload.size is None else None
        more = {} if told is None else {"Upload_Length": str(told)}
        response = self.patch(location, len(upload.kept), rest, len(rest), **more)
        self.expect(upload, response, rest, rest, "none", 0, told)

    @rule(location=st.one_of(bundles, partials))
    def ask(self, location: str) -> None:
        upload, response = self.model[location], self.service.call("HEAD", location, STAMP, headers=V)
        if upload.gone:
            assert response.status_code == 410
            return
        head = response.headers
        assert (response.status_code, head["Upload-Offset"]) == (200, str(len(upload.kept)))
        length = (head.get("Upload-Length"), head.get("Upload-Defer-Length"))
        assert length == ((None, "1") if upload.size is None else (str(upload.size), None))
        concat = "partial" if upload.partial else "final;" + " ".join(upload.of) if upload.of else None
        assert head.get("Upload-Concat") == concat

    @rule(target=bundles, parts=st.lists(partials, min_size=1, max_size=4, unique=True))
    def concatenate(self, parts: list[str]) -> str:
        head = {**V, "Upload-Concat": "final;" + " ".join(parts), "Upload-Metadata": PACKED}
        response = self.service.call("POST", "/uploads", STAMP, headers=head)
        used = [self.model[part] for part in parts]
        before = [at for at, one in self.model.items() if one.of == tuple(parts) and not one.gone]
        if before:
            assert (response.status_code, response.headers["Location"]) == (201, before[0])
            return before[0]
        if not all(one.whole and not one.gone for one in used):
            assert response.status_code in (409, 410)
            return parts[0]
        content = b"".join(one.kept for one in used)
        assert response.status_code == 201, response.data
        location = response.headers["Location"]
        self.model[location] = Upload(len(content), False, content, of=tuple(parts))
        for one in used:
            one.gone = True
        return location

    @rule(location=st.one_of(bundles, partials))
    def terminate(self, location: str) -> None:
        upload = self.model[location]
        response = self.service.call("DELETE", location, STAMP, headers=V)
        if upload.gone:
            assert response.status_code == 410
        elif upload.whole and not upload.partial:
            assert response.status_code == 409
        else:
            assert response.status_code == 204
            upload.gone = True

    @rule()
    def sweep(self) -> None:
        report = self.service.tick()
        assert report.failed == 0

    @invariant()
    def only_bundles_are_listed(self) -> None:
        listed = {one["id"] for one in self.service.done("GET", "/bundles?limit=200", OPERATOR)["items"]}
        assert listed == {at.rsplit("/", 1)[1] for at, one in self.model.items() if not one.partial}


TestTus = TusMachine.TestCase
TestTus.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
