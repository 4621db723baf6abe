"""Plans the next session: its number, its time limit and the order it receives. Pure."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from orchestrator.base.humanize import bounded_s
from orchestrator.core.durations import SHORT_S
from orchestrator.pipeline.model import Pipeline
from stages.contract import Cursor, Order, Parent
from state.facts.session import SessionPlanned, SessionResized
from state.model.run_state import Run, RunState, Session
from state.model.snapshot import MachineTime, QuotaRow
from state.model.statuses import Outcome

NAME = re.compile(r"([0-9]{4,9})(?:-([a-z]|[0-9]{1,4}))?")
"""Matches what follows the letter in the name of a session's kernel or checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Poll intervals, backoff and timeouts. Times are in seconds."""

    poll_s: float = 30.0
    """Poll interval of a session, in seconds, while an event is expected at any moment."""
    calm: float = 1.0
    """Multiplier of `poll_s` while no event is expected."""
    retry_s: float = 60.0
    """Delay before the first retry of a failed call, in seconds; doubles with each further failure."""
    retry_s_max: float = 1800.0
    quota_fresh_s: float = 600.0
    """Seconds for which a quota reading counts as fresh."""
    give_up_failures: int = 20
    """Number of failed calls in a row after which the run is parked, if `give_up_s` has also passed."""
    give_up_s: float = 6 * 3600.0
    """Seconds of failing after which the run is parked, if `give_up_failures` is also reached."""
    slot_s: float = 300.0
    """Delay in seconds before the next push, after Kaggle declined one because another session takes the slot."""
    claim_s: float = 900.0
    """Seconds after which a run's claim to a slot expires unless it is renewed."""
    retry_after_s_max: float = 900.0
    """Upper bound, in seconds, on a wait that a response asks for: a single header must not stall a run."""
    queue_s: float = 6 * 3600.0
    """Seconds a session may wait for a machine before the run is parked: waits of up to four hours were seen."""
    overdue_s: float = 3600.0
    """Seconds after its limit when a session still reported as running counts as ended: Kaggle kills at the limit."""
    slot_wait_s: float = 13 * 3600.0
    """Seconds to wait for a slot before the run is parked: longer than any session may last, which is twelve hours."""
    renewal_s: float = 6 * 3600.0
    """Seconds to wait for an overdue quota renewal before the run is parked."""

    @property
    def floor_s(self) -> float:
        """Minimum seconds before a command is repeated: 5, or less if `poll_s` is below 30."""
        return min(5.0, self.poll_s / 6)

    @property
    def calls_a_minute(self) -> int:
        """Maximum calls per minute for one account, over all its runs. Five runs polled every 30 seconds make 20."""
        return max(120, round(3600 / self.poll_s))

    @property
    def rest_s_max(self) -> float:
        """Longest valid delay, in seconds; a recorded delay beyond it was written while the clock was ahead."""
        return max(self.retry_s_max, self.slot_s, self.retry_after_s_max)

    unclear_s: float = 600.0
    """Seconds to search for a push with an ambiguous response before it is repeated."""
    visible_s: float = 1800.0
    """Seconds to search for a dataset that Kaggle accepted before it is created under another name."""
    processing_s: float = 6 * 3600.0
    """Seconds that Kaggle may take to process a dataset."""

    @property
    def calm_s(self) -> float:
        """Poll interval of a session, in seconds, while no event is expected."""
        return self.calm * self.poll_s

    def backoff_s(self, failures: int) -> float:
        """Return the backoff in seconds after the n-th failure in a row."""
        return min(self.retry_s_max, self.retry_s * 2.0 ** min(failures - 1, 20))


CALM_MAX = 10.0
CLUSTER_QUEUE_S = 30 * 24 * 3600.0
"""Seconds a session may wait in a cluster's queue, which is fair but may be long, before the run is parked."""
PROBES = ("probe", "measure")
"""Kinds of stage whose sessions are short on Kaggle too."""


def search_limits(limit_s: float) -> tuple[float, float, float]:
    """Return `unclear_s`, `visible_s` and `processing_s`, shortened only for sessions as short as a rehearsal's."""
    return min(Limits.unclear_s, limit_s), min(Limits.visible_s, 3 * limit_s), min(Limits.processing_s, 36 * limit_s)


def limits_for(pipeline: Pipeline) -> Limits:
    """Return limits in proportion to the session's length.

    A session of nine hours is polled every 30 seconds near its ends and every 4.5 minutes in between (a poll is two
    calls: 27 an hour). A rehearsal's session of a minute is polled every half second throughout; a short session of a
    probe, which is Kaggle's own, every 30 seconds.
    """
    poll_s = min(30.0, max(0.5, pipeline.limit_s / 1000))
    if pipeline.limit_s > SHORT_S and any(stage.kind in PROBES for stage in pipeline.stages):
        poll_s = 30.0
    unclear_s, visible_s, processing_s = search_limits(pipeline.limit_s)
    queue_s = 720 * poll_s if pipeline.platform == "kaggle" else CLUSTER_QUEUE_S
    return Limits(
        poll_s=poll_s,
        calm=min(CALM_MAX, max(1.0, pipeline.limit_s / 3600)),
        retry_s=2 * poll_s,
        retry_s_max=60 * poll_s,
        quota_fresh_s=min(600.0, 20 * poll_s),
        slot_s=10 * poll_s,
        claim_s=30 * poll_s,
        queue_s=queue_s,
        overdue_s=120 * poll_s,
        slot_wait_s=1560 * poll_s,
        renewal_s=720 * poll_s,
        unclear_s=unclear_s,
        visible_s=visible_s,
        processing_s=processing_s,
    )


