"""Uploads: after any cut only what is missing is sent, and what Kaggle stores is what lay on the disk."""

import hashlib
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.base.clock import SystemClock
from orchestrator.base.errors import Corrupt, DiskRefused, Permanent, Refused, Transient
from orchestrator.kaggle.retry import RetryPolicy
from orchestrator.kaggle.transport import TransportLimits
from orchestrator.kaggle.upload import upload
from orchestrator.kaggle.upload_journal import Slot, UploadJournal
from orchestrator.platforms.port import FileWanted
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from orchestrator.rehearsal.local_kaggle.rules import Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played, ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from tests.contract.scripted import Reply, Script, Scripted, Seen, scripted
from tests.contract.worlds import over_http

CONTENT = random.Random(11).randbytes(2_000_000)
DATASET = "gsm-3f9a-c0001"
LIMITS = TransportLimits(connect_s=1.0, read_s=1.0, call_s=5.0)


@dataclass
class Storage:
    """A resumable upload as the storage keeps it: `keeps` says how much of each PUT with a body is taken before a 503."""

    size: int = len(CONTENT)
    keeps: list[int | None] = field(default_factory=list)
    """None: all of it."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    received_bytes: int = 0

    def __call__(self, seen: Seen) -> Reply:
        have = self.blobs.get(seen.path, b"")
        probe = re.fullmatch(r"bytes \*/(\d+)", seen.headers.get("Content-Range", ""))
        if probe:
            assert int(probe[1]) == self.size
            return self._standing(have)
        start = self._start(seen, len(have))
        keep = self.keeps.pop(0) if self.keeps else None
        body = seen.body if keep is None else seen.body[:keep]
        self.received_bytes += len(seen.body)
        self.blobs[seen.path] = have[:start] + body
        return self._standing(self.blobs[seen.path]) if keep is None else Reply(status=503)

    def _start(self, seen: Seen, have: int) -> int:
        if seen.headers.get("Content-Range") is None:
            return 0
        piece = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", seen.headers["Content-Range"])
        assert piece is not None
        assert int(piece[1]) == have, "a hole"
        assert (int(piece[2]), int(piece[3])) == (self.size - 1, self.size)
        assert len(seen.body) == self.size - have
        return have

    def _standing(self, have: bytes) -> Reply:
        if len(have) == self.size:
            return Reply(status=200)
        return Reply(status=308, headers={"Range": f"bytes=0-{len(have) - 1}"} if have else {})


@dataclass
class Sending:
    server: Scripted
    path: Path
    waits: list[float] = field(default_factory=list)
    started: int = 0

    def start(self) -> Slot:
        self.started += 1
        return Slot(f"token-{self.started}", f"{self.server.url}/{self.started}")

    def __call__(self) -> str:
        return upload(self.path, self.start, LIMITS, RetryPolicy(sleep=self.waits.append), str)


@contextmanager
def sending(script: Script, directory: Path, content: bytes = CONTENT) -> Iterator[Sending]:
    path = directory / "state.bin"
    path.write_bytes(content)
    with scripted(script) as server:
        yield Sending(server, path)


def test_a_file_goes_in_one_piece_with_its_length(tmp_path: Path) -> None:
    storage = Storage()
    with sending(storage, tmp_path) as send:
        assert send() == "token-1"
        (put,) = send.server.seen
    assert put.headers["Content-Length"] == str(len(CONTENT))
    assert put.headers["Content-Range"] is None
    assert storage.blobs["/1"] == CONTENT


def test_after_a_cut_only_the_rest_is_sent(tmp_path: Path) -> None:
    storage = Storage(keeps=[700_000, 300_001, 0, 1])
    with sending(storage, tmp_path) as send:
        assert send() == "token-1"
    assert storage.blobs["/1"] == CONTENT
    # What each PUT held, minus what was taken before it.
    assert storage.received_bytes == 2_000_000 + 1_300_000 + 999_999 + 999_999 + 999_998


NO_BYTES = Path("/sys/class/net/lo/speed")
"""A file of Linux that has a size, can be opened, and cannot be read."""


@pytest.mark.skipif(not NO_BYTES.exists(), reason="this system has no file that can be opened and not be read")
def test_a_disk_that_fails_in_the_middle_is_not_taken_for_a_connection_that_does(tmp_path: Path) -> None:
    (tmp_path / "state.bin").symlink_to(NO_BYTES)
    with scripted(Storage(size=NO_BYTES.stat().st_size)) as server:
        send = Sending(server, tmp_path / "state.bin")
        with pytest.raises(DiskRefused, match=r"state\.bin cannot be read or written \(Invalid argument\)"):
            send()
    assert send.waits == [], "it is no failure of Kaggle's"


@pytest.mark.slow
def test_progress_begins_patience_anew(tmp_path: Path) -> None:
    storage = Storage(keeps=[100_000] * 19)
    with sending(storage, tmp_path) as send:
        assert send() == "token-1"
    assert storage.blobs["/1"] == CONTENT


def test_an_upload_that_never_gets_anywhere_is_given_up(tmp_path: Path) -> None:
    storage = Storage(keeps=[0] * 100)
    with sending(storage, tmp_path) as send, pytest.raises(Transient):
        send()
    assert len(send.waits) == 5


def test_a_lost_answer_to_a_whole_upload_sends_nothing_again(tmp_path: Path) -> None:
    storage = Storage(keeps=[len(CONTENT)])
    with sending(storage, tmp_path) as send:
        assert send() == "token-1"
        assert [seen.headers["Content-Range"] for seen in send.server.seen] == [None, "bytes */2000000"]
    assert storage.received_bytes == len(CONTENT)


def test_a_piece_that_is_taken_in_part_is_continued_at_once(tmp_path: Path) -> None:
    taken = [500_000, 900_000]

    def script(seen: Seen) -> Reply:
        if seen.headers.get("Content-Range") is not None:
            assert not seen.headers["Content-Range"].startswith("bytes *"), "there was no doubt to ask about"
        return Reply(status=308, headers={"Range": f"bytes=0-{taken.pop(0) - 1}"}) if taken else Reply(status=201)

    with sending(script, tmp_path) as send:
        send()
        assert [len(seen.body) for seen in send.server.seen] == [2_000_000, 1_500_000, 1_100_000]
        assert send.waits == []


@pytest.mark.parametrize("status", [404, 410, 403])
def test_an_upload_that_the_storage_forgot_begins_anew(tmp_path: Path, status: int) -> None:
    storage = Storage(keeps=[1_000_000])

    def script(seen: Seen) -> Reply:
        forgotten = seen.path == "/1" and seen.headers.get("Content-Range") is not None
        return Reply(status=status) if forgotten else storage(seen)

    with sending(script, tmp_path) as send:
        assert send() == "token-2"
    assert storage.blobs["/2"] == CONTENT


def test_a_storage_that_declines_is_believed(tmp_path: Path) -> None:
    with sending(lambda _seen: Reply(status=413, body=b"too large for your quota"), tmp_path) as send:
        with pytest.raises(Refused, match="too large for your quota"):
            send()
        assert len(send.server.seen) == 1


def test_a_storage_that_has_all_and_is_not_done_is_asked_until_it_is(tmp_path: Path) -> None:
    left = [3]

    def script(seen: Seen) -> Reply:
        left[0] -= 1
        return Reply(status=308, headers={"Range": "bytes=0-1999999"}) if left[0] else Reply(status=200)

    with sending(script, tmp_path) as send:
        assert send() == "token-1"
        assert [len(seen.body) for seen in send.server.seen] == [2_000_000, 0, 0]


def test_an_empty_file_goes_with_a_length_of_zero(tmp_path: Path) -> None:
    with sending(Storage(size=0), tmp_path, b"") as send:
        assert send() == "token-1"
        (put,) = send.server.seen
    assert put.headers["Content-Length"] == "0"
    assert put.headers["Transfer-Encoding"] is None


def test_a_file_that_changes_while_it_is_sent_is_corrupt(tmp_path: Path) -> None:
    storage = Storage(keeps=[1_000_000])

    def script(seen: Seen) -> Reply:
        send.path.write_bytes(b"another")
        return storage(seen)

    with sending(script, tmp_path) as send, pytest.raises(Corrupt, match="changed while"):
        send()


def test_a_file_that_is_not_there_asks_for_a_person(tmp_path: Path) -> None:
    with sending(Storage(), tmp_path) as send:
        send.path.unlink()
        with pytest.raises(Permanent, match="cannot be read"):
            send()


@pytest.mark.slow
def test_an_upload_may_take_longer_than_any_other_call(tmp_path: Path) -> None:
    def slow(_seen: Seen) -> Reply:
        send.server.closing.wait(0.3)
        return Reply(status=200, body=b'{"kind": "storage#object"}')

    with sending(slow, tmp_path) as send:
        limits = TransportLimits(connect_s=1.0, read_s=5.0, call_s=0.1)
        assert upload(send.path, send.start, limits, RetryPolicy(sleep=send.waits.append), str) == "token-1"
        assert len(send.server.seen) == 1


# --- with the local Kaggle ----------------------------------------------------


def files(directory: Path, *contents: bytes) -> list[Path]:
    directory.mkdir()
    paths = [directory / f"file-{number}.bin" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


@pytest.mark.slow
@pytest.mark.parametrize("status", [0, 503])
@pytest.mark.parametrize("after_bytes", [0, 1, 65_537, 1_999_999])
def test_a_checkpoint_survives_the_cuts_of_its_upload(tmp_path: Path, after_bytes: int, status: int) -> None:
    fault = CallFault(call="BlobUpload", action=CallAction.CUT, after_bytes=after_bytes, status=status)
    with over_http(tmp_path / "k", faults=FaultPlan(calls=(fault,))) as place:
        place.gateway.create_dataset(DATASET, files(tmp_path / "c", CONTENT, b"", b"{}"))
        place.wait(61)
        seen = place.gateway.find_dataset(DATASET)
        assert seen is not None
        assert {file.name: file.size_bytes for file in seen.files} == {
            "file-0.bin": len(CONTENT),
            "file-1.bin": 0,
            "file-2.bin": 2,
        }
        wanted = FileWanted(sha256=hashlib.sha256(CONTENT).hexdigest())
        place.gateway.download_dataset_file(DATASET, "file-0.bin", tmp_path / "back", wanted)


@pytest.mark.slow
def test_two_uploads_at_once_of_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    contents = {f"gsm-3f9a-c000{number}": random.Random(number).randbytes(500_000) for number in range(4)}
    fault = CallFault(call="BlobUpload", action=CallAction.CUT, after_bytes=100_000, status=503, times=3)
    failed: list[BaseException] = []
    with over_http(tmp_path / "k", faults=FaultPlan(calls=(fault,))) as place:

        def create(slug: str) -> None:
            try:
                place.gateway.create_dataset(slug, files(tmp_path / slug, contents[slug]))
            except BaseException as error:
                failed.append(error)
                raise

        threads = [threading.Thread(target=create, args=(slug,)) for slug in contents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        place.wait(61)
        for slug, content in contents.items():
            wanted = FileWanted(sha256=hashlib.sha256(content).hexdigest())
            place.gateway.download_dataset_file(slug, "file-0.bin", tmp_path / f"{slug}.bin", wanted)


# --- the next process ---------------------------------------------------------


def noted(send: Sending, folder: Path, patience: RetryPolicy | None = None) -> str:
    """As `send()`, with notes for the next process."""
    patience = patience or RetryPolicy(sleep=send.waits.append)
    return upload(send.path, send.start, LIMITS, patience, str, UploadJournal(folder))


IMPATIENT = RetryPolicy(sleep=lambda _: None, attempts_max=1)


def test_the_next_process_sends_only_the_rest(tmp_path: Path) -> None:
    storage = Storage(keeps=[1_500_000])
    with sending(storage, tmp_path) as send:
        with pytest.raises(Transient):
            noted(send, tmp_path / "notes", IMPATIENT)
        assert noted(send, tmp_path / "notes") == "token-1"
    assert send.started == 1
    assert storage.received_bytes == 2_000_000 + 500_000
    assert storage.blobs["/1"] == CONTENT


def test_a_file_that_was_sent_whole_is_not_sent_again(tmp_path: Path) -> None:
    storage = Storage()
    with sending(storage, tmp_path) as send:
        noted(send, tmp_path / "notes")
        assert noted(send, tmp_path / "notes") == "token-1"
    assert storage.received_bytes == len(CONTENT)


def test_another_content_under_the_same_name_begins_anew(tmp_path: Path) -> None:
    storage = Storage(keeps=[1_500_000])
    with sending(storage, tmp_path) as send:
        with pytest.raises(Transient):
            noted(send, tmp_path / "notes", IMPATIENT)
        send.path.write_bytes(CONTENT[::-1])
        assert noted(send, tmp_path / "notes") == "token-2"
    assert storage.blobs["/2"] == CONTENT[::-1]


def test_an_address_at_which_nobody_answers_any_more_is_given_up(tmp_path: Path) -> None:
    storage = Storage()
    with sending(storage, tmp_path) as send:
        UploadJournal(tmp_path / "notes").begun(send.path, Slot("token-0", "http://127.0.0.1:9/gone"))
        with pytest.raises(Transient):
            noted(send, tmp_path / "notes", IMPATIENT)
        assert noted(send, tmp_path / "notes") == "token-1"
    assert storage.blobs["/1"] == CONTENT


def test_a_file_that_was_just_compared_is_not_read_once_more_for_its_note(tmp_path: Path) -> None:
    path, slot = tmp_path / "state.bin", Slot("token-1", "http://127.0.0.1:9/1")
    path.write_bytes(CONTENT)
    compared = UploadJournal(tmp_path / "notes", {"state.bin": hashlib.sha256(CONTENT).hexdigest()})
    compared.begun(path, slot)
    path.write_bytes(CONTENT[::-1])
    assert compared.slot(path) == slot  # it was told what the file holds, and believes it
    assert UploadJournal(tmp_path / "notes").slot(path) is None
    path.write_bytes(CONTENT)
    assert UploadJournal(tmp_path / "notes").slot(path) == slot


@pytest.mark.parametrize("text", ["", "{", "[]", '{"content": 5}'])
def test_half_a_note_is_none(tmp_path: Path, text: str) -> None:
    with sending(Storage(), tmp_path) as send:
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes" / "state.bin.json").write_text(text, encoding="utf-8")
        assert noted(send, tmp_path / "notes") == "token-1"


def test_a_note_is_its_owners_alone(tmp_path: Path) -> None:
    with sending(Storage(keeps=[5]), tmp_path) as send, pytest.raises(Transient):
        noted(send, tmp_path / "notes", IMPATIENT)
    (note,) = (tmp_path / "notes").iterdir()
    assert note.stat().st_mode & 0o077 == 0
    assert (tmp_path / "notes").stat().st_mode & 0o077 == 0


KILLED = """
import os, sys
from pathlib import Path
from orchestrator.kaggle.client import connect
connect(os.environ, Path(sys.argv[1]), uploads=Path(sys.argv[2])).create_dataset(sys.argv[3], [Path(sys.argv[4])])
"""


@pytest.mark.slow
def test_a_process_killed_in_the_middle_of_an_upload_is_gone_on_from(tmp_path: Path) -> None:
    """The storage hangs after a part; the process is killed; the next one sends the rest and makes the dataset."""
    content = random.Random(12).randbytes(30_000_000)
    path = tmp_path / "state.bin"
    path.write_bytes(content)
    stuck = CallFault(call="BlobUpload", action=CallAction.CUT, after_bytes=20_000_000, status=503, times=1)
    hang = CallFault(call="BlobUpload", action=CallAction.HANG, nth=2, seconds=60.0, times=1)
    clock, root = SystemClock(), tmp_path / "world"
    faults, sandbox = FaultPlan(calls=(stuck, hang)), ScriptedSandbox(lambda *_: Played(ends_after_s=1.0))
    with LocalKaggle(root, clock, Rules.brisk(60.0), faults, sandbox) as kaggle:
        arguments = [str(tmp_path), str(tmp_path / "notes"), DATASET, str(path)]
        command, environ = [sys.executable, "-c", KILLED, *arguments], {**os.environ, **kaggle.environment()}
        first = subprocess.Popen(command, env=environ)
        try:
            until = time.monotonic() + 60
            while not any(blob.stat().st_size >= 20_000_000 for blob in (root / "blobs").glob("*")):
                assert time.monotonic() < until
                time.sleep(0.1)
        finally:
            first.kill()
            first.wait()
        assert (tmp_path / "notes" / DATASET / "state.bin.json").exists()
        subprocess.run(command, env=environ, check=True, timeout=120)
        (blob,) = (root / "blobs").glob("*")
        assert blob.read_bytes() == content
        assert not (tmp_path / "notes" / DATASET).exists()
