"""`relay status` on one screen: it says what to do, fits, and is readable without colour, without Unicode and through a pipe."""

import io
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from benchmarks.homes import finished_run
from orchestrator.base.humanize import local_time, relative, when
from orchestrator.pipeline.loader import parse
from orchestrator.views.curves import bar, curve
from orchestrator.views.document import curves_of, status_document
from orchestrator.views.format import metrics_text
from orchestrator.views.overview import status_view
from orchestrator.views.printing import console, plain_locale
from orchestrator.views.run_choice import RunChoice, hours_used_s
from orchestrator.views.tables import sessions_table, stages_table
from stages.contract import Cursor
from state.facts.base import Fact
from state.facts.run import RunCancelled, RunParked, RunStarted, RunWaiting
from state.facts.session import PushConfirmed, PushIntended, SeenRunning, SessionPlanned
from state.model.metrics import Metric
from state.model.poll_state import PollState
from state.model.snapshot import QuotaRow
from state.model.statuses import Phase
from state.store import Store
from tests.unit.test_machine import AT, path_to

NOW = AT + timedelta(hours=1)
TWO_STAGES = parse(
    "{name: r, accelerator: TpuV5E8, stages: [{name: count, kind: counting, steps: 80},"
    " {name: a-stage-of-a-longer-name, kind: counting, steps: 20}]}",
    "r.yaml",
)
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


@dataclass
class Place:
    """A home folder with a database that tests write to."""

    home: Path
    store: Store

    def begin(self, run: str, *later: Fact, at: datetime = AT) -> None:
        started = RunStarted(
            run=run,
            pipeline_name=run.rpartition("-")[0],
            owner="me",
            accelerator="tpu",
            pipeline=TWO_STAGES.canonical(),
            pipeline_path="r.yaml",
            pipeline_digest=TWO_STAGES.digest,
        )
        self.store.begin_run(started, at, later=[(AT, fact) for fact in later])

    def text(
        self, run: str | None = None, columns: int = 80, *, alive: bool | None = True, encoding: str = "utf-8"
    ) -> str:
        """What `relay status` says on a stream of that encoding, through a pipe."""
        document = status_document(self.store, self.home, NOW, run, alive=lambda _holder: alive)
        out = io.BytesIO()
        with io.TextIOWrapper(out, encoding=encoding) as stream:
            printed = console(stream, {})
            printed.print(status_view(document, curves_of(self.store, document)), width=columns)
            stream.flush()
            return out.getvalue().decode(encoding)

    def to_do(self, run: str, *, alive: bool | None = True) -> tuple[str, str | None]:
        document = status_document(self.store, self.home, NOW, run, alive=lambda _holder: alive)
        found = document["runs"][0]["to_do"]
        return found["message"], found["command"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, Store.at(tmp_path))


@pytest.fixture
def watched(place: Place) -> Place:
    """The same with a daemon that holds its lease."""
    place.store.take_lease("here/12/34", NOW, 60)
    return place


def joined(text: str) -> str:
    """The words of a screen, wherever its lines end."""
    return " ".join(text.split())


@pytest.mark.slow
def test_the_screen_of_many_runs_is_made_of_the_neediest_alone_and_says_the_same(place: Place) -> None:
    for number in range(12):
        later = [RunParked(reason="it broke", remedy="relay retry")] if number in (1, 4) else []
        place.begin(f"r-{number:04d}", *later, at=AT + timedelta(seconds=number))
    place.begin("r-9999", RunCancelled(), at=AT + timedelta(minutes=1))
    few = status_document(place.store, place.home, NOW, alive=lambda _holder: True, choice=RunChoice(most=8))
    assert [run["id"] for run in few["runs"]] == [f"r-{n:04d}" for n in (1, 4, 6, 7, 8, 9, 10, 11)]
    assert few["others"] == 5
    every = status_document(place.store, place.home, NOW, alive=lambda _holder: True)
    assert (len(every["runs"]), every["others"]) == (13, 0)
    assert few["unforecast"] == 6
    assert shown(status_view({**few, "unforecast": 0}, most=8)) == shown(status_view(every, most=8))


