"""The C2SP witness: each answer of the protocol, the race it must not lose, and our log as its client over HTTP."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.serving import make_server

from audit.cosigning.client import PAUSE, Cosignatory, Cosigners
from audit.cosigning.cosignature import (
    CosignatureVerifier,
    Cosigner,
    MldsaCosignatureVerifier,
    cosigned_at,
    parse_witness_key,
)
from audit.cosigning.server import (
    MAX_REQUEST_BYTES,
    Answer,
    CosigningServer,
    LocalCosignedStore,
    Request,
    Verdict,
)
from audit.http_client import HttpClient, Reply
from audit.tlog.checkpoint import (
    NoteError,
    Signer,
    Verifier,
    open_checkpoint,
    open_note,
    sign_checkpoint,
    sign_note,
)
from audit.tlog.merkle import EMPTY_ROOT, leaf_hash
from audit.tlog.proofs import prove_consistency
from audit.tlog.tile_store import COSIGNED_PATH
from intake_api.api.routes.witness import witness_blueprint
from tests.servers.scripted import drip, say_nothing, scripted

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
COSIGNER = Cosigner("witness.test/w1", bytes(range(32)))
OTHER_KEY = Signer("casevault.test/log", bytes(32))
LEAF = leaf_hash(b"leaf")


class Now:
    def now(self) -> datetime:
        return NOW


@pytest.fixture
def core(log: Any, tmp_path: Path) -> CosigningServer:
    return core_of(log.signer.verifier, tmp_path)


def core_of(verifier: Verifier, folder: Path, name: str = "cosigned") -> CosigningServer:
    return CosigningServer({verifier.name: verifier}, COSIGNER, LocalCosignedStore(folder / name), Now())


def note_of(log: Any) -> str:
    note: str = log.tiles.get("checkpoint").decode()
    return note


def ask(core: CosigningServer, log: Any, old: int, note: str | None = None, proof: Any = None) -> Answer:
    note = note or note_of(log)
    if proof is None:
        size = int(note.split("\n")[1])
        proof = prove_consistency(log.tiles, old, size) if old <= size else []
    return core.add_checkpoint(Request(old, tuple(proof), note).text().encode())


def test_the_message_is_the_one_of_the_specification() -> None:
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    line = COSIGNER.cosign(text, datetime.fromtimestamp(1679315147, UTC))
    start, name, encoded = line.rstrip("\n").split(" ")
    raw = base64.b64decode(encoded)
    public = COSIGNER.verifier.public_key
    assert (start, name, len(raw)) == ("—", "witness.test/w1", 4 + 8 + 64)
    assert raw[:4] == hashlib.sha256(b"witness.test/w1\n\x04" + public).digest()[:4]
    assert int.from_bytes(raw[4:12], "big") == 1679315147
    message = b"cosignature/v1\ntime 1679315147\n" + text.encode()
    Ed25519PublicKey.from_public_bytes(public).verify(raw[12:], message)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.integers(1, 2**40))
def test_a_cosigned_note_opens_by_either_key_and_tells_the_time(words: str, seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds % 2**33 + 1, UTC)
    note = sign_note(f"{words}\n", OTHER_KEY) + COSIGNER.cosign(f"{words}\n", moment)
    assert open_note(note, OTHER_KEY.verifier) == open_note(note, COSIGNER.verifier) == f"{words}\n"
    assert cosigned_at(note, COSIGNER.verifier) == moment


def test_a_cosignature_holds_for_its_text_its_time_and_its_kind_of_key_only() -> None:
    text = "log\n1\n"
    line = COSIGNER.cosign(text, NOW)
    raw = bytearray(base64.b64decode(line.split(" ")[2]))
    for at in (11, 12, len(raw) - 1):  # the time's last byte, the signature's first and last
        forged = bytes(raw[:at]) + bytes([raw[at] ^ 1]) + bytes(raw[at + 1 :])
        with pytest.raises(NoteError, match="is wrong"):
            open_note(f"{text}\n— witness.test/w1 {base64.b64encode(forged).decode()}\n", COSIGNER.verifier)
    with pytest.raises(NoteError, match="is wrong"):
        open_note(f"log\n2\n\n{line}", COSIGNER.verifier)
    with pytest.raises(NoteError, match="no signature by"):
        open_note(f"{text}\n{line}", Verifier("witness.test/w1", COSIGNER.verifier.public_key))
    untimed = COSIGNER.cosign(text, datetime.fromtimestamp(0, UTC))
    with pytest.raises(NoteError, match="is wrong"):
        open_note(f"{text}\n{untimed}", COSIGNER.verifier)


def test_a_witness_key_is_written_and_read_with_its_own_kind() -> None:
    assert CosignatureVerifier.parse(COSIGNER.verifier.key) == COSIGNER.verifier
    with pytest.raises(NoteError, match="not of kind 04"):
        CosignatureVerifier.parse(OTHER_KEY.verifier.key)
    with pytest.raises(NoteError, match="not of kind 01"):
        Verifier.parse(COSIGNER.verifier.key)
    assert COSIGNER.verifier.key in repr(COSIGNER)


def test_a_log_is_cosigned_step_by_step_and_again_at_the_same_size(log: Any, core: CosigningServer) -> None:
    old = 0
    for size in (1, 7, 256, 300):
        log.grow([size])
        for known in (old, size):
            answer = ask(core, log, known)
            assert answer.verdict is Verdict.COSIGNED
            assert open_checkpoint(note_of(log) + answer.lines, log.signer.verifier).size == size
            assert cosigned_at(note_of(log) + answer.lines, COSIGNER.verifier) == NOW
        assert core.last("casevault.test/log") == note_of(log) + answer.lines
        old = size


def test_an_old_size_that_is_not_the_last_is_a_conflict_with_the_last(
    log: Any, core: CosigningServer
) -> None:
    log.grow([5])
    assert ask(core, log, 3) == Answer(Verdict.CONFLICT, size=0)
    ask(core, log, 0)
    log.grow([9])
    for old in (0, 4, 9):
        assert ask(core, log, old) == Answer(Verdict.CONFLICT, size=5)


def test_a_fork_is_not_cosigned(log: Any, core: CosigningServer, make_log: Any) -> None:
    log.grow([5])
    ask(core, log, 0)
    fork = make_log()
    fork.written = 1000
    fork.write(5)
    fork.sequence()
    assert ask(core, fork, 5).verdict is Verdict.INCONSISTENT
    fork.write(4)
    fork.sequence()
    assert ask(core, fork, 5).verdict is Verdict.INCONSISTENT
    assert ask(core, fork, 5, proof=()).verdict is Verdict.INCONSISTENT
    assert int(str(core.last("casevault.test/log")).split("\n")[1]) == 5


@pytest.mark.parametrize(
    ("size", "root", "proof", "verdict"),
    [
        (0, EMPTY_ROOT, (), Verdict.COSIGNED),
        (0, LEAF, (), Verdict.INCONSISTENT),
        (0, EMPTY_ROOT, (LEAF,), Verdict.INCONSISTENT),
        (1, LEAF, (), Verdict.COSIGNED),
        (1, LEAF, (LEAF,), Verdict.INCONSISTENT),
    ],
)
def test_the_first_checkpoint_needs_no_proof_and_takes_none(
    log: Any, core: CosigningServer, size: int, root: bytes, proof: tuple[bytes, ...], verdict: Verdict
) -> None:
    assert ask(core, log, 0, sign_checkpoint(size, root, log.signer), proof).verdict is verdict


def test_only_the_logs_own_signature_counts(log: Any, core: CosigningServer) -> None:
    log.grow([5])
    assert ask(core, log, 0, sign_checkpoint(5, LEAF, OTHER_KEY), ()).verdict is Verdict.UNSIGNED
    broken = note_of(log).replace("\n5\n", "\n6\n")
    assert ask(core, log, 0, broken, ()).verdict is Verdict.UNSIGNED
    unknown = sign_checkpoint(5, LEAF, Signer("other.test/log", bytes(32)))
    assert ask(core, log, 0, unknown, ()).verdict is Verdict.UNKNOWN_LOG
    both = note_of(log) + sign_checkpoint(5, LEAF, OTHER_KEY).rpartition("\n\n")[2]
    assert ask(core, log, 0, both, ()).verdict is Verdict.COSIGNED
    assert OTHER_KEY.verifier.key_id.hex() not in str(core.last("casevault.test/log"))
    assert (
        str(core.last("casevault.test/log")).count("\u2014 ") == 2
    )  # the log's and ours: strangers' are dropped


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old\n\n",
        b"old 01\n\n{note}",
        b"old -1\n\n{note}",
        b"old 0\n{note}",
        b"old 0\n\n",
        b"old 0\nAAAA\n\n{note}",
        b"old 0\n" + (b"A" * 43 + b"=\n") * 64 + b"\n{note}",
        b"old 6\n\n{note}",
        b"\xffold 0\n\n{note}",
        b"old 0\n\n{note}" + b"x" * MAX_REQUEST_BYTES,
    ],
)
def test_whatever_is_not_a_request_is_malformed(log: Any, core: CosigningServer, body: bytes) -> None:
    log.grow([5])
    filled = body.replace(b"{note}", note_of(log).encode())
    assert core.add_checkpoint(filled).verdict is Verdict.MALFORMED
    assert core.last("casevault.test/log") is None


def test_of_requests_at_once_for_one_old_size_one_is_cosigned_and_none_rolls_back(
    log: Any, core: CosigningServer
) -> None:
    notes = []
    for size in range(1, 9):
        log.grow([size])
        notes.append(note_of(log))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda note: ask(core, log, 0, note, ()), notes))
    cosigned = [at + 1 for at, answer in enumerate(answers) if answer.verdict is Verdict.COSIGNED]
    assert len(cosigned) == 1
    assert {answer.verdict for answer in answers} <= {Verdict.COSIGNED, Verdict.CONFLICT}
    assert int(str(core.last("casevault.test/log")).split("\n")[1]) == cosigned[0]


def test_what_was_cosigned_is_remembered_by_the_next_process(log: Any, tmp_path: Path) -> None:
    log.grow([5])
    ask(core_of(log.signer.verifier, tmp_path), log, 0)
    log.grow([6])
    assert ask(core_of(log.signer.verifier, tmp_path), log, 0) == Answer(Verdict.CONFLICT, size=5)


@contextmanager
def serving(core: CosigningServer) -> Iterator[str]:
    app = Flask(__name__)
    app.register_blueprint(witness_blueprint(core), url_prefix="/witness")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}/witness/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_our_log_collects_cosignatures_over_http(log: Any, core: CosigningServer) -> None:
    with serving(core) as url:
        cosigners = Cosigners([Cosignatory(url, COSIGNER.verifier)], log.tiles)
        for size in (3, 300):
            log.grow([size])
            assert cosigners.publish(note_of(log), NOW).refused == {}
            published = log.tiles.get(COSIGNED_PATH).decode()
            assert open_checkpoint(published, log.signer.verifier).size == size
            assert cosigned_at(published, COSIGNER.verifier) == NOW
        # A process that has just started assumes nothing: it is told the size, and proves from there.
        log.grow([301])
        fresh = Cosigners([Cosignatory(url, COSIGNER.verifier)], log.tiles)
        assert fresh.publish(note_of(log), NOW).refused == {}
    assert log.verify().good


def test_a_witness_that_knows_more_than_we_do_is_heard(
    log: Any, core: CosigningServer, make_log: Any
) -> None:
    log.grow([9])
    ask(core, log, 0)
    rolled_back = make_log()
    rolled_back.grow([5])
    with serving(core) as url:
        cosigned = Cosigners([Cosignatory(url, COSIGNER.verifier)], rolled_back.tiles).publish(
            note_of(rolled_back), NOW
        )
    assert cosigned.note == note_of(rolled_back)
    assert "knows a log of 9 entries, and this one has 5" in cosigned.refused["witness.test/w1"]


def test_one_witness_away_or_lying_does_not_keep_the_others_from_cosigning(
    log: Any, core: CosigningServer
) -> None:
    log.grow([5])
    liar, away, broken = (Cosigner(f"{name}.test/w", bytes([7]) * 32) for name in ("liar", "away", "broken"))

    def post(url: str, body: bytes) -> Reply:
        if "broken" in url:
            return Reply(500, "text/html", b"<h1>oops</h1>")
        if "liar" in url:
            return Reply(200, "text/plain", liar.cosign("another text\n", NOW).encode())
        answer = core.add_checkpoint(body)
        if answer.verdict is Verdict.CONFLICT:
            return Reply(409, "text/x.tlog.size", f"{answer.size}\n".encode())
        stranger = OTHER_KEY.verifier  # a line of a key we do not know is dropped
        return Reply(200, "text/plain", f"{answer.lines}\u2014 {stranger.name} AAAAAAAA\n".encode())

    asked = [
        Cosignatory("https://broken.test", broken.verifier),
        Cosignatory("https://liar.test", liar.verifier),
        Cosignatory("https://good.test", COSIGNER.verifier),
    ]
    cosigned = Cosigners(asked, log.tiles, post).collect(note_of(log))
    assert cosigned.refused == {
        "broken.test/w": "it responds 500",
        "liar.test/w": "the note's signature by liar.test/w is wrong",
    }
    assert cosigned.note.count("\u2014 ") == 2
    assert cosigned_at(cosigned.note, COSIGNER.verifier) == NOW
    unreachable = Cosigners([Cosignatory("http://127.0.0.1:9", away.verifier)], log.tiles)
    assert unreachable.publish(note_of(log), NOW).refused == {"away.test/w": "ConnectionRefusedError"}
    assert not (log.folder / "tiles" / COSIGNED_PATH).exists()


def test_a_wrong_conflict_is_believed_for_that_round_only(log: Any, core: CosigningServer) -> None:
    log.grow([5])
    wrong = [Reply(409, "text/x.tlog.size", b"999999\n")]

    def post(_: str, body: bytes) -> Reply:
        if wrong:
            return wrong.pop()
        answer = core.add_checkpoint(body)
        return Reply(200, "text/plain", answer.lines.encode())

    cosigners = Cosigners([Cosignatory("https://w.test", COSIGNER.verifier)], log.tiles, post)
    refused = cosigners.publish(note_of(log), NOW).refused
    assert "knows a log of 999999 entries, and this one has 5" in refused["witness.test/w1"]
    assert cosigners.publish(note_of(log), NOW).refused == {}


def test_witnesses_that_hang_or_drip_keep_nobody_else_from_cosigning(log: Any, core: CosigningServer) -> None:
    log.grow([5])
    names = [f"w{number}.test/w" for number in range(3)]
    dripping, silent, good = (Cosigner(name, bytes([7]) * 32) for name in names)
    core = CosigningServer(
        {log.signer.name: log.signer.verifier}, good, LocalCosignedStore(log.folder / "good"), Now()
    )
    http = HttpClient(seconds=1, most_bytes=1 << 16)
    with (
        scripted(drip(b"HTTP/1.1 200 OK\r\n")) as drips,
        scripted(say_nothing) as hangs,
        serving(core) as url,
    ):
        asked = [
            Cosignatory(drips.url, dripping.verifier),
            Cosignatory(hangs.url, silent.verifier),
            Cosignatory(url, good.verifier),
        ]
        cosigned = Cosigners(asked, log.tiles, http.post).publish(note_of(log), NOW)
    assert cosigned.refused == dict.fromkeys(names[:2], "took longer than 1 seconds")
    assert cosigned_at(log.tiles.get(COSIGNED_PATH).decode(), good.verifier) == NOW


def test_they_are_asked_when_the_log_has_grown_or_one_did_not_cosign_and_once_a_minute_at_most(
    log: Any, core: CosigningServer
) -> None:
    answers = [Reply(503, "", b""), Reply(200, "", b"")]

    def post(_: str, __: bytes) -> Reply:
        answer = answers.pop(0)
        return answer if answer.status != 200 else Reply(200, "", line(note_of(log)))

    assert not Cosigners([], log.tiles).is_due("any note", NOW)
    cosigners = Cosigners([Cosignatory("https://w.test", COSIGNER.verifier)], log.tiles, post)
    log.grow([5])
    assert cosigners.is_due(note_of(log), NOW)
    assert cosigners.publish(note_of(log), NOW).refused
    assert not cosigners.is_due(note_of(log), NOW + PAUSE - timedelta(seconds=1))
    assert cosigners.is_due(note_of(log), NOW + PAUSE)  # it did not cosign
    assert not cosigners.publish(note_of(log), NOW).refused
    assert not cosigners.is_due(note_of(log), NOW + PAUSE)
    log.grow([8])
    assert not cosigners.is_due(note_of(log), NOW)
    assert cosigners.is_due(note_of(log), NOW + PAUSE)
    assert cosigners.is_due(note_of(log), NOW - PAUSE)  # the clock was set back


def test_an_older_cosigned_checkpoint_does_not_take_the_place_of_a_newer(
    log: Any, core: CosigningServer
) -> None:
    log.grow([5])
    older = note_of(log)
    log.grow([8])
    with serving(core) as url:
        Cosigners([Cosignatory(url, COSIGNER.verifier)], log.tiles).publish(note_of(log), NOW)
    newest = log.tiles.get(COSIGNED_PATH)
    slow = Cosigners([Cosignatory("", COSIGNER.verifier)], log.tiles, lambda *_: Reply(200, "", line(older)))
    assert slow.publish(older, NOW).refused == {}
    assert log.tiles.get(COSIGNED_PATH) == newest


def line(note: str) -> bytes:
    return COSIGNER.cosign(note.rpartition("\n\n")[0] + "\n", NOW).encode()


def test_the_routes_answer_as_the_specification_says(log: Any, core: CosigningServer, make_log: Any) -> None:
    app = Flask(__name__)
    app.register_blueprint(witness_blueprint(core))
    client = app.test_client()
    origin_hash = hashlib.sha256(b"casevault.test/log").hexdigest()
    log.grow([5])
    first = Request(0, (), note_of(log)).text()
    assert client.get(f"/{origin_hash}/checkpoint").status_code == 404
    answer = client.post("/add-checkpoint", data=first)
    assert answer.status_code == 200
    assert answer.text.startswith("\u2014 witness.test/w1 ")
    assert client.get(f"/{origin_hash}/checkpoint").text == note_of(log) + answer.text
    conflict = client.post("/add-checkpoint", data=first)
    assert (conflict.status_code, conflict.text, conflict.content_type) == (409, "5\n", "text/x.tlog.size")
    log.grow([8])
    fork = make_log()
    fork.written = 500
    fork.write(8)
    fork.sequence()
    proof = tuple(prove_consistency(fork.tiles, 5, 8))
    bodies = {
        400: "nonsense",
        403: Request(5, (), sign_checkpoint(8, LEAF, OTHER_KEY)).text(),
        404: Request(5, (), sign_checkpoint(8, LEAF, Signer("other.test/log", bytes(32)))).text(),
        413: "x" * (MAX_REQUEST_BYTES + 1),
        422: Request(5, proof, note_of(fork)).text(),
    }
    assert {
        status: client.post("/add-checkpoint", data=body).status_code for status, body in bodies.items()
    } == {status: status for status in bodies}
    assert client.get("/add-checkpoint").status_code == 405
    assert client.get("/nobody/checkpoint").status_code == 404


MLDSA = MLDSA44PrivateKey.from_seed_bytes(bytes(range(32)))
MLDSA_KEY = MldsaCosignatureVerifier("witness.test/pq", MLDSA.public_key().public_bytes_raw())
CHECKPOINT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


def mldsa_line(text: str, seconds: int, name: str = "witness.test/pq", start: int = 0) -> str:
    """A cosignature of kind 0x06, put together from the specification's words."""
    origin, size, root = text.split("\n")[:3]
    message = b"subtree/v1\n\x00"
    message += bytes([len(name)]) + name.encode() + seconds.to_bytes(8, "big")
    message += bytes([len(origin)]) + origin.encode()
    message += start.to_bytes(8, "big") + int(size).to_bytes(8, "big") + base64.b64decode(root)
    key_id = hashlib.sha256(b"witness.test/pq\n\x06" + MLDSA.public_key().public_bytes_raw()).digest()[:4]
    raw = key_id + seconds.to_bytes(8, "big") + MLDSA.sign(message)
    return f"\u2014 witness.test/pq {base64.b64encode(raw).decode()}\n"


