"""The live log: shown as far as it goes, and followed to its end with every line once, however often the stream is cut."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.base.errors import RelayError, Transient
from orchestrator.kaggle.client import KaggleGateway
from orchestrator.platforms.port import LogLine
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from tests.contract.scripted import Reply, Script, Scripted, answer, by_call, error, in_turn, scripted
from tests.contract.test_client import KEY, SLUG
from tests.contract.worlds import OWNER, QUICK, kernel, over_http

EVENT_STREAM = {"Content-Type": "text/event-stream; charset=utf-8"}
END = "data: END_OF_LOG\n\n"
COMPLETE = answer({"status": "COMPLETE"})
RUNNING = answer({"status": "RUNNING"})


def entries(first: int, last: int) -> list[dict[str, object]]:
    return [{"stream_name": "stdout", "time": float(i), "data": f"line {i} ä\n"} for i in range(first, last)]


def events(first: int, last: int) -> str:
    return "".join(f"data: {json.dumps(entry, ensure_ascii=False)}\n\n" for entry in entries(first, last))


def stream(text: str, **fields: object) -> Reply:
    return Reply(body=text.encode(), headers=EVENT_STREAM, **fields)  # type: ignore[arg-type]


def stored(first: int, last: int) -> Reply:
    return answer({"log": json.dumps(entries(first, last))})


@contextmanager
def following(log: Script | Reply, **more: Script | Reply) -> Iterator[tuple[KaggleGateway, Scripted, list[float]]]:
    waits: list[float] = []
    scripts = {"GetKernelSessionStatus": RUNNING, SLUG: log, **more}
    with scripted(by_call(**scripts)) as server:
        yield KaggleGateway([KEY], server.url, sleep=waits.append, limits=QUICK), server, waits


def numbers(lines: Iterator[LogLine] | tuple[LogLine, ...]) -> list[int]:
    found = list(lines)
    assert [line.text for line in found] == [f"line {line.number} ä" for line in found]
    return [line.number for line in found]


# --- the log as it is now -----------------------------------------------------


@pytest.mark.slow
def test_a_running_log_is_shown_once_it_falls_silent() -> None:
    with following(stream(events(0, 5), silent_end=True)) as (gateway, server, _):
        assert numbers(gateway.log(SLUG, 3)) == [0, 1, 2, 3, 4]
        (seen,) = server.seen
    assert seen.path == f"/api/v1/kernels/logs/stream/{OWNER}/{SLUG}?versionLabel=v3"
    assert seen.headers["Accept"] == "text/event-stream, */*"
    assert seen.headers["Authorization"] == KEY.authorization


@pytest.mark.slow
def test_a_line_that_is_still_being_written_is_not_shown() -> None:
    half = 'data: {"stream_name": "stdout", "time": 5.0, "data": "line"}\n\n'
    with following(stream(events(0, 2) + half, silent_end=True)) as (gateway, _, _):
        assert numbers(gateway.log(SLUG, 1)) == [0, 1]


def test_a_log_that_has_ended_is_shown_to_its_last_unfinished_line() -> None:
    half = 'data: {"stream_name": "stdout", "time": 5.0, "data": "line 2 ä"}\n\n'
    with following(stream(events(0, 2) + half + END)) as (gateway, _, _):
        assert numbers(gateway.log(SLUG, 1)) == [0, 1, 2]


def test_a_finished_log_comes_as_an_array() -> None:
    with following(answer(entries(0, 3))) as (gateway, _, _):
        assert numbers(gateway.log(SLUG, 1)) == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken",
    [
        error(500, "Internal"),
        error(404, "no stream"),
        error(429, "slow down"),
        stream("", silent_end=True),
        Reply(hang=True),
    ],
)
def test_where_the_stream_does_not_work_the_stored_log_is_shown(broken: Reply) -> None:
    with following(broken, ListKernelSessionOutput=stored(0, 3)) as (gateway, _, _):
        assert numbers(gateway.log(SLUG, 1)) == [0, 1, 2]


def test_where_there_is_no_log_at_all_it_is_empty() -> None:
    with following(error(404, "no"), ListKernelSessionOutput=error(404, "no")) as (gateway, _, _):
        assert tuple(gateway.log(SLUG, 1)) == ()


def test_a_log_that_never_falls_silent_is_shown_all_the_same() -> None:
    limits = type(QUICK)(quiet_s=1.0, live_s=0.0)
    with scripted(by_call(**{SLUG: stream(events(0, 50), silent_end=True)})) as server:
        shown = tuple(KaggleGateway([KEY], server.url, sleep=lambda _s: None, limits=limits).log(SLUG, 1))
    assert numbers(shown) == [0]


# --- following ----------------------------------------------------------------


def test_a_stream_that_is_cut_and_replayed_gives_each_line_once() -> None:
    whole = events(0, 9) + END
    cuts = [stream(whole, cut_after=n) for n in (3, 61, 250, 251, 400)]
    with following(in_turn(*cuts, stream(whole))) as (gateway, server, _):
        assert numbers(gateway.follow_log(SLUG, 1)) == list(range(9))
        assert len(server.calls(f"{SLUG}")) == 6


@pytest.mark.slow
@pytest.mark.parametrize("cut", range(0, 420, 7))
def test_a_cut_at_any_byte_neither_loses_nor_repeats_a_line(cut: int) -> None:
    whole = events(0, 6) + END
    with following(in_turn(stream(whole, cut_after=cut), stream(whole))) as (gateway, _, _):
        assert numbers(gateway.follow_log(SLUG, 1)) == list(range(6))


def test_following_begins_after_the_lines_that_were_seen() -> None:
    with following(stream(events(0, 9) + END)) as (gateway, _, _):
        assert numbers(gateway.follow_log(SLUG, 1, seen=6)) == [6, 7, 8]


def test_a_stream_that_becomes_an_array_when_the_session_ends_is_followed_to_its_end() -> None:
    replies = in_turn(stream(events(0, 4), cut_after=len(events(0, 3)) + 5), answer(entries(0, 7)))
    with following(replies) as (gateway, _, _):
        assert numbers(gateway.follow_log(SLUG, 1)) == list(range(7))


@pytest.mark.slow
def test_a_silent_stream_of_a_running_session_is_asked_for_anew_and_never_given_up() -> None:
    silent = [stream(events(0, 2)) for _ in range(20)]  # the connection ends, the log does not
    with following(in_turn(*silent, stream(events(0, 3) + END))) as (gateway, _, waits):
        assert numbers(gateway.follow_log(SLUG, 1)) == [0, 1, 2]
        assert len(waits) == 20
        assert max(waits) <= 15.0


def test_a_stream_that_forgets_to_say_its_end_ends_with_its_session() -> None:
    with following(
        stream(events(0, 2)), GetKernelSessionStatus=in_turn(RUNNING, COMPLETE), ListKernelSessionOutput=stored(0, 4)
    ) as (gateway, _, _):
        assert numbers(gateway.follow_log(SLUG, 1)) == [0, 1, 2, 3]


def test_a_queued_session_is_waited_for() -> None:
    queued = [error(404, "There is no log yet")] * 12
    with following(in_turn(*queued, stream(events(0, 2) + END))) as (gateway, _, _):
        assert numbers(gateway.follow_log(SLUG, 1)) == [0, 1]


def test_a_stream_that_fails_for_good_is_told() -> None:
    down = error(500, "the log service is down")
    with following(down) as (gateway, server, _):
        with pytest.raises(Transient, match="the log service is down"):
            list(gateway.follow_log(SLUG, 1))
        assert len(server.calls(SLUG)) == 6


@pytest.mark.parametrize("log", [error(404, "no stream"), stream("")])
def test_the_log_of_a_session_that_does_not_exist_is_not_waited_for_for_ever(log: Reply) -> None:
    unknown = error(404, "Notebook not found")
    with following(log, GetKernelSessionStatus=unknown) as (gateway, server, _):
        with pytest.raises(RelayError):
            list(gateway.follow_log(SLUG, 1))
        assert len(server.calls(SLUG)) == 6


def test_a_follower_that_goes_away_leaves_no_connection_open() -> None:
    with following(stream(events(0, 5), silent_end=True)) as (gateway, _, _):
        lines = gateway.follow_log(SLUG, 1)
        assert next(lines).number == 0
        lines.close()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_cut_stream_of_the_local_kaggle_is_followed_to_the_end(tmp_path: Path) -> None:
    faults = FaultPlan(
        calls=(
            CallFault(call="LogStream", action=CallAction.CUT, after_bytes=120),
            CallFault(call="LogStream", action=CallAction.STATUS, status=503, nth=2),
        )
    )
    with over_http(tmp_path, faults=faults) as place:
        place.gateway.push(kernel(SLUG))
        place.wait(10)
        place.wait(100)
        assert [line.text for line in place.gateway.follow_log(SLUG, 1)] == [f"line {n}" for n in range(0, 100, 10)]


def test_a_stored_log_is_shown_whole_however_long_it_takes() -> None:
    limits = type(QUICK)(quiet_s=1.0, live_s=0.0)
    with scripted(by_call(**{SLUG: answer(entries(0, 500))})) as server:
        shown = tuple(KaggleGateway([KEY], server.url, sleep=lambda _s: None, limits=limits).log(SLUG, 1))
    assert numbers(shown) == list(range(500))
