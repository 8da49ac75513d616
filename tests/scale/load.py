"""The load: stamps, engineers, a partner, an operator and the case system, each in a thread of its own.

Nobody here waits for a process that was killed: whoever is cut goes on at another. What is asked and what is answered
goes into the ledger; bytes are made from a seed, so that every read can be compared.
"""

from __future__ import annotations

import base64
import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import quote, urlsplit

import requests

from audit.times import rfc3339
from tests.scale.caller import BROKEN, Caller, GaveUp, Stopped
from tests.scale.installation import Installation
from tests.scale.judge import NINETY_DAYS
from tests.scale.ledger import Ask, Close, Ledger, Read, Upload
from tests.service import pack

TUS = {"Tus-Resumable": "1.0.0"}
STAMPS, ENGINEERS = ("rack-1", "rack-2"), ("alice", "bob")
PARTNER = "fabrikam"
OLD = timedelta(days=100)
"""How long ago every case was opened, so that it can be closed 90 days ago."""
PIECES = 4


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


class Cases:
    """The numbers of the cases that take bundles. One that was reopened stays open: it cannot be closed before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 100000000000001
        self.open: list[str] = []
        self.staying: list[str] = []

    def some(self, chance: random.Random) -> str:
        return chance.choice([*self.open, *self.staying[-3:]])

    def number(self) -> str:
        with self._lock:
            self._next += 1
            return str(self._next)


class Load:
    """Everybody at once, until `stop`."""

    def __init__(self, installation: Installation, ledger: Ledger, seed: int) -> None:
        self.installation, self.ledger, self.seed = installation, ledger, seed
        self.stop = threading.Event()
        self.cases = Cases()
        self.counts: Counter[str] = Counter()
        self._seeds = iter(range(seed * 1_000_000, 1 << 62))
        self._lock = threading.Lock()
        parts: list[tuple[Callable[[Caller], None], Caller]] = [
            (self._send_by_tus, self.caller(stamp, "Stamp", number))
            for number in range(2)
            for stamp in STAMPS
        ]
        parts += [(self._send_by_blocks, self.caller("olga", "Operator", 10))]
        parts += [(self._read, self.caller(name, "SupportEngineer", 20)) for name in ENGINEERS]
        parts += [(self._share, self.caller("oscar", "Operator", 30))]
        parts += [(self._erase, self.caller("otto", "Operator", 40))]
        parts += [(self._close, self.caller("crm", "CaseSystem", 50))]
        self._threads = [
            threading.Thread(target=self._again, args=part, name=part[0].__name__, daemon=True)
            for part in parts
        ]
        watcher = threading.Thread(target=self._watch, name="watch", daemon=True)
        self._threads.append(watcher)
        self.growth: list[tuple[float, int]] = []
        """When a larger checkpoint was first seen, and its size."""

    def caller(self, subject: str, role: str, number: int, partner: str | None = None) -> Caller:
        return Caller(self.installation, subject, role, self.seed + number, self.stop, partner)

    def set_up(self) -> None:
        """One customer, two stamps, some cases."""
        self.caller("adam", "Administrator", 0).post("/tenants", {"name": "Contoso", "directory": "contoso"})
        operator = self.caller("olga", "Operator", 0)
        for stamp in STAMPS:
            operator.post("/stamps", {"name": stamp, "subject": stamp, "proactive": True})
        case_system = self.caller("crm", "CaseSystem", 0)
        for _ in range(4):
            self.open_case(case_system)

    def open_case(self, case_system: Caller) -> str:
        number = self.cases.number()
        opened = rfc3339(case_system.now() - OLD)
        case_system.post("/cases", {"number": number, "directory": "contoso", "opened_at": opened})
        for name in ENGINEERS:
            case_system.post(f"/cases/{number}/assignments", {"subject": name})
        case_system.post(f"/cases/{number}/assignments", {"subject": "pat"})
        self.cases.open.append(number)
        return number

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(120)
            if thread.is_alive():
                self.ledger.wrong.append(f"{thread.name} hangs")

    def _again(self, act: Callable[[Caller], None], caller: Caller) -> None:
        while not self.stop.is_set():
            try:
                act(caller)
            except Stopped:
                return
            except BROKEN:
                time.sleep(0.2)
            except GaveUp as error:
                self.ledger.wrong.append(f"nobody answered: {error}")

    def seed_of_next(self) -> int:
        with self._lock:
            return next(self._seeds)

    def _new(self, caller: Caller, case: str | None) -> Upload:
        seed, size = self.seed_of_next(), caller.random.choice((1, 40_000, 300_000, 1_500_000))
        now = caller.now()
        return Upload("", case, seed, size, hashlib.sha256(content(seed, size)).hexdigest(), now, now)

    def _enter(self, upload: Upload, bundle: str) -> None:
        upload.bundle = bundle
        with self.ledger.held():
            self.ledger.uploads[bundle] = upload

    # Stamps: pieces by tus, every one to another process.

    def _send_by_tus(self, caller: Caller) -> None:
        proactive = caller.random.random() < 0.2
        case = None if proactive else self.cases.some(caller.random)
        upload = self._new(caller, case)
        declared = _collection(upload.created, proactive)
        # Another file each time: one that was erased is refused for a while when it comes again.
        name = f"logs-{caller.random.getrandbits(64):x}.zip"
        declared |= {"filename": name, **({"case": case} if case else {})}
        head = {**TUS, "Upload-Length": str(upload.size), "Upload-Metadata": pack(declared.items())}
        made = caller.call("POST", "/uploads", headers=head)
        if made.status_code != 201:
            self._unexpected("an upload was not announced", made, {404, 409, 410})
            return
        self._enter(upload, made.headers["Location"].rsplit("/", 1)[1])
        if caller.random.random() < 0.1:
            self.counts["uploads given up"] += 1
        elif self._pieces(caller, upload):
            self.counts["uploads by tus"] += 1

    def _pieces(self, caller: Caller, upload: Upload) -> bool:
        """Send it to its end, from wherever the service says that it stands; whether it went through."""
        data, path = content(upload.seed, upload.size), f"/uploads/{upload.bundle}"
        at, length = 0, max(1, -(-upload.size // PIECES))
        while not self.stop.is_set():
            head = {**TUS, "Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"}
            sent = caller.now()
            try:
                answer = caller.once("PATCH", path, headers=head, data=data[at : at + length])
            except BROKEN:
                answer = None
                self.counts["pieces cut"] += 1
            if answer is not None and answer.status_code == 204:
                at = int(answer.headers["Upload-Offset"])
            else:
                if (
                    answer is not None
                    and answer.status_code < 500
                    and answer.status_code not in (401, 409, 429)
                ):
                    self._unexpected("a piece was refused", answer, {404, 410})
                    return False
                where = caller.call("HEAD", path, headers=TUS)
                if where.status_code != 200:
                    self._unexpected("an upload cannot be gone on with", where, {404, 410})
                    return False
                at = int(where.headers["Upload-Offset"])
            with self.ledger.held():
                upload.went_on = sent
                if at == upload.size:
                    upload.acknowledged = caller.now()
                    return True
        return False

    # Through a link, as Azure's clients send: blocks in any order to any process, the list to another.

    def _send_by_blocks(self, caller: Caller) -> None:
        case = self.cases.some(caller.random)
        upload = self._new(caller, case)
        stamps = caller.get("/stamps")["items"]
        body = {"expires_at": rfc3339(caller.now() + timedelta(days=1)), "stamp": stamps[0]["id"]}
        link = caller.post(f"/cases/{case}/upload-links", body)
        if link.status_code != 201:
            self._unexpected("no link", link, {409, 422})  # 422: the case's data go before the link would end
            return
        url = urlsplit(link.json()["url"])
        blob, data, name = (
            f"{url.path}/{upload.seed}.zip",
            content(upload.seed, upload.size),
            f"{upload.seed}.zip",
        )
        size = max(1, -(-upload.size // PIECES))
        blocks = {
            base64.b64encode(b"%08d" % at).decode(): data[at : at + size] for at in range(0, len(data), size)
        }
        head = {"x-ms-version": "2023-11-03"}
        order = list(blocks)
        caller.random.shuffle(order)
        for block in order:
            query = f"comp=block&blockid={quote(block, safe='')}&{url.query}"
            put = caller.call("PUT", f"{blob}?{query}", blob=True, headers=head, data=blocks[block])
            if put.status_code != 201:
                self._unexpected("a block was refused", put, {403, 404, 409})
                return
        listed = "".join(f"<Latest>{block}</Latest>" for block in blocks)
        listed = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'
        upload.went_on = caller.now()
        done = caller.call("PUT", f"{blob}?comp=blocklist&{url.query}", blob=True, headers=head, data=listed)
        acknowledged = caller.now()
        if done.status_code != 201:
            self._unexpected("a list of blocks was refused", done, {400, 403, 404, 409})
            return
        found = [
            each
            for each in caller.get(f"/bundles?case={case}&limit=200")["items"]
            if each["blob_name"] == name
        ]
        if not found:
            return  # erased between: its tombstone has forgotten the name
        upload.acknowledged = acknowledged
        self._enter(upload, found[0]["id"])
        self.counts["uploads by blocks"] += 1

    # Engineers.

    def _read(self, caller: Caller) -> None:
        upload = self._some(caller)
        if upload is None or upload.case is None:
            time.sleep(0.2)
            return
        grant = {"reason": "looking into the failed update", "duration_minutes": 30}
        if caller.post(f"/cases/{upload.case}/grants", grant).status_code != 201:
            return
        for _ in range(3):
            self._read_run(caller, upload)

    def _read_run(self, caller: Caller, upload: Upload, *, allowed: bool = True) -> int:
        """Read a run that nobody else has read; its status. Every byte that comes is compared."""
        if upload.size < 2:
            return 0
        offset = caller.random.randrange(1, upload.size)  # never the whole: that is how the judge reads
        length = caller.random.randint(1, upload.size - offset)
        key = (upload.bundle, offset, length)
        with self.ledger.held():
            if any(read.key == key for read in self.ledger.reads):
                return 0
        head = {"Range": f"bytes={offset}-{offset + length - 1}"}
        try:
            answer = caller.once("GET", f"/bundles/{upload.bundle}/content", headers=head, stream=True)
        except BROKEN:
            return 0
        if answer.status_code not in (200, 206):
            answer.close()
            return answer.status_code
        self._compare(answer, upload, key, caller)
        if not allowed:
            self.ledger.wrong.append(f"{caller.subject} read {upload.bundle} after the consent was revoked")
        return answer.status_code

    def _compare(
        self, answer: requests.Response, upload: Upload, key: tuple[str, int, int], caller: Caller
    ) -> None:
        expected, got, first = content(upload.seed, upload.size)[key[1] :][: key[2]], b"", None
        try:
            for piece in answer.iter_content(65536):
                first = first or caller.now()
                got += piece
        except BROKEN:
            self.counts["reads cut"] += 1
        with self.ledger.held():
            if got:
                self.ledger.reads.append(Read(key, first or caller.now(), len(got)))
                self.counts["reads"] += 1
            if not expected.startswith(got):
                self.ledger.wrong.append(f"other bytes were read of {upload.bundle}")

    def _some(self, caller: Caller) -> Upload | None:
        with self.ledger.held():
            kept = [one for one in self.ledger.uploads.values() if one.acknowledged is not None]
        return caller.random.choice(kept[-40:]) if kept else None

    # The customer shares with a partner, and thinks better of it.

    def _share(self, caller: Caller) -> None:
        upload = self._some(caller)
        if upload is None or upload.case is None:
            time.sleep(0.5)
            return
        body = {"partner": PARTNER, "expires_at": rfc3339(caller.now() + timedelta(days=1))}
        consent = caller.post(f"/cases/{upload.case}/consents", body)
        if consent.status_code != 201:
            return
        pat = self.caller("pat", "PartnerEngineer", upload.seed, PARTNER)
        body = {"reason": "firmware of the chassis", "duration_minutes": 30}
        if pat.post(f"/cases/{upload.case}/grants", body).status_code == 201:
            self.counts["partner grants"] += 1
            self._read_run(pat, upload)
        revoked = caller.post(f"/consents/{consent.json()['id']}/revoke", {})
        if revoked.status_code == 200:
            with self.ledger.held():
                others = [c for c in caller.get(f"/cases/{upload.case}/consents")["items"] if c["live"]]
            if not others:
                self._read_run(pat, upload, allowed=False)
                self.counts["consents revoked"] += 1
        time.sleep(0.3)

    # The customer has things erased.

    def _erase(self, caller: Caller) -> None:
        time.sleep(caller.random.uniform(0.3, 1.0))
        upload = self._some(caller)
        if upload is None:
            return
        of_case = upload.case is not None and caller.random.random() < 0.15
        ask = Ask(caller.now(), None if of_case else upload.bundle, upload.case if of_case else None)
        with self.ledger.held():
            self.ledger.asks.append(ask)
        path = f"/cases/{upload.case}" if of_case else f"/bundles/{upload.bundle}"
        answer = caller.post(f"{path}/erasures", {"reason": "no longer needed"})
        if answer.status_code == 202:
            with self.ledger.held():
                ask.answered, ask.confirmation = caller.now(), answer.json()["confirmation"]
            self.counts["erasures asked for"] += 1
        else:
            self._unexpected("an erasure was refused", answer, {404, 409, 410})

    # Cases are opened, closed as of 90 days ago and some seconds, and some are reopened before that is over.

    def _close(self, caller: Caller) -> None:
        time.sleep(caller.random.uniform(0.5, 1.5))
        while len(self.cases.open) < 5:
            self.open_case(caller)
        number, reopens = self.cases.open[0], caller.random.random() < 0.3
        ahead = timedelta(seconds=60) if reopens else timedelta(seconds=caller.random.uniform(0, 5))
        close = Close(number, caller.now() - NINETY_DAYS + ahead, caller.now())
        with self.ledger.held():
            self.ledger.closes.append(close)
        path, body = f"/cases/{number}", {"closed_at": rfc3339(close.closed_at)}
        answer = caller.post(f"{path}/close", body)
        if answer.status_code not in (200, 409):  # 409: done, and the answer had not come
            self._unexpected("a close was refused", answer, set())
            return
        close.answered = caller.now()
        self.counts["cases closed"] += 1
        self.cases.open.remove(number)
        if not reopens:
            return
        answer = caller.post(f"{path}/reopen", {})
        if answer.status_code in (200, 409):
            close.reopened = caller.now()
            self.cases.staying.append(number)
            self.counts["cases reopened"] += 1
            for name in (*ENGINEERS, "pat"):
                caller.post(f"{path}/assignments", {"subject": name})

    # Somebody outside keeps every checkpoint that any process shows.

    def _watch(self) -> None:
        caller = self.caller("anybody", "Auditor", 60)
        while not self.stop.wait(0.1):
            try:
                answer = caller.once("GET", "/audit/checkpoint")
            except BROKEN:
                continue
            if answer.status_code == 200 and answer.text not in self.ledger.checkpoints:
                self.ledger.checkpoints[answer.text] = answer.url
                size = int(answer.text.splitlines()[1])
                if not self.growth or size > self.growth[-1][1]:
                    self.growth.append((time.monotonic(), size))

    def _unexpected(self, what: str, answer: requests.Response, expected: set[int]) -> None:
        if answer.status_code not in expected:
            self.ledger.wrong.append(f"{what}: {answer.status_code} {answer.text[:200]}")
        self.counts[f"{what} ({answer.status_code})"] += 1


def _collection(now: datetime, proactive: bool) -> dict[str, str]:
    declared = {
        "type": "proactive" if proactive else "on-demand",
        "logs_start": rfc3339(now - timedelta(hours=3)),
        "logs_end": rfc3339(now - timedelta(hours=1)),
        "time_collected": rfc3339(now),
    }
    return declared | ({"trigger": "Urp.UpdateFailure"} if proactive else {})