def test_a_run_in_brief_reads_the_same_from_its_newest_rows_alone(place: Place) -> None:
    finished_run(place.store, "old-0001", 2, AT - timedelta(days=9))
    place.begin("r-0001", *path_to(Phase.RUNNING), RunCancelled())
    place.begin("r-0002")
    few = status_document(place.store, place.home, NOW, alive=lambda _holder: True, choice=RunChoice(most=8))
    every = status_document(place.store, place.home, NOW, alive=lambda _holder: True)
    assert shown(status_view(few)) == shown(status_view(every))
    in_part = {"sessions", "checkpoints", "numerics", "quota_spent", "stages", "earlier_s", "forecast_problem"}
    for brief, whole in zip(few["runs"], every["runs"], strict=True):
        assert {key: brief[key] for key in brief.keys() - in_part} == {
            key: whole[key] for key in whole.keys() - in_part
        }
        assert brief["sessions"] == whole["sessions"][-1:]
        assert hours_used_s(brief) == pytest.approx(hours_used_s(whole), abs=0.01)


def shown(view: RenderableType) -> str:
    """Through a pipe, 80 columns wide."""
    printed = Console(file=io.StringIO(), width=80)
    printed.print(view)
    assert isinstance(printed.file, io.StringIO)
    return printed.file.getvalue()


@pytest.mark.slow
def test_with_nothing_to_do_it_says_so_plainly(watched: Place) -> None:
    watched.begin("r-0001", *path_to(Phase.RUNNING))
    assert watched.to_do("r-0001") == ("nothing to do: relay continues by itself", None)
    assert "nothing to do" in watched.text("r-0001")
    watched.store.append("r-0001", [RunWaiting(until=(NOW + timedelta(days=2)).isoformat(), reason="no quota")], AT)
    assert watched.to_do("r-0001") == ("nothing to do: relay waits and continues by itself", None)
    assert "no quota, until" in joined(watched.text("r-0001"))
    assert "(in 2 d)" in joined(watched.text("r-0001"))
    watched.store.append("r-0001", [RunCancelled()], AT)
    assert watched.to_do("r-0001")[1] is None
    assert "goes on until it ends by itself" in watched.to_do("r-0001")[0]


def test_without_a_daemon_it_says_that_nobody_carries_the_run_on_and_what_to_type(place: Place) -> None:
    place.begin("r-0001")
    assert place.to_do("r-0001") == ("no daemon is running (none has been started here)", "relay daemon")
    place.store.release_lease(place.store.take_lease("here/12/34", AT, 60), NOW - timedelta(minutes=4))
    assert place.to_do("r-0001") == ("no daemon is running (the last one ended 4 min ago)", "relay daemon")
    assert "type: relay daemon" in place.text("r-0001")


def test_a_lease_that_lasts_is_believed_unless_its_process_is_known_to_be_gone(watched: Place) -> None:
    watched.begin("r-0001")
    assert watched.to_do("r-0001", alive=None)[1] is None, "another machine's"
    assert watched.to_do("r-0001", alive=False) == ("no daemon is running (the last one has died)", "relay daemon")


def test_a_run_that_is_over_needs_no_daemon(place: Place) -> None:
    finished_run(place.store, "old-0001", 2, AT)
    assert place.to_do("old-0001") == ("nothing to do: it is finished", None)


def test_what_was_asked_of_a_parked_run_is_told_instead_of_the_reason_once_more(watched: Place) -> None:
    watched.begin("r-0001", RunParked(reason="paused by you", remedy="relay resume r-0001"))
    assert watched.to_do("r-0001") == ("paused by you", "relay resume r-0001")
    watched.store.request("r-0001", "resume", {}, NOW)
    assert watched.to_do("r-0001") == (
        "nothing to do: resume was requested; the daemon acts on it at its next tick",
        None,
    )
    assert watched.to_do("r-0001", alive=False)[1] == "relay daemon"


def test_what_fails_is_told_with_the_time_of_the_next_try(watched: Place) -> None:
    watched.begin("r-0001", *path_to(Phase.RUNNING))
    watched.store.append(
        "r-0001",
        [],
        NOW,
        watch=PollState(failures=3, failure="Kaggle answered 503", not_before=NOW + timedelta(minutes=5)),
    )
    said = joined(watched.text("r-0001"))
    assert "Kaggle answered 503; tried again at" in said
    assert "(in 5 min)" in said
    assert watched.to_do("r-0001") == ("nothing to do: relay tries again by itself", None)


