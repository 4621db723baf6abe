"""Simulated sessions: each step extends a hash chain, so a step skipped or done twice changes the final digest."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from orchestrator.rehearsal.simulation.hash_chain import after, cursor_at
from orchestrator.rehearsal.simulation.session_clock import EventKind, SessionMoment, SessionTimer
from orchestrator.rehearsal.simulation.session_files import (
    Mounts,
    checkpoint_files,
    parent_digest,
    parent_numerics,
    refused_session,
    report_files,
    session_report,
)
from orchestrator.rehearsal.simulation.timing_variation import TimingVariation
from stages.contract import HISTORY, Cursor, Order, Progress
from stages.numerics import CHIP, NUMERICS_CHANGED, PLATFORM, STRICT, Numerics, compared, refusal
from stages.session.budget import Budget
from stages.session.last_exit import exit_at_s
from stages.session.packages import name_of
from stages.stage import StageFailed

LINES_MAX = 300
"""Approximate maximum number of progress events per session, so that stages of many steps do not log each of them."""


@dataclass(frozen=True)
class TrainedOn:
    """Evidence of what one session trained on: its order, and the digest of the state it began with."""

    order: Order
    digest: str
    """Digest of the state as it was mounted."""


@dataclass(frozen=True)
class CountingSessions:
    """Plays the sessions of one pipeline. A step takes `step_s` seconds of simulated time, varied by `variation` if given.

    Without `variation` the timing is simple: every step takes equally long, intermediate saves take no time, and the
    session stops when another step and a save would not fit. With it, sessions follow `stages.session.runner` and its
    budget.
    """

    pipeline: Pipeline
    step_s: float = 10.0
    variation: TimingVariation | None = None
    stage_s: Mapping[str, float] = field(default_factory=dict)
    """Seconds of a step by stage, where they are not `step_s`."""

    @property
    def start_s(self) -> float:
        """Seconds before the first step."""
        return min(30.0, self.pipeline.limit_s / 30)

    @property
    def save_s(self) -> float:
        """Seconds that a save takes."""
        return min(20.0, self.pipeline.limit_s / 50)

    @property
    def usable_s(self) -> float:
        """Seconds of a full session that are available for steps."""
        return self.pipeline.budget_s(self.pipeline.limit_s) - self.start_s - self.save_s

    def play(self, order: Order, mounts: Mounts, libtpu: str = "") -> tuple[Played, TrainedOn | None]:
        """Play a session in an image with this version of libtpu.

        Return it with what it trained on, or with None if it refused to train.
        """
        try:
            digest = parent_digest(order, mounts)
            numerics = self._numerics(order, mounts, libtpu)
        except StageFailed as failure:
            return refused_session(order, failure), None
        return self._count(order, digest, numerics), TrainedOn(order, digest)

    def _numerics(self, order: Order, mounts: Mounts, libtpu: str) -> Numerics | None:
        """Return the session's record, compared with its parent's as `stages.session.runner` does."""
        machine = {CHIP: "TPU v5 lite", PLATFORM: "tpu"} if self.pipeline.needs_jax else {}
        installed = {"libtpu": libtpu} if libtpu else {}
        installed |= {name_of(pin): pin.partition("==")[2] for pin in order.pins if "==" in pin}
        record = Numerics(machine=machine, packages=installed if machine else {})
        continues = order.parent is not None and order.parent.keeps in ("", HISTORY)
        found = compared(record, parent_numerics(order, mounts) if continues else None, has_parent=continues)
        if order.exactness == STRICT and (why := refusal(found)):
            raise StageFailed(NUMERICS_CHANGED, why)
        return found

    def _count(self, order: Order, digest: str, numerics: Numerics | None) -> Played:
        pipeline, total = self.pipeline, self.pipeline.total_steps
        position, watch = pipeline.position(order.start), SessionTimer(self._begin_s(order))
        event_interval = max(1, total // LINES_MAX)
        told: list[Progress] = []
        files: list[tuple[float, str, bytes]] = []
        for moment in self._timetable(order):
            if moment.what is EventKind.LEFT:
                watch.at_s = moment.at_s
                break
            cursor = cursor_at(pipeline, moment.position)
            if moment.what is EventKind.STEP:
                position, digest = moment.position, after(digest, moment.position)
                first = watch.stepped(cursor.stage, moment.at_s, self.variation.first_s if self.variation else 0.0)
                if position % event_interval == 0 or position == total or first:
                    told.append(_event("step", moment.at_s, cursor))
            else:
                files += checkpoint_files(order, cursor, digest, moment.at_s, numerics)
                note = hashlib.sha256(files[-1][2]).hexdigest()
                told.append(_event("saved", moment.at_s, cursor, note=note, seconds=watch.seconds))
                watch.saved(moment)
        outcome = "finished" if position >= total else "yielded"
        reached = cursor_at(pipeline, position)
        report = session_report(order, outcome, reached, timings=watch.timings, seconds=watch.seconds)
        files += report_files(report, watch.at_s)
        in_order = sorted(told, key=lambda event: event.at_s)
        lines = [(event.at_s, replace(event, number=number).line()) for number, event in enumerate(in_order)]
        return Played(ends_after_s=watch.at_s, lines=lines, files=files)

    def _begin_s(self, order: Order) -> float:
        return self.start_s * (self.variation.slow(order.slug) if self.variation else 1.0)

    def _timetable(self, order: Order) -> Iterator[SessionMoment]:
        """Yield when each step is done and each checkpoint is on disk; asynchronous saves come when they begin."""
        return self._even(order) if self.variation is None else self._budgeted(order, self.variation)

    def _even(self, order: Order) -> Iterator[SessionMoment]:
        position, total = self.pipeline.position(order.start), self.pipeline.total_steps
        now_s = saved_s = self.start_s
        while position < total and now_s + (step_s := self._step_s(position)) + self.save_s < order.budget_s:
            position, now_s = position + 1, now_s + step_s
            yield SessionMoment(EventKind.STEP, now_s, position)
            if now_s - saved_s >= order.save_interval_s:
                saved_s = now_s
                yield SessionMoment(EventKind.SAVED_BESIDE, now_s, position)
        yield SessionMoment(EventKind.SAVED, now_s + self.save_s, position, self.save_s)

    def _step_s(self, position: int) -> float:
        """Return the seconds of the step after this position."""
        ends = accumulate(stage.steps for stage in self.pipeline.stages)
        stage = next(stage for stage, end in zip(self.pipeline.stages, ends, strict=True) if position < end)
        return self.stage_s.get(stage.name, self.step_s)

    def _budgeted(self, order: Order, variation: TimingVariation) -> Iterator[SessionMoment]:
        leave_s = exit_at_s(order.budget_s, order.limit_s)
        for moment in self._within_budget(order, variation):
            if moment.at_s > leave_s:  # its last step or save did not end in time
                yield SessionMoment(EventKind.LEFT, leave_s, moment.position)
                return
            yield moment

    def _within_budget(self, order: Order, variation: TimingVariation) -> Iterator[SessionMoment]:
        budget = Budget(budget_s=order.budget_s, save_interval_s=order.save_interval_s, known=order.times)
        slow = variation.slow(order.slug)
        position, end, now_s, save_s = self.pipeline.position(order.start), 0, self._begin_s(order), self.save_s * slow
        for stage in self.pipeline.stages:
            end += stage.steps
            if end <= position:
                continue
            budget, stops = budget.stage_begun(now_s, stage.name), False
            if budget.must_stop(now_s):
                return
            while not stops:
                first_s = variation.first_s * slow if budget.first_step_s is None else 0.0
                step_s = self.stage_s.get(stage.name) or float(stage.options.get("step_s", self.step_s))
                took_s = variation.step(order.slug, position, step_s) + first_s
                position, now_s, budget = position + 1, now_s + took_s, budget.step_done(took_s)
                yield SessionMoment(EventKind.STEP, now_s, position)
                since_s = budget.saving_since_s
                if since_s is not None and now_s >= since_s + save_s:
                    budget = budget.save_done(since_s + save_s, save_s)
                stops = position == end or budget.must_stop(now_s)
                if stops or budget.must_save(now_s):
                    if budget.saving_since_s is not None:  # saves do not overlap: wait for the one in progress
                        now_s = budget.saving_since_s + save_s
                        budget = budget.save_done(now_s, save_s)
                    budget = budget.save_begun(now_s)
                    what = EventKind.SAVED if stops else EventKind.SAVED_BESIDE
                    yield SessionMoment(what, now_s + save_s, position, save_s)
                if stops:
                    now_s += save_s
                    budget = budget.save_done(now_s, save_s)
            if position < end:
                return


def _event(event: str, at_s: float, cursor: Cursor, **more: Any) -> Progress:
    return Progress(number=0, event=event, at_s=at_s, stage=cursor.stage, step=cursor.step, target=0, **more)


# --- hash chain --------------------------------------------------------------


# --- inputs and outputs of a session -----------------------------------------


# --- sessions with faults of their own ---------------------------------------


def failing(
    order: Order, played: Played, after_s: float, cause: str, *, transient: bool = False, reason: str = "it broke"
) -> Played:
    """Return the same session, failing with an exception after `after_s` seconds."""
    cut = died(played, after_s)
    report = session_report(
        order,
        "failed",
        _last_step(cut, order),
        cause=cause,
        reason=reason,
        transient=transient,
        traceback="Traceback",
    )
    return replace(cut, exit_code=1, files=[*cut.files, *report_files(report, after_s)])


def died(played: Played, after_s: float) -> Played:
    """Return the same session, dying without notice after `after_s` seconds."""
    return Played(
        ends_after_s=after_s,
        exit_code=137,
        lines=[line for line in played.lines if line[0] <= after_s],
        files=[file for file in played.files if file[0] <= after_s],
    )


def hung(played: Played, after_s: float) -> Played:
    """Return the same session, hanging after `after_s` seconds without ever ending by itself."""
    return replace(died(played, after_s), ends_after_s=1e9)


def _last_step(played: Played, order: Order) -> Cursor:
    events = [Progress.from_line(text) for _, text in played.lines]
    steps = [event for event in events if event is not None]
    return Cursor(stage=steps[-1].stage, step=steps[-1].step) if steps else order.start
