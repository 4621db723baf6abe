"""Every second that a session had its machine is in one class, and the share that counts is told as it is."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.goodput import account, early_s, goodput
from orchestrator.core.time_classes import OFF_QUOTA, ON_QUOTA, TIME_CLASSES, TIME_GROUPS, TimeGroup
from orchestrator.engine.collecting.session_seconds import seconds_of, told_seconds
from orchestrator.engine.effects.session_log import LogReader
from orchestrator.engine.home import log_lines
from orchestrator.platforms.port import LogLine
from orchestrator.views.history.idle_time import idle_time
from orchestrator.views.text import goodput_text
from stages.contract import Cursor, FileEntry, Manifest, Progress, Report
from stages.session.time_accounting import SESSION_CLASSES, TimeClass
from state.facts.base import Fact
from state.facts.checkpoint import CheckpointPublished
from state.facts.session import Judgement, OutputCollected, SeenEnded

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "orchestrator" / "views" / "pages"
TAKEN = Manifest(
    run="r-0001",
    session=1,
    attempt=1,
    token="0123abcd",
    cursor=Cursor(stage="sft", step=60),
    parent=None,
    files=(FileEntry(path="state.bin", size_bytes=1, sha256="0" * 64),),
    digests={},
)
AT = datetime(2030, 1, 7, tzinfo=UTC)


def session(**changes: Any) -> dict[str, Any]:
    """As a status document tells of one that stopped itself in time, ten seconds after its last word."""
    usual = {
        "accounted": {"compile": 20.0, "training_step": 60.0, "rollout": 20.0, "checkpoint_save": 1.0},
        "kept_s": 80.0,
        "seconds": 111.0,
        "limit_s": 131.0,
        "outcome": "yielded",
        "ended_at": "2030-01-07T00:00:00+00:00",
    }
    return {**usual, **changes}


def nonzero(spent: Mapping[TimeClass, float] | None) -> dict[str, float]:
    assert spent is not None
    return {name.value: seconds for name, seconds in spent.items() if seconds}


# --- one session ---


def test_a_session_that_stopped_itself_has_an_idle_tail_and_nothing_wasted() -> None:
    assert nonzero(account(session())) == {
        "compile": 20.0,
        "training_step": 60.0,
        "rollout": 20.0,
        "checkpoint_save": 1.0,
        "idle_tail": 10.0,
    }


def test_of_a_killed_session_the_steps_after_its_checkpoint_and_what_was_not_told_are_wasted() -> None:
    spent = nonzero(account(session(outcome="failed", kept_s=20.0)))
    assert spent == {
        "compile": 20.0,
        "training_step": 15.0,
        "rollout": 5.0,
        "checkpoint_save": 1.0,
        "wasted": 60.0 + 10.0,
    }


def test_what_a_live_session_has_not_told_yet_is_no_waste() -> None:
    spent = nonzero(account(session(outcome=None, ended_at=None, kept_s=0.0)))
    assert spent["training_step"] + spent["rollout"] == 80.0
    assert spent["not_reported"] == 10.0
    assert "wasted" not in spent


def test_a_session_that_never_told_has_no_account() -> None:
    assert account(session(accounted={})) is None
    assert goodput([session(accounted={})]) is None


SECONDS = st.dictionaries(st.sampled_from([what.value for what in SESSION_CLASSES]), st.floats(0, 40_000), min_size=1)


@pytest.mark.slow
@given(
    told=SECONDS,
    kept_s=st.floats(0, 50_000),
    lasted_s=st.floats(0, 50_000),
    outcome=st.sampled_from(["yielded", "finished", "failed", "timed_out", "lost", None]),
)
def test_the_classes_add_up_to_the_machines_time_whatever_was_told(
    told: dict[str, float], kept_s: float, lasted_s: float, outcome: str | None
) -> None:
    ended_at = None if outcome is None else AT.isoformat()
    spent = account(session(accounted=told, kept_s=kept_s, seconds=lasted_s, outcome=outcome, ended_at=ended_at))
    assert spent is not None
    assert all(seconds >= 0 for seconds in spent.values())
    assert sum(spent.values()) == pytest.approx(max(lasted_s, sum(told.values())))


def test_only_what_stopped_for_time_stopped_early() -> None:
    assert early_s(session()) == 20.0
    assert early_s(session(outcome="finished")) is None
    assert early_s(session(outcome="failed")) is None


# --- a run ---


def test_goodput_is_what_counts_of_all_that_the_quota_was_charged_for() -> None:
    found = goodput([session(), session(outcome="failed", kept_s=20.0), session(accounted={})])
    assert found is not None
    assert found["quota_s"] == 222.0
    assert found["counted_s"] == 100.0
    assert found["goodput"] == pytest.approx(100 / 222)
    assert sum(found["classes"].values()) == pytest.approx(222.0)
    assert goodput_text(found) == (
        "45.0 % of 3 min 42 s went into steps that count; 31.5 % wasted, 18.0 % compile, 4.5 % idle tail"
    )


def test_every_class_has_words_in_the_one_order_and_a_group_and_a_colour_that_there_are() -> None:
    assert list(TIME_CLASSES) == [*ON_QUOTA, *OFF_QUOTA] == list(TimeClass)
    assert {words.group for words in TIME_CLASSES.values()} == set(TimeGroup) == set(TIME_GROUPS)
    labels = [words.label for words in TIME_CLASSES.values()]
    assert len(set(labels)) == len(labels)
    style = (PAGES / "style.css").read_text(encoding="utf-8")
    patterns = (PAGES / "templates" / "patterns.svg.j2").read_text(encoding="utf-8")
    for theme in style.split("@media")[:2]:  # light, dark
        colours = [found[0] for group in TimeGroup if (found := re.findall(rf"--{group}: (#\w{{6}});", theme))]
        assert len(set(colours)) == len(TimeGroup)
    for group in TimeGroup:
        assert f".fill-{group} {{ fill: var(--{group}); }}" in style
        assert f'"{group}": ' in patterns


def test_the_docs_explain_every_class_under_the_name_that_screens_show() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|", (ROOT / "docs" / "goodput.md").read_text(encoding="utf-8"), re.M
    )
    words = [(name.value, words.label, TIME_GROUPS[words.group].label) for name, words in TIME_CLASSES.items()]
    assert [tuple(cell.strip() for cell in row) for row in rows] == words


# --- what a session said ---


def line(number: int, event: str, steps_s: float, note: str = "") -> LogLine:
    told = Progress(
        number=number, event=event, at_s=2 * steps_s, note=note, seconds={"training_step": steps_s, "compile": 5.0}
    )
    return LogLine(number=number, stream="stdout", at_s=2 * steps_s, text=told.line())


def told(*lines: LogLine) -> Iterator[Progress]:
    return iter([event for each in lines if (event := Progress.from_line(each.text)) is not None])


def report(**changes: Any) -> Report:
    usual = {
        "run": "r-0001",
        "session": 1,
        "attempt": 1,
        "token": "0123abcd",
        "outcome": "yielded",
        "started": Cursor(stage="sft", step=0),
        "reached": Cursor(stage="sft", step=60),
        "checkpoint": TAKEN,
        "seconds": {"training_step": 70.0, "compile": 5.0},
    }
    return Report(**{**usual, **changes})


SAVED = line(1, "saved", 60.0, TAKEN.digest)


def test_a_report_is_believed_before_the_log_and_the_log_knows_when_the_checkpoint_was_taken() -> None:
    found = seconds_of(report(), told(line(0, "account", 30.0), SAVED, line(2, "account", 65.0)), TAKEN)
    assert found.by_class == {"training_step": 70.0, "compile": 5.0}
    assert found.kept_s(0.0) == 60.0


def test_of_a_killed_session_the_log_tells() -> None:
    found = seconds_of(None, told(SAVED, line(2, "account", 65.0), line(3, "saved", 62.0, "f" * 64)), TAKEN)
    assert found.by_class == {"training_step": 65.0, "compile": 5.0}
    assert found.kept_s(0.0) == 60.0


def test_where_no_log_tells_of_the_checkpoint_its_share_of_the_steps_is_taken() -> None:
    assert seconds_of(report(), told(), TAKEN).kept_s(0.5) == 35.0


def test_a_checkpoint_that_holds_every_step_holds_all_their_seconds() -> None:
    assert seconds_of(report(), told(SAVED), TAKEN).kept_s(1.0) == 70.0


def test_without_a_checkpoint_nothing_is_kept() -> None:
    assert seconds_of(report(checkpoint=None), told(SAVED), None).kept_s(0.0) == 0.0


def test_seconds_that_make_no_sense_are_not_believed() -> None:
    odd = {"training_step": 1e300, "compile": -3.0, "fun": 4.0, "rollout": 7.0}
    assert seconds_of(report(seconds=odd), told(), None).by_class == {"rollout": 7.0}


def test_a_log_on_this_disk_is_read_for_what_it_tells(tmp_path: Path) -> None:
    log = tmp_path / "s0001.log"
    assert list(told_seconds(log_lines(log))) == []
    log.write_text("\n".join([line(0, "account", 30.0).text, "words", SAVED.text[:40], SAVED.text]), encoding="utf-8")
    assert [event.event for event in told_seconds(log_lines(log))] == ["account", "saved"]


def test_a_look_takes_in_the_newest_that_was_told() -> None:
    lines = (line(0, "account", 30.0), line(1, "account", 65.0), line(2, "saved", 60.0, TAKEN.digest))
    assert polled_at(*lines) == {"training_step": 65.0, "compile": 5.0}
    assert polled_at() == {}


def polled_at(*lines: LogLine) -> dict[str, float]:
    taken = LogReader(session())
    assert tuple(taken.through(lines)) == lines
    return taken.seconds


# --- beside the quota ---


def test_waiting_beside_the_quota_has_its_classes_too() -> None:
    key = {"number": 1, "attempt": 1}
    happened: list[tuple[datetime, Fact]] = [
        (AT, SeenEnded(**key, worker="complete", message="")),
        (
            AT + timedelta(seconds=50),
            OutputCollected(
                **key,
                judgement=Judgement(outcome="yielded"),
                checkpoint="c",
                manifest=TAKEN,
                fetched_s=40.0,
                sent_s=7.0,
            ),
        ),
        (AT + timedelta(seconds=150), CheckpointPublished(**key, sent_s=30.0)),
    ]
    drawn = dict.fromkeys(TimeGroup, 0.0) | {TimeGroup.QUEUE: 60, TimeGroup.QUOTA_WAIT: 500, TimeGroup.DELAY: 3}
    assert {row["key"]: row["seconds"] for row in idle_time(happened, drawn)} == {
        "queue": 60,
        "transfer_down": 40,
        "transfer_up": 37,
        "dataset_processing": 70,
        "orchestrator_delay": 6,
        "quota_wait": 500,
    }