def test_the_live_session_tells_how_fast_it_is_and_its_stage_what_training_hangs_on(watched: Place) -> None:
    values = {"loss": 1.25, "grad_norm": 0.5, "learning_rate": 3e-6, "tokens": 5_120.0, "examples": 64.0}
    values |= {
        "mean_length": 211.3,
        "truncated_share": 0.125,
        "idle_groups": 0.5,
        "tokens_per_s": 12_345.6,
        "examples_per_s": 9.61,
        "memory_bytes": 13.5 * 2**30,
    }
    watched.begin("r-0001", *path_to(Phase.RUNNING))
    told = [
        Metric(run="r-0001", session=1, attempt=1, number=1, stage="count", step=1, name=name, value=value, at_s=1.0)
        for name, value in values.items()
    ]
    watched.store.append("r-0001", [], NOW, watch=PollState(), metrics=told)
    said = joined(watched.text("r-0001"))
    assert "speed 12,346 tokens/s, 9.61 examples/s, 13.5 GiB of memory at most" in said
    assert (
        "steps learning rate 3e-06, gradient norm 0.5, answers of 211 tokens, 12% cut off, 50% of groups idle" in said
    )
    assert said.count("tokens/s") == said.count("examples") == said.count("gradient") == 1, "nothing is told twice"


def test_the_session_s_clock_the_quota_and_the_newest_checkpoint_are_told(watched: Place) -> None:
    watched.begin("r-0001", *path_to(Phase.PUBLISHED))
    next_one = [
        SessionPlanned(
            number=2,
            attempt=1,
            slug="r-0001-s0002",
            token="t",
            start=next_start(watched),
            parent=None,
            budget_s=32_100.0,
            limit_s=32_400.0,
        )
    ]
    next_one += [PushIntended(number=2, attempt=1), PushConfirmed(number=2, attempt=1, kernel_version=1)]
    watched.store.append("r-0001", [*next_one, SeenRunning(number=2, attempt=1)], NOW - timedelta(hours=3))
    renewed = NOW + timedelta(days=1)
    watched.store.write_quota(
        QuotaRow(
            owner="me",
            accelerator="tpu",
            used_s=36_000,
            reserved_s=0,
            total_s=72_000,
            refreshes_at=renewed,
            read_at=NOW,
        )
    )
    said = joined(watched.text("r-0001"))
    assert "3 h of 9 h, stops itself by" in said
    assert "(in 5 h 55 min)" in said
    assert "10 h of 20 h left, renewed" in said
    assert "(in 1 d)" in said
    assert re.search(r"checkpoint r-0001-c0001: count step 40, verified .+ \(3 h ago\)", said)


def next_start(place: Place) -> Cursor:
    (found,) = place.store.load("r-0001").checkpoints
    return found.cursor


@pytest.mark.slow
def test_a_run_of_hundreds_of_sessions_is_one_screen_with_the_earlier_ones_counted(place: Place) -> None:
    finished_run(place.store, "old-0001", 300, AT)
    text = place.text("old-0001")
    assert len(text.splitlines()) <= 24
    assert "295 earlier sessions: 295 stopped itself in time" in text
    assert "s0300" in text
    assert "s0295" not in text


def test_of_many_stages_those_around_the_one_under_way_are_shown_and_the_others_counted(watched: Place) -> None:
    watched.begin("r-0001")
    document = status_document(watched.store, watched.home, NOW)
    done = [stage(f"early-{i}", 10) for i in range(9)]
    document["runs"][0]["stages"] = [*done, stage("now", 5), *(stage(f"late-{i}", 0) for i in range(9))]
    out = io.StringIO()
    Console(file=out, width=80).print(status_view(document))
    text = out.getvalue()
    assert "7 done" in text
    assert "now " in text
    assert "4 to come" in text
    assert len(text.splitlines()) <= 24


def stage(name: str, done: int) -> dict[str, object]:
    return {"name": name, "kind": "counting", "target": 10, "done": done, "seen": done, "metrics": {}}


@pytest.mark.slow
def test_of_several_runs_the_neediest_comes_first_and_what_is_over_last(watched: Place) -> None:
    finished_run(watched.store, "old-0001", 2, AT)
    watched.begin("well-0002")
    watched.begin("stuck-0003", RunParked(reason="it broke", remedy="relay retry stuck-0003"))
    text = watched.text()
    assert text.index("stuck-0003") < text.index("well-0002") < text.index("old-0001")
    assert "it broke; type: relay retry stuck-0003" in joined(text)
    for number in range(20):
        watched.begin(f"more-{number:04d}")
    text = watched.text()
    assert len(text.splitlines()) <= 24
    assert "3 more: relay status --all" in text
    assert text.index("stuck-0003") < text.index("more-")