def slug_of(run: str, number: int, attempt: int) -> str:
    """Return the kernel's name on Kaggle: `gsm-3f9a-s0007`, or `gsm-3f9a-s0007-b` for the second attempt."""
    return f"{run}-s{number:04d}{_suffix(attempt)}"


def parse_key(run: str, letter: str, name: str) -> tuple[int, int] | None:
    """Parse (number, attempt) from the name of a run's kernel (letter `s`) or checkpoint (`c`); None if it differs."""
    found = NAME.fullmatch(name.removeprefix(f"{run}-{letter}")) if name.startswith(f"{run}-{letter}") else None
    if found is None:
        return None
    number, attempt = int(found[1]), _attempt(found[2])
    return (number, attempt) if name == f"{run}-{letter}{number:04d}{_suffix(attempt)}" else None


def parse_run(slug: str) -> str | None:
    """Return the run that a kernel's name belongs to, or None if the name does not fit."""
    run = slug.rpartition("-s")[0]
    return run if run and parse_key(run, "s", slug) else None


def checkpoint_of(run: str, number: int, attempt: int) -> str:
    """Return the name of the checkpoint that a session leaves, which is also the name of its dataset."""
    return f"{run}-c{number:04d}{_suffix(attempt)}"


def inputs_of(run: str) -> str:
    """Return the first name of the dataset that holds the pipeline's own files."""
    return f"{run}-inputs"


def inputs_place(run: Run) -> str:
    """Return the current name of the dataset that holds the pipeline's own files."""
    return run.inputs_dataset or inputs_of(run.id)


def _suffix(attempt: int) -> str:
    if attempt == 1:
        return ""
    return f"-{chr(ord('a') + attempt - 1)}" if attempt <= 26 else f"-{attempt}"


def _attempt(suffix: str | None) -> int:
    if suffix is None:
        return 1
    return int(suffix) if suffix.isdigit() else ord(suffix) - ord("a") + 1


def token_of(state: RunState, number: int, attempt: int) -> str:
    """Return the token that identifies a session: no other run computes it, and it is the same after a crash."""
    text = f"{state.run.id}/{state.run.created_at.isoformat()}/{number}/{attempt}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def run_cursor(state: RunState, pipeline: Pipeline) -> Cursor:
    """Return the run's cursor: that of its newest usable checkpoint, else the pipeline's beginning."""
    return state.head.cursor if state.head else pipeline.beginning


def finished(state: RunState, pipeline: Pipeline) -> bool:
    """Return True if the newest checkpoint is at the end of the pipeline."""
    return pipeline.position(run_cursor(state, pipeline)) >= pipeline.total_steps


def next_key(state: RunState) -> tuple[int, int]:
    """Return (number, attempt) of the next session; one that made no progress is retried under its own number."""
    last = state.last
    if last is None:
        return (1, 1)
    return (last.number + 1, 1) if last.checkpoint else (last.number, last.attempt + 1)


def session_limit_s(pipeline: Pipeline, quota: QuotaRow | None) -> float:
    """Return the next session's limit in seconds: Kaggle's limit, cut to the quota that is left if it is known."""
    left_s = quota.left_s if quota else None
    return pipeline.limit_s if left_s is None else min(pipeline.limit_s, left_s)


WEEK = timedelta(days=7)
REFRESH = datetime(2000, 1, 1, tzinfo=UTC)
"""Saturday midnight, when Kaggle reportedly renews the quota. Used only if Kaggle never returned a time."""


