"""No answer of a server is odd enough to raise anything but relay's own errors, and nothing odd in one gets further in."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.base.errors import RelayError, Transient
from orchestrator.kaggle.client import KaggleGateway
from orchestrator.kaggle.session import PAGES_MAX
from orchestrator.kaggle.transport import TransportLimits
from orchestrator.platforms.port import FileWanted, Worker
from tests.contract.scripted import Reply, Script, Seen, answer, by_call, scripted
from tests.contract.test_client import KEY, SLUG
from tests.contract.worlds import QUICK, kernel

HALF = "half \ud83d of one\0"
WHOLE = "half \ufffd of one\ufffd"
ONCE = TransportLimits(
    connect_s=QUICK.connect_s, read_s=QUICK.read_s, call_s=QUICK.call_s, quiet_s=0.2, retry_s=0.0, attempts_max=1
)


def asking(script: Script | Reply, ask: Callable[[KaggleGateway], Any]) -> Any:
    """What a gateway makes of these answers."""
    with scripted(script if not isinstance(script, Reply) else lambda _seen: script) as server:
        return ask(KaggleGateway([KEY], server.url, sleep=lambda _s: None, limits=ONCE))


def body(text: str | bytes, status: int = 200) -> Reply:
    data = text.encode() if isinstance(text, str) else text
    return Reply(status=status, body=data, headers={"Content-Type": "application/json"})


def deep(levels: int) -> str:
    return '{"a":' * levels + "[]" + "}" * levels


ODD_BODIES = {
    "nested 3,000 deep": body(deep(3000)),
    "nested 900 deep": body(deep(900)),
    "an error nested 3,000 deep": body(deep(3000), 500),
    "an error within 3,000 errors": body('{"error":' * 3000 + "1" + "}" * 3000, 404),
    "an error within 90 errors": body('{"error":' * 90 + "1" + "}" * 90, 404),
    "an integer without end": body('{"status": ' + "9" * 5000 + "}"),
    "not a number": body('{"status": NaN, "ref": Infinity, "kernels": [NaN], "files": NaN, "log": NaN}'),
    "bytes of no encoding": body(b'{"status": "\xff\xfe\xed\xa0\x80"}'),
    "a list": body("[]"),
    "a date beyond the calendar": body('{"quotaRefreshTime": "0001-01-01T00:00:00+14:00", "tpuQuota": {}}'),
    "a date that is none": body('{"quotaRefreshTime": "9999-99-99T99:99:99Z", "tpuQuota": {}}'),
    "a duration beyond the calendar": body('{"tpuQuota": {"timeUsed": "99999999999999999999s"}}'),
    "a duration that is none": body('{"tpuQuota": {"timeUsed": "1.1234567890123s"}}'),
    "halves of characters everywhere": answer(
        {
            "status": HALF, "failureMessage": HALF, "error": HALF, "ref": HALF, "nextPageToken": HALF,
            "kernels": [{"ref": HALF, "machineShape": HALF}], "files": [{"url": HALF, "fileName": HALF}],
            "datasets": [{"ref": HALF}], "log": HALF, "metadata": {"ref": HALF}, "blob": {"source": HALF}, "title": HALF,
        }
    ),
}  # fmt: skip

CALLS: dict[str, Callable[[KaggleGateway], Any]] = {
    "quota": lambda gateway: gateway.quota("tpu"),
    "find_kernel": lambda gateway: gateway.find_kernel(SLUG),
    "list_kernels": lambda gateway: gateway.list_kernels("a"),
    "recent_kernels": lambda gateway: gateway.recent_kernels(),
    "push": lambda gateway: gateway.push(kernel()),
    "session": lambda gateway: gateway.session(SLUG, 1),
    "log": lambda gateway: tuple(gateway.log(SLUG, 1)),
    "output": lambda gateway: gateway.output(SLUG, 1),
    "see_model": lambda gateway: gateway.see_model("google/gemma-2/flax/gemma2-2b-it/1"),
    "see_dataset": lambda gateway: gateway.see_dataset("alice/set"),
    "find_dataset": lambda gateway: gateway.find_dataset("my-dataset"),
    "list_datasets": lambda gateway: gateway.list_datasets("a"),
    "delete_dataset": lambda gateway: gateway.delete_dataset("my-dataset"),
}


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("odd", ODD_BODIES)
def test_an_odd_answer_is_one_of_relays_errors_or_text_that_can_be_written(odd: str, call: str) -> None:
    try:
        found = asking(ODD_BODIES[odd], CALLS[call])
    except RelayError as error:
        found = str(error)
    shown = repr(found)  # shows characters that cannot be written as escapes
    assert "\\ud8" not in shown
    assert "\\x00" not in shown


def test_a_downloads_odd_error_is_one_of_relays(tmp_path: Path) -> None:
    listing = answer({"files": [{"fileName": "a.bin", "url": "http://127.0.0.1:9/odd"}]})

    def fetched(gateway: KaggleGateway) -> object:
        (file,) = gateway.output(SLUG, 1)
        return gateway.download(file, tmp_path / "a.bin", FileWanted())

    with pytest.raises(RelayError):
        asking(by_call(ListKernelSessionOutput=listing), fetched)


@pytest.mark.parametrize("status", [206, 416])
def test_a_downloads_odd_range_is_one_of_relays_errors(tmp_path: Path, status: int) -> None:
    odd = {206: f"bytes {'9' * 5000}-", 416: f"bytes */{'9' * 5000}"}[status]
    (tmp_path / "a.bin.part").write_bytes(b"half")

    def script(seen: Seen) -> Reply:
        if seen.method == "GET":
            return Reply(status=status, body=b"rest", headers={"Content-Range": odd})
        url = f"http://{seen.headers['Host']}/a"
        return answer({"files": [{"fileName": "a.bin", "url": url}]})

    def fetched(gateway: KaggleGateway) -> object:
        (file,) = gateway.output(SLUG, 1)
        return gateway.download(file, tmp_path / "a.bin", FileWanted(size_bytes=9, sha256="0" * 64))

    with pytest.raises(RelayError):
        asking(script, fetched)


def test_half_a_character_in_a_failure_message_is_shown_as_no_character() -> None:
    seen = asking(answer({"status": "ERROR", "failureMessage": HALF}), lambda gateway: gateway.session(SLUG, 1))
    assert (seen.worker, seen.message) == (Worker.ERROR, WHOLE)


def test_half_a_character_in_a_declined_push_is_shown_as_no_character() -> None:
    with pytest.raises(RelayError, match=f"declined to run .*{WHOLE}"):
        asking(answer({"error": HALF}), lambda gateway: gateway.push(kernel()))


def test_half_a_character_in_a_log_is_shown_as_no_character_and_two_halves_as_one() -> None:
    entries = [{"data": text, "time": 1.0} for text in ("half \ud83d\n", "smile \ud83d", "\ude42\n", "nul \0\n")]
    events = "".join(f"data: {json.dumps(entry)}\n\n" for entry in entries) + "data: END_OF_LOG\n\n"
    live = Reply(body=events.encode(), headers={"Content-Type": "text/event-stream"})
    stored = answer({"log": json.dumps(entries)})
    for log in (live, answer(entries)):
        shown = asking(by_call(**{SLUG: log}), CALLS["log"])
        assert [line.text for line in shown] == ["half \ufffd", "smile 🙂", "nul \ufffd"]
    shown = asking(by_call(ListKernelSessionOutput=stored), CALLS["log"])
    assert [line.text for line in shown] == ["half \ufffd", "smile 🙂", "nul \ufffd"]


@pytest.mark.parametrize(
    "entry", ["[" * 3000, '{"data":"a\\n","time":' + "9" * 5000 + "}", '{"data":"a\\n","time":1e999}']
)
def test_an_odd_entry_of_a_log_takes_no_other_line_away(entry: str) -> None:
    events = 'data: {"data":"one\\n"}\n\n' + f"data: {entry}\n\n" + 'data: {"data":"two\\n"}\n\ndata: END_OF_LOG\n\n'
    live = Reply(body=events.encode(), headers={"Content-Type": "text/event-stream"})
    shown = [line.text for line in asking(by_call(**{SLUG: live}), CALLS["log"])]
    assert (shown[0], shown[-1]) == ("one", "two")
    assert all(abs(line.at_s) < 1e9 for line in asking(by_call(**{SLUG: live}), CALLS["log"]))


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_quota_that_is_renewed_at_no_time_is_renewed_nobody_knows_when(when: str) -> None:
    told = {"quotaRefreshTime": when, "tpuQuota": {"timeUsed": "60s", "totalTimeAllowed": "999999999999s"}}
    found = asking(answer(told), CALLS["quota"])
    assert (found.used_s, found.total_s, found.refreshes_at) == (60.0, None, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "page"),
    [
        ("output", {"files": []}),
        ("list_kernels", {"kernels": [{"ref": "a/b"}]}),
        ("list_datasets", {"datasets": []}),
    ],
)
def test_a_listing_without_an_end_is_given_up_and_told(call: str, page: dict[str, Any]) -> None:
    tokens = itertools.count()
    asked: list[int] = []

    def script(_seen: object) -> Reply:
        asked.append(1)
        return answer({**page, "nextPageToken": f"page {next(tokens)}"})

    with pytest.raises(Transient, match="listing has no end"):
        asking(script, CALLS[call])
    assert len(asked) == PAGES_MAX