@pytest.mark.parametrize("columns", [40, 64, 80, 200])
def test_nothing_that_matters_is_cut_in_a_narrow_terminal(watched: Place, columns: int) -> None:
    parked = RunParked(
        reason="session 1 failed twice at the same step for the same cause",
        remedy="relay retry r-0001",
        excerpt="Traceback\nValueError: a line of a traceback that is a good deal longer than forty columns",
    )
    watched.begin("r-0001", *path_to(Phase.PUBLISHED), parked)
    watched.begin("other-0002")
    for run in (None, "r-0001"):
        text = watched.text(run, columns)
        assert max(len(line) for line in text.splitlines()) <= columns
        assert "…" not in text
        for said in ("session 1 failed twice at the same step for the same cause", "relay retry r-0001", "parked"):
            assert said in joined(text)
    assert "longer than forty columns" in joined(text)
    assert "a-stage-of-a-longer-name" in text.replace("\n", "") or columns < 64
    assert "stopped itself" in joined(text)


def test_without_unicode_every_character_is_ascii_and_stays_in_its_column(watched: Place) -> None:
    watched.begin("r-0001", *path_to(Phase.RUNNING))
    metrics = [
        Metric(run="r-0001", session=1, attempt=1, number=n, stage="count", step=n, name="loss", value=1.0 / n, at_s=n)
        for n in range(1, 30)
    ]
    watched.store.append("r-0001", [], NOW, watch=PollState(), metrics=metrics)
    plain, rich = watched.text("r-0001", encoding="ascii"), watched.text("r-0001")
    assert plain.isascii()
    assert not rich.isascii()
    assert "#" in plain
    assert "?" not in plain
    assert [len(line) for line in plain.splitlines()] == [len(line) for line in rich.splitlines()]


def test_a_c_locale_that_somebody_chose_has_no_unicode_and_one_that_is_merely_unset_has() -> None:
    assert plain_locale({"LC_ALL": "C", "LANG": "en_US.UTF-8"})
    assert plain_locale({"LANG": "C", "LC_CTYPE": "C.UTF-8"}), "Python sets LC_CTYPE so, whatever was chosen"
    assert not plain_locale({"LANG": "C", "LC_ALL": "C.UTF-8"})
    assert not plain_locale({"LANG": "C", "LC_CTYPE": "de_DE.UTF-8"})
    assert not plain_locale({})


def test_through_a_pipe_there_are_no_control_codes(watched: Place) -> None:
    watched.begin("r-0001", *path_to(Phase.RUNNING))
    assert CONTROL.search(watched.text("r-0001")) is None


def test_without_colour_a_bar_still_shows_how_much_is_to_come() -> None:
    assert bar(5, 10, 4) == "██░░"
    assert bar(9_999, 10_000, 4) == "███░", "full is only what is done"
    assert bar(1, 10_000, 4) == "█░░░", "and empty what has not begun"
    assert (bar(0, 10, 4), bar(10, 10, 4)) == ("░░░░", "████")


def test_a_curve_goes_from_the_least_to_the_greatest_and_ends_with_the_last_value() -> None:
    assert curve([0.0, 1.0, 2.0, 3.0], 4) == "▁▃▆█"
    assert len(curve([float(n) for n in range(100)], 8)) == 8
    assert curve([2.0, 2.0], 8) == "▁▁"
    assert curve([1.0, float("nan"), 2.0], 8) == "▁█", "what is not a number has no height"
    assert curve([1.0], 8) == ""


def test_times_are_told_on_the_reader_s_clock_and_by_how_far_off_they_are() -> None:
    now = datetime(2030, 1, 7, 12, tzinfo=UTC)  # a Monday
    assert when(now + timedelta(hours=3, minutes=20), now, UTC) == "15:20 (in 3 h 20 min)"
    assert local_time(now + timedelta(days=2), now, UTC) == "Wed 12:00"
    assert local_time(now - timedelta(days=2), now, UTC) == "5 Jan 12:00"
    assert local_time(now - timedelta(days=20), now, UTC) == "18 Dec 2029 12:00"
    assert [relative(now - timedelta(seconds=s), now) for s in (0.2, 5, 240)] == ["now", "5 s ago", "4 min ago"]