def test_a_cosignature_by_ml_dsa_44_opens_the_note_and_tells_the_time() -> None:
    note = f"{CHECKPOINT}\n{mldsa_line(CHECKPOINT, 1679315147)}"
    assert open_note(note, MLDSA_KEY) == CHECKPOINT
    assert cosigned_at(note, MLDSA_KEY) == datetime.fromtimestamp(1679315147, UTC)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (CHECKPOINT.replace("163", "164"), mldsa_line(CHECKPOINT, 7)),
        (CHECKPOINT.replace("sofa", "sofas"), mldsa_line(CHECKPOINT, 7)),
        (CHECKPOINT.replace("CsUY", "CsUZ"), mldsa_line(CHECKPOINT, 7)),
        (CHECKPOINT, mldsa_line(CHECKPOINT, 7, name="witness.test/other")),
        (CHECKPOINT, mldsa_line(CHECKPOINT, 7, start=1)),
        (CHECKPOINT, mldsa_line(CHECKPOINT, 0)),
        (CHECKPOINT + "an extension\n", mldsa_line(CHECKPOINT, 7)),
        ("no checkpoint\n", mldsa_line(CHECKPOINT, 7)),
    ],
)
def test_it_holds_for_its_log_its_tree_its_witness_and_its_time_only(text: str, line: str) -> None:
    with pytest.raises(NoteError, match="is wrong"):
        open_note(f"{text}\n{line}", MLDSA_KEY)