def week_of(refreshes_at: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """Return begin and end of the quota week that contains `now`, counted from any known refresh time."""
    anchor = refreshes_at or REFRESH
    begin = anchor + (now - anchor) // WEEK * WEEK
    return begin, begin + WEEK


def assumed_quota(row: QuotaRow, hours_per_week: float, stretches: Sequence[MachineTime], now: datetime) -> QuotaRow:
    """Compute the quota that Kaggle did not return, from the pipeline's own number and relay's own sessions."""
    begin, end = week_of(row.refreshes_at, now)
    used_s = reserved_s = 0.0
    for stretch in stretches:  # each counts as at least zero and at most its limit, whatever the clocks say
        until = min(now, stretch.ended_at or now)
        used_s += bounded_s(until - max(begin, stretch.began_at), stretch.limit_s)
        if stretch.ended_at is None:
            reserved_s += stretch.limit_s - bounded_s(now - stretch.began_at, stretch.limit_s)
    return replace(
        row, used_s=used_s, reserved_s=reserved_s, total_s=hours_per_week * 3600, refreshes_at=end, assumed=True
    )


QUOTA_AGAIN_S = 900.0
"""Seconds between quota reads while the renewal time is unknown."""


def renewed_at(quota: QuotaRow, now: datetime) -> datetime | None:
    """Return when the quota is renewed; None if Kaggle does not say, or if the time is implausible by this clock."""
    at = quota.refreshes_at
    return at if at is not None and now < at <= now + WEEK else None


def refresh_time(quota: QuotaRow, now: datetime) -> datetime:
    """Return when to read the quota again."""
    return renewed_at(quota, now) or now + timedelta(seconds=QUOTA_AGAIN_S)


def plan_session(state: RunState, pipeline: Pipeline, quota: QuotaRow | None) -> SessionPlanned:
    """Plan the next session, as a fact."""
    number, attempt = next_key(state)
    limit_s = session_limit_s(pipeline, quota)
    budget_s = pipeline.budget_s(limit_s, count_timed_out(state))
    return SessionPlanned(
        number=number,
        attempt=attempt,
        slug=slug_of(state.run.id, number, attempt),
        token=token_of(state, number, attempt),
        start=run_cursor(state, pipeline),
        parent=state.head.name if state.head else None,
        budget_s=budget_s,
        limit_s=limit_s,
    )


def count_timed_out(state: RunState) -> int:
    """Return how many sessions Kaggle stopped at their limit: each widens the safety margin of those that follow."""
    return sum(session.outcome is Outcome.TIMED_OUT for session in state.sessions)


RESIZE_S = 60.0
"""Change of the available time, in seconds, above which a planned session is resized before its push."""


def resize(state: RunState, session: Session, pipeline: Pipeline, quota: QuotaRow | None) -> SessionResized | None:
    """Resize the planned session to the quota that is left now; None if it fits as it is."""
    limit_s = session_limit_s(pipeline, quota)
    if abs(limit_s - session.limit_s) <= RESIZE_S:
        return None
    return SessionResized(
        number=session.number,
        attempt=session.attempt,
        budget_s=pipeline.budget_s(limit_s, count_timed_out(state)),
        limit_s=limit_s,
    )


TIMES_OF = 3
"""Number of the newest measured sessions whose timings are passed to the next one."""
NOT_FOR_BUDGETS = ("session_s", "restore_s", "hold_s")


def known_timings(state: RunState, session: Session) -> dict[str, float]:
    """Return the timings of earlier sessions for this one's budget: the newest step times, the longest of all others.

    Sessions elsewhere had another machine. All earlier ones are over when this one is planned: the result never changes.
    """
    same = [other for other in state.sessions if other.key < session.key and other.platform == session.platform]
    earlier = [other.timings for other in same if other.timings][-TIMES_OF:]
    found: dict[str, float] = {}
    for timings in earlier:
        steps = {name: value for name, value in timings.items() if name.endswith((".step_s", ".step_high_s"))}
        longest = {
            name: max(value, found.get(name, 0.0))
            for name, value in timings.items()
            if name not in steps and name not in NOT_FOR_BUDGETS
        }
        found |= steps | longest
    return {name: value for name, value in found.items() if 0.0 <= value <= session.limit_s}


def _parent_of(state: RunState, session: Session) -> Parent | None:
    """Return the checkpoint that the session starts from: the run's own, that of another run, or none."""
    if session.parent is not None:
        return Parent(name=session.parent, digest=state.checkpoint(session.parent).digest)
    origin = state.run.origin
    if origin is None:
        return None
    return Parent(name=origin.checkpoint, digest=origin.digest, run=origin.run, keeps=origin.keeps)


def order_for(state: RunState, session: Session, pipeline: Pipeline, home: str = "") -> Order:
    """Build the session's order; always the same for the same session. `home`: the home folder that pushes it."""
    return Order(
        run=state.run.id,
        session=session.number,
        attempt=session.attempt,
        token=session.token,
        slug=session.slug,
        pipeline_digest=state.run.pipeline_digest,
        seed=pipeline.seed,
        model=pipeline.model,
        stages=pipeline.specs,
        start=session.start,
        parent=_parent_of(state, session),
        budget_s=session.budget_s,
        limit_s=session.limit_s,
        save_interval_s=pipeline.save_interval_s,
        accelerator=pipeline.hardware.promise,
        pins=pipeline.pins,
        lock=pipeline.lock,
        files=pipeline.inputs.sha256,
        datasets=pipeline.inputs.datasets,
        wheels=pipeline.inputs.wheels,
        sources=pipeline.sources,
        stop_at=pipeline.stop_after(session.start),
        times=known_timings(state, session),
        created_at=state.run.created_at.isoformat(),
        pipeline_rest=pipeline.rest,
        home=home,
        generation=state.run.generation if home else 0,
        exactness=pipeline.exactness,
    )