@pytest.mark.parametrize(("failures", "label"), [(0, "waits"), (2, "wrong")])
def test_what_waits_is_told_apart_from_what_fails(tmp_path: Path, failures: int, label: str) -> None:
    place = Place(tmp_path, Store.at(tmp_path))
    place.begin("gsm-0001", *path_to(Phase.PLANNED))
    why = "session 1 attempt 2 waits for session 2"
    place.store.append(
        "gsm-0001", [], NOW, watch=PollState(failures=failures, failure=why, not_before=NOW + timedelta(minutes=5))
    )
    assert re.search(rf"^ *{label} +{why}; tried again at", place.text("gsm-0001"), re.MULTILINE)


def test_a_parked_run_has_no_time_at_which_it_will_be_done(watched: Place) -> None:
    watched.begin("r-0001", *path_to(Phase.RUNNING), RunParked(reason="it broke", remedy="relay retry r-0001"))
    text = watched.text()
    assert "about" not in text
    assert "not before it is resumed" in text


def test_the_ends_of_an_interval_are_no_last_values() -> None:
    shown_values = metrics_text({"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "asked": 64.0})
    assert shown_values == "accuracy 0.5  asked 64"


# --- rows of two lines ------------------------------------------------------------


def measured(name: str, **metrics: float) -> dict[str, Any]:
    return {"name": name, "kind": "sft", "target": 80, "done": 8, "seen": 8, "metrics": metrics}


def printed(view: RenderableType, columns: int) -> list[str]:
    with io.StringIO() as out:
        Console(file=out, width=columns).print(view)
        return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_last_values_stand_in_columns_whatever_the_width(columns: int) -> None:
    stages = [
        measured("sft", loss=0.02, reward=1.766, format=0.95, accuracy=0.8511),
        measured("after-continued", format=0.98, accuracy=1, asked=64, max_length=539),
    ]
    lines = printed(stages_table({"stages": stages}), columns)
    value = re.compile(r"\b(?:loss|reward|format|accuracy|asked|max_length) [0-9.]+")
    places = [[found.start() for found in value.finditer(line)] for line in lines]
    used = sorted({place for line in places for place in line})
    assert max(map(len, lines)) <= columns
    assert sum(map(len, places)) == (8 if columns >= 64 else 4)
    assert len({after - before for before, after in pairwise(used)}) <= 1, "columns of equal width"
    assert all(line == used[: len(line)] for line in places), "filled from the left"


@pytest.mark.parametrize(("columns", "lines_each"), [(40, 2), (60, 2), (80, 1), (120, 1)])
def test_a_session_takes_as_many_lines_everywhere_and_the_second_begins_below_the_first(
    columns: int, lines_each: int
) -> None:
    def session(number: int, outcome: str, place: str) -> dict[str, Any]:
        cursors = {"from": {"stage": "sft", "step": 1}, "to": {"stage": place, "step": number}}
        rest = {"seconds": 31_000.0, "steps_lost": 3, "cause": "bad-data", "phase": "published"}
        return {"slug": f"r-0001-s{number:04d}", "outcome": outcome, **cursors, **rest}

    sessions = [session(8, "yielded", "sft"), session(9, "timed_out", "after-continued"), session(10, "failed", "sft")]
    heading, *rows = printed(sessions_table({"id": "r-0001", "sessions": sessions}), columns)
    assert len(rows) == 3 * lines_each
    column = heading.index("result")
    for row in rows:
        assert row[:column].strip() == "" or row.lstrip().startswith("s00")
        assert row[column - 1] == " "
        assert row[column] != " "
    for said in ("killed at the session limit", "after-continued 9", "8 h 36 min"):
        assert any(said in row for row in rows)


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_sentences_about_runs_hang_below_their_beginning(watched: Place, columns: int) -> None:
    reason = "the session failed twice at the same step, and a retry would only repeat it"
    watched.begin("a-pipeline-of-a-long-name-0001", RunParked(reason=reason, remedy="relay retry a-pipeline"))
    watched.begin("other-0002")
    lines = watched.text(columns=columns).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("a-pipeline-of-a-long-name-0001:"))
    wrapped = lines[first + 1 : next(n for n in range(first + 1, len(lines)) if not lines[n].startswith(" "))]
    assert wrapped
    assert all(line.startswith("  ") and line[2] != " " for line in wrapped)
    assert joined(" ".join([lines[first], *wrapped])).endswith("type: relay retry a-pipeline")