def test_every_byte_of_it_counts() -> None:
    raw = base64.b64decode(mldsa_line(CHECKPOINT, 7).split(" ")[2])
    for at in (11, 12, 1200, len(raw) - 1):
        forged = base64.b64encode(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]).decode()
        with pytest.raises(NoteError, match="is wrong"):
            open_note(f"{CHECKPOINT}\n\u2014 witness.test/pq {forged}\n", MLDSA_KEY)
    for short in (raw[:-1], raw + b"\0"):
        line = base64.b64encode(short).decode()
        with pytest.raises(NoteError, match="is wrong"):
            open_note(f"{CHECKPOINT}\n\u2014 witness.test/pq {line}\n", MLDSA_KEY)


def test_a_witnesss_key_is_read_by_its_kind() -> None:
    assert parse_witness_key(MLDSA_KEY.key) == MLDSA_KEY
    assert parse_witness_key(COSIGNER.verifier.key) == COSIGNER.verifier
    for wrong, said in (
        (OTHER_KEY.verifier.key, "not of kind 04"),
        ("a+b", "not base64"),
        (MLDSA_KEY.key.replace("witness.test", "witness.best"), "does not match its name"),
        (f"w+00000000+{base64.b64encode(bytes([6]) + bytes(32)).decode()}", "1312 bytes, this one 32"),
    ):
        with pytest.raises(NoteError, match=said):
            parse_witness_key(wrong)


def test_a_witness_by_ml_dsa_44_cosigns_our_log_beside_one_by_ed25519(
    log: Any, core: CosigningServer
) -> None:
    log.grow([5])

    def post(url: str, body: bytes) -> Reply:
        if "pq" in url:
            text = body.decode().partition("\n\n")[2].rpartition("\n\n")[0] + "\n"
            return Reply(200, "", mldsa_line(text, int(NOW.timestamp())).encode())
        return Reply(200, "", core.add_checkpoint(body).lines.encode())

    asked = [
        Cosignatory("https://pq.test", MLDSA_KEY),
        Cosignatory("https://w1.test", COSIGNER.verifier),
    ]
    assert Cosigners(asked, log.tiles, post).publish(note_of(log), NOW).refused == {}
    published = log.tiles.get(COSIGNED_PATH).decode()
    for verifier in (MLDSA_KEY, COSIGNER.verifier):
        assert cosigned_at(published, verifier) == NOW
