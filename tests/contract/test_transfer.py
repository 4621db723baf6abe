"""Downloads: whole or absent, never more bytes than needed, whatever the server and the connection do."""

import hashlib
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.base.errors import Corrupt, DiskRefused, RateLimited, Transient
from orchestrator.kaggle.retry import RetryPolicy
from orchestrator.kaggle.transfer import fetch, opener
from orchestrator.kaggle.transport import TransportLimits
from orchestrator.platforms.file_names import safe_name
from orchestrator.platforms.port import Downloaded, FileWanted
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from orchestrator.rehearsal.simulation.read_errors import unread
from tests.contract.scripted import Reply, Script, Scripted, Seen, in_turn, scripted
from tests.contract.worlds import kernel, over_http

CONTENT = random.Random(7).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WANTED = FileWanted(size_bytes=len(CONTENT), sha256=SHA256)
LIMITS = TransportLimits(connect_s=1.0, read_s=1.0, call_s=5.0)

Change = Callable[[Reply], Reply]


@dataclass
class Store:
    """Serves one file as a good storage server does; `faults` befall its answers one after the other."""

    content: bytes = CONTENT
    etag: str = '"v1"'
    ranges: bool = True
    faults: tuple[Reply | int, ...] = ()
    """A whole answer instead, or the number of bytes after which the answer is cut."""

    def __call__(self, seen: Seen) -> Reply:
        fault, self.faults = (self.faults[0], self.faults[1:]) if self.faults else (None, ())
        if isinstance(fault, Reply):
            return fault
        return self._answer(seen, fault)

    def _answer(self, seen: Seen, cut_after: int | None) -> Reply:
        headers = {"ETag": self.etag} if self.etag else {}
        asked = re.fullmatch(r"bytes=(\d+)-", seen.headers.get("Range", ""))
        same = seen.headers.get("If-Range") in (None, self.etag)
        if not (asked and same and self.ranges):
            return Reply(body=self.content, headers=headers, cut_after=cut_after)
        start, size = int(asked[1]), len(self.content)
        if start >= size:
            return Reply(status=416, headers={"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        return Reply(status=206, body=self.content[start:], headers=headers, cut_after=cut_after)


@dataclass
class Fetching:
    """One file on a server and the place that it goes to."""

    server: Scripted
    into: Path
    waits: list[float]

    def __call__(self, wanted: FileWanted = WANTED) -> Downloaded:
        patience = RetryPolicy(sleep=self.waits.append)
        return fetch(opener(f"{self.server.url}/signed?key=1", LIMITS, str), self.into, wanted, patience, str)

    @property
    def part(self) -> Path:
        return self.into.with_name(self.into.name + ".part")

    @property
    def left(self) -> list[str]:
        return sorted(path.name for path in self.into.parent.glob("*"))


@contextmanager
def fetching(script: Script, directory: Path) -> Iterator[Fetching]:
    with scripted(script) as server:
        yield Fetching(server, directory / "got" / "state.bin", [])


def arrived(fetching: Fetching) -> bool:
    return fetching.into.read_bytes() == CONTENT and fetching.left == ["state.bin"]


# --- cuts ---------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_anywhere_is_continued_and_no_byte_is_sent_twice(tmp_path: Path, seed: int) -> None:
    cuts = tuple(random.Random(seed).choices(range(700_000), k=4))
    with fetching(Store(faults=cuts), tmp_path) as get:
        assert get() == Downloaded(path=get.into, size_bytes=len(CONTENT), sha256=SHA256)
        assert arrived(get)
        assert get.server.sent_bytes == len(CONTENT)
        assert [seen.headers.get("If-Range") for seen in get.server.seen[-1:]] == ['"v1"']


def test_more_cuts_than_there_are_attempts_do_not_matter_while_bytes_arrive(tmp_path: Path) -> None:
    with fetching(Store(faults=(100_000,) * 29), tmp_path) as get:
        get()
        assert arrived(get)
        assert get.server.sent_bytes == len(CONTENT)


def test_a_server_that_gives_nothing_is_given_up_and_the_part_is_kept(tmp_path: Path) -> None:
    with fetching(Store(faults=(1_000_000, *[0] * 50)), tmp_path) as get:
        with pytest.raises(Transient):
            get()
        assert get.left == ["state.bin.part"]
        assert get.part.read_bytes() == CONTENT[:1_000_000]
        assert len(get.server.seen) == 7


def test_a_later_process_goes_on_where_an_earlier_one_stopped(tmp_path: Path) -> None:
    with fetching(Store(), tmp_path) as get:
        get.into.parent.mkdir()
        get.part.write_bytes(CONTENT[:2_500_000])
        get()
        assert arrived(get)
        assert get.server.sent_bytes == 500_000


def test_a_part_that_is_whole_already_costs_nothing(tmp_path: Path) -> None:
    with fetching(Store(), tmp_path) as get:
        get.into.parent.mkdir()
        get.part.write_bytes(CONTENT)
        get()
        assert arrived(get)
        assert get.server.sent_bytes == 0


@pytest.mark.parametrize("stale", [b"x" * 1000, b"x" * len(CONTENT), CONTENT + b"x"])
def test_a_part_of_another_file_is_thrown_away_and_not_blamed_on_kaggle(tmp_path: Path, stale: bytes) -> None:
    with fetching(Store(), tmp_path) as get:
        get.into.parent.mkdir()
        get.part.write_bytes(stale)
        get()
        assert arrived(get)


def test_a_part_that_nothing_could_prove_right_is_not_continued(tmp_path: Path) -> None:
    with fetching(Store(), tmp_path) as get:
        get.into.parent.mkdir()
        get.part.write_bytes(b"x" * 1000)
        get(FileWanted(size_bytes=len(CONTENT)))
        assert arrived(get)
        assert get.server.seen[0].headers["Range"] is None


def test_a_file_that_changed_between_two_pieces_is_fetched_from_its_start(tmp_path: Path) -> None:
    store = Store(content=b"old" * 1_000_000, etag='"v0"', faults=(1_500_000,))

    def script(seen: Seen) -> Reply:
        reply = store(seen)
        store.content, store.etag = CONTENT, '"v1"'
        return reply

    with fetching(script, tmp_path) as get:
        get()
        assert arrived(get)


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_hash_or_a_validator_halves_are_never_put_together(tmp_path: Path, etag: str) -> None:
    with fetching(Store(etag=etag, faults=(1_000_000,)), tmp_path) as get:
        get(FileWanted())
        assert arrived(get)
        assert [seen.headers["Range"] for seen in get.server.seen] == [None, None]


def test_a_server_that_ignores_ranges_is_heard_from_the_start(tmp_path: Path) -> None:
    with fetching(Store(ranges=False, faults=(1_000_000,)), tmp_path) as get:
        get()
        assert arrived(get)
        assert get.server.sent_bytes == 1_000_000 + len(CONTENT)


def test_a_server_that_sends_another_range_than_was_asked_for_is_not_believed(tmp_path: Path) -> None:
    wrong = Reply(status=206, body=CONTENT[5:], headers={"Content-Range": f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"})
    with fetching(Store(faults=(1_000_000, wrong)), tmp_path) as get:
        get()
        assert arrived(get)


def test_an_end_without_a_length_that_comes_too_early_is_a_cut(tmp_path: Path) -> None:
    unmeasured = Reply(body=CONTENT[:1_000_000], headers={"ETag": '"v1"'}, measured=False)
    with fetching(Store(faults=(unmeasured,)), tmp_path) as get:
        get()
        assert arrived(get)
        assert get.server.sent_bytes == len(CONTENT)


@pytest.mark.slow
def test_a_connection_that_falls_silent_is_cut_and_continued(tmp_path: Path) -> None:
    silent = Reply(
        body=CONTENT[:1_000_000], headers={"Content-Length": str(len(CONTENT)), "ETag": '"v1"'}, silent_end=True
    )
    with fetching(Store(faults=(silent,)), tmp_path) as get:
        get()
        assert arrived(get)
        assert get.server.sent_bytes == len(CONTENT)


# --- answers that are no file -------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_an_address_that_has_expired_is_not_tried_again(tmp_path: Path, status: int) -> None:
    with fetching(in_turn(Reply(status=status, body=b"<Code>ExpiredToken</Code>")), tmp_path) as get:
        with pytest.raises(Transient, match=r"ExpiredToken.*may have expired"):
            get()
        assert len(get.server.seen) == 1
        assert get.waits == []


def test_an_address_that_expires_half_way_leaves_the_part_for_the_next_one(tmp_path: Path) -> None:
    with fetching(Store(faults=(1_000_000, Reply(status=403))), tmp_path) as get:
        with pytest.raises(Transient):
            get()
        get()
        assert arrived(get)
        assert get.server.sent_bytes == len(CONTENT)


def test_a_busy_storage_is_waited_for(tmp_path: Path) -> None:
    busy = (Reply(status=503), Reply(status=429, headers={"Retry-After": "20"}), Reply(status=500))
    with fetching(Store(faults=busy), tmp_path) as get:
        get()
        assert arrived(get)
        assert len(get.waits) == 3
        assert get.waits[1] >= 20.0


def test_a_storage_that_stays_busy_is_told_as_it_is(tmp_path: Path) -> None:
    busy = Reply(status=429, body=b"too many readers")
    with fetching(in_turn(busy), tmp_path) as get, pytest.raises(RateLimited, match="too many readers"):
        get()


# --- wrong bytes --------------------------------------------------------------


def test_a_flipped_bit_is_corrupt_and_leaves_no_file(tmp_path: Path) -> None:
    flipped = bytearray(CONTENT)
    flipped[1_234_567] ^= 1
    with fetching(Store(content=bytes(flipped)), tmp_path) as get:
        with pytest.raises(Corrupt, match="SHA-256"):
            get()
        assert get.left == []


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b""])
def test_a_file_of_another_size_is_corrupt_and_leaves_no_file(tmp_path: Path, content: bytes) -> None:
    with fetching(Store(content=content), tmp_path) as get:
        with pytest.raises(Corrupt, match="bytes instead of 3000000"):
            get(FileWanted(size_bytes=len(CONTENT)))
        assert get.left == []


def test_a_file_without_end_is_stopped_at_its_promised_size(tmp_path: Path) -> None:
    endless = Reply(body=b"x" * 5_000_000, silent_end=True)
    with fetching(in_turn(endless), tmp_path) as get:
        with pytest.raises(Corrupt):
            get(FileWanted(size_bytes=1_000_000))
        assert get.left == []
        assert len(get.server.seen) == 1


def test_a_file_of_unknown_size_is_stopped_where_it_may_not_go_beyond(tmp_path: Path) -> None:
    with fetching(Store(), tmp_path) as get:
        with pytest.raises(Corrupt, match=r"more than 500000 bytes"):
            get(FileWanted(size_bytes_max=500_000))
        assert get.left == []
        assert len(get.server.seen) == 1


def test_a_file_may_be_as_large_as_it_may_be(tmp_path: Path) -> None:
    with fetching(Store(), tmp_path) as get:
        get(FileWanted(size_bytes_max=len(CONTENT)))
        assert arrived(get)


def test_a_file_that_is_here_already_and_right_is_not_fetched(tmp_path: Path) -> None:
    with fetching(Store(), tmp_path) as get:
        get()
        before = get.server.sent_bytes
        assert get().sha256 == SHA256
        assert get.server.sent_bytes == before


def test_a_file_that_is_here_and_not_right_is_replaced(tmp_path: Path) -> None:
    with fetching(Store(), tmp_path) as get:
        get.into.parent.mkdir()
        get.into.write_bytes(b"x" * len(CONTENT))
        get(FileWanted(size_bytes=len(CONTENT)))
        assert arrived(get)


@pytest.mark.parametrize("name", ["state.bin", "state.bin.part"])
def test_a_file_that_is_here_and_cannot_be_read_is_fetched_anew(tmp_path: Path, name: str) -> None:
    with fetching(Store(), tmp_path) as get:
        get.into.parent.mkdir()
        (get.into.parent / name).write_bytes(CONTENT)
        bad = (get.into.parent / name).stat().st_ino
        with unread(lambda path: Path(path).parent == get.into.parent and Path(path).stat().st_ino == bad):
            get()
        assert arrived(get)
        assert get.server.sent_bytes == len(CONTENT)


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    with fetching(in_turn(Reply(status=403)), tmp_path) as get:
        get.into.parent.mkdir()
        get.into.write_bytes(b"old")
        with pytest.raises(Transient):
            get()
        assert get.into.read_bytes() == b"old"


def test_an_empty_file_arrives(tmp_path: Path) -> None:
    with fetching(Store(content=b""), tmp_path) as get:
        assert get(FileWanted(size_bytes=0, sha256=hashlib.sha256().hexdigest())).size_bytes == 0
        assert get.into.read_bytes() == b""
        assert get.left == ["state.bin"]


def test_a_file_of_which_nothing_is_known_arrives_with_its_hash(tmp_path: Path) -> None:
    with fetching(Store(), tmp_path) as get:
        assert get(FileWanted()).sha256 == SHA256


def test_a_place_that_cannot_be_written_is_tried_again_and_named(tmp_path: Path) -> None:
    with fetching(Store(), tmp_path) as get:
        get.into.parent.parent.joinpath("got").write_text("a file where the folder should be")
        with pytest.raises(DiskRefused, match=r"got.*cannot be read or written"):
            get()


@pytest.mark.slow
def test_the_ranges_of_the_local_kaggle_serve_as_well(tmp_path: Path) -> None:
    played = Played(ends_after_s=1.0, files=((0.5, "state.bin", CONTENT),))
    faults = FaultPlan(calls=(CallFault(call="OutputFile", action=CallAction.CUT, after_bytes=777_777, times=3),))
    with over_http(tmp_path / "k", faults=faults, played=played) as place:
        place.gateway.push(kernel("gsm-3f9a-s0001"))
        place.wait(10)
        place.wait(10)
        (file,) = place.gateway.output("gsm-3f9a-s0001", 1)
        assert place.gateway.download(file, tmp_path / "state.bin", WANTED).sha256 == SHA256


@pytest.mark.parametrize("name", ["relay/state.bin", "a b.txt", "x..y", "été/ü.bin", "..a", "a/b..", "~/x"])
def test_a_harmless_name_is_kept(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "/", "..", "a/..", "../a", "/a", "a/", "a\\b", "D:a", "a\x00", "a\nb", "a/./../../b"]
)
def test_a_name_that_leaves_its_directory_is_corrupt(name: str) -> None:
    with pytest.raises(Corrupt):
        safe_name(name)
