"""Which session comes next, how long it may last, and what exactly it is told. Pure."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from orchestrator.base.humanize import bounded_s
from orchestrator.pipeline.model import Pipeline
from stages.contract import Cursor, Order, Parent
from state.facts import SessionPlanned, SessionResized
from state.model import MachineTime, Outcome, QuotaRow, Run, RunState, Session

NAME = re.compile(r"([0-9]{4,9})(?:-([a-z]|[0-9]{1,4}))?")
"""What follows the letter in the name of a session's kernel or of its checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How patient the orchestrator is. Times in seconds."""

    poll_s: float = 30.0
    """Between two looks at a session of which something is expected any moment."""
    calm: float = 1.0
    """So many times rarer a session is looked at where nothing is expected."""
    retry_s: float = 60.0
    """Before the second try of anything that failed; doubles with each further one."""
    retry_s_max: float = 1800.0
    quota_fresh_s: float = 600.0
    """A reading of the quota is believed so long."""
    give_up_failures: int = 20
    """A person is asked after so many failed calls in a row …"""
    give_up_s: float = 6 * 3600.0
    """… and after so much time in which they were made, not before both."""
    slot_s: float = 300.0
    """Before another push after Kaggle declined one because somebody else's session takes the slot."""
    claim_s: float = 900.0
    """A run that waits for a slot and has not said so for this long is passed by."""
    retry_after_s_max: float = 900.0
    """Longer than this nothing waits because an answer asks for it: one header must not blind a run."""
    queue_s: float = 6 * 3600.0
    """A person is told of a session that has had no machine for so long: waits of up to four hours were seen."""
    overdue_s: float = 3600.0
    """A session that Kaggle still calls running so long after its limit is taken for ended: Kaggle kills at the limit."""
    slot_wait_s: float = 13 * 3600.0
    """A person is told of a slot that stays taken for longer than any session may last, which is twelve hours."""
    renewal_s: float = 6 * 3600.0
    """A person is told of hours that were to be renewed so long ago."""

    @property
    def floor_s(self) -> float:
        """No command is repeated sooner, whatever is decided: five seconds, less where looks are less than half a minute apart."""
        return min(5.0, self.poll_s / 6)

    @property
    def calls_a_minute(self) -> int:
        """Calls of one account, by all its runs. Five runs that are looked at every half minute make 20."""
        return max(120, round(3600 / self.poll_s))

    @property
    def rest_s_max(self) -> float:
        """The longest that anything is put off: what is said to last longer was written down by a clock that was ahead."""
        return max(self.retry_s_max, self.slot_s, self.retry_after_s_max)

    unclear_s: float = 600.0
    """For so long a push without a clear answer is looked for before it is made again."""
    visible_s: float = 1800.0
    """For so long a dataset that Kaggle took is looked for before it is made again under another name."""
    processing_s: float = 6 * 3600.0
    """For so long a dataset may be processed."""

    @property
    def calm_s(self) -> float:
        """Between two looks at a session in the middle of its hours."""
        return self.calm * self.poll_s

    def backoff_s(self, failures: int) -> float:
        """Seconds to wait after the n-th failure in a row."""
        return min(self.retry_s_max, self.retry_s * 2.0 ** min(failures - 1, 20))


CALM_MAX = 10.0


def patience_of(limit_s: float) -> tuple[float, float, float]:
    """`unclear_s`, `visible_s` and `processing_s`: shorter only for sessions as short as a rehearsal's."""
    return min(Limits.unclear_s, limit_s), min(Limits.visible_s, 3 * limit_s), min(Limits.processing_s, 36 * limit_s)


def limits_for(pipeline: Pipeline) -> Limits:
    """Patience in proportion to the session.

    One of nine hours is looked at every half minute near its ends and every 4.5 minutes in between (a look is two calls: 27 an
    hour), a rehearsal's minute every half second all the way.
    """
    poll_s = min(30.0, max(0.5, pipeline.limit_s / 1000))
    unclear_s, visible_s, processing_s = patience_of(pipeline.limit_s)
    return Limits(
        poll_s=poll_s,
        calm=min(CALM_MAX, max(1.0, pipeline.limit_s / 3600)),
        retry_s=2 * poll_s,
        retry_s_max=60 * poll_s,
        quota_fresh_s=min(600.0, 20 * poll_s),
        slot_s=10 * poll_s,
        claim_s=30 * poll_s,
        queue_s=720 * poll_s,
        overdue_s=120 * poll_s,
        slot_wait_s=1560 * poll_s,
        renewal_s=720 * poll_s,
        unclear_s=unclear_s,
        visible_s=visible_s,
        processing_s=processing_s,
    )


def slug_of(run: str, number: int, attempt: int) -> str:
    """The kernel's name on Kaggle, computed and never invented: `gsm-3f9a-s0007`, second attempt `gsm-3f9a-s0007-b`."""
    return f"{run}-s{number:04d}{_suffix(attempt)}"


def key_in(run: str, letter: str, name: str) -> tuple[int, int] | None:
    """(number, attempt) in the name of a kernel (letter `s`) or a checkpoint (`c`) of the run; None for any other name."""
    found = NAME.fullmatch(name.removeprefix(f"{run}-{letter}")) if name.startswith(f"{run}-{letter}") else None
    if found is None:
        return None
    number, attempt = int(found[1]), _attempt(found[2])
    return (number, attempt) if name == f"{run}-{letter}{number:04d}{_suffix(attempt)}" else None


def run_in(slug: str) -> str | None:
    """The run that a kernel's name is of, as far as the name can tell."""
    run = slug.rpartition("-s")[0]
    return run if run and key_in(run, "s", slug) else None


def checkpoint_of(run: str, number: int, attempt: int) -> str:
    """The name of the checkpoint that a session leaves, and of its dataset."""
    return f"{run}-c{number:04d}{_suffix(attempt)}"


def inputs_of(run: str) -> str:
    """The name of the first dataset that holds the pipeline's own files."""
    return f"{run}-inputs"


def inputs_place(run: Run) -> str:
    """The name of the dataset that holds them now."""
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
    """What marks a session as ours: no other run computes it, and this one computes it again after a crash."""
    text = f"{state.run.id}/{state.run.created_at.isoformat()}/{number}/{attempt}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def where(state: RunState, pipeline: Pipeline) -> Cursor:
    """Where the run stands: at its newest usable checkpoint."""
    return state.head.cursor if state.head else pipeline.beginning


def finished(state: RunState, pipeline: Pipeline) -> bool:
    """Whether the newest checkpoint is the end of the pipeline."""
    return pipeline.position(where(state, pipeline)) >= pipeline.total_steps


def next_key(state: RunState) -> tuple[int, int]:
    """(number, attempt) of the next session: a session that gained nothing is tried again under its own number."""
    last = state.last
    if last is None:
        return (1, 1)
    return (last.number + 1, 1) if last.checkpoint else (last.number, last.attempt + 1)


def session_limit_s(pipeline: Pipeline, quota: QuotaRow | None) -> float:
    """Seconds the next session may last: Kaggle's limit, cut to the quota that is left where that is known."""
    left_s = quota.left_s if quota else None
    return pipeline.limit_s if left_s is None else min(pipeline.limit_s, left_s)


WEEK = timedelta(days=7)
REFRESH = datetime(2000, 1, 1, tzinfo=UTC)
"""A Saturday midnight, when Kaggle is reported to renew the hours: only where it never said when."""


def week_of(refreshes_at: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """Begin and end of the quota week that `now` lies in, counted from any one time of refreshing."""
    anchor = refreshes_at or REFRESH
    begin = anchor + (now - anchor) // WEEK * WEEK
    return begin, begin + WEEK


def assumed_quota(row: QuotaRow, hours_per_week: float, stretches: Sequence[MachineTime], now: datetime) -> QuotaRow:
    """The quota that Kaggle did not tell, from the pipeline's own number and what relay's sessions took of it."""
    begin, end = week_of(row.refreshes_at, now)
    used_s = reserved_s = 0.0
    for stretch in stretches:  # whatever clocks say of it, none takes less than nothing or more than its limit
        until = min(now, stretch.ended_at or now)
        used_s += bounded_s(until - max(begin, stretch.began_at), stretch.limit_s)
        if stretch.ended_at is None:
            reserved_s += stretch.limit_s - bounded_s(now - stretch.began_at, stretch.limit_s)
    return replace(
        row, used_s=used_s, reserved_s=reserved_s, total_s=hours_per_week * 3600, refreshes_at=end, assumed=True
    )


QUOTA_AGAIN_S = 900.0
"""Before the hours are asked for again where nobody knows when they are renewed."""


def renewed_at(quota: QuotaRow, now: datetime) -> datetime | None:
    """When the hours are renewed; None where Kaggle does not say, or says what this clock cannot make sense of."""
    at = quota.refreshes_at
    return at if at is not None and now < at <= now + WEEK else None


def refresh_time(quota: QuotaRow, now: datetime) -> datetime:
    """When it is worth asking for quota again."""
    return renewed_at(quota, now) or now + timedelta(seconds=QUOTA_AGAIN_S)


def plan_session(state: RunState, pipeline: Pipeline, quota: QuotaRow | None) -> SessionPlanned:
    """The next session, as the fact that it is planned."""
    number, attempt = next_key(state)
    limit_s = session_limit_s(pipeline, quota)
    budget_s = pipeline.budget_s(limit_s, timed_out(state))
    return SessionPlanned(
        number=number,
        attempt=attempt,
        slug=slug_of(state.run.id, number, attempt),
        token=token_of(state, number, attempt),
        start=where(state, pipeline),
        parent=state.head.name if state.head else None,
        budget_s=budget_s,
        limit_s=limit_s,
    )


def timed_out(state: RunState) -> int:
    """How many of the run's sessions Kaggle stopped at their limit: each makes the margin of those that follow wider."""
    return sum(session.outcome is Outcome.TIMED_OUT for session in state.sessions)


RESIZE_S = 60.0
"""A session that could not be pushed yet is cut anew where the hours that are left differ by more than this."""


def resized(state: RunState, session: Session, pipeline: Pipeline, quota: QuotaRow | None) -> SessionResized | None:
    """The planned session as the hours that are left now allow it, or None where it fits as it is."""
    limit_s = session_limit_s(pipeline, quota)
    if abs(limit_s - session.limit_s) <= RESIZE_S:
        return None
    return SessionResized(
        number=session.number,
        attempt=session.attempt,
        budget_s=pipeline.budget_s(limit_s, timed_out(state)),
        limit_s=limit_s,
    )


TIMES_OF = 3
"""So many of the newest sessions that measured anything tell the next one what to begin with."""
NOT_FOR_BUDGETS = ("session_s", "restore_s", "hold_s")


def times_known(state: RunState, session: Session) -> dict[str, float]:
    """What sessions before this one measured, for its budget: of each thing the longest, for a stage's steps the newest.

    Sessions before it are all over when it is planned, so the answer is the same whenever it is asked.
    """
    earlier = [other.timings for other in state.sessions if other.key < session.key and other.timings][-TIMES_OF:]
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


def order_for(state: RunState, session: Session, pipeline: Pipeline, home: str = "") -> Order:
    """What the session is told; the same for the same session, whenever it is asked. `home`: who pushes it."""
    parent = state.checkpoint(session.parent) if session.parent else None
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
        parent=Parent(name=parent.name, digest=parent.digest) if parent else None,
        budget_s=session.budget_s,
        limit_s=session.limit_s,
        save_interval_s=pipeline.save_interval_s,
        accelerator=pipeline.hardware.promise,
        pins=pipeline.pins,
        files=pipeline.inputs.sha256,
        datasets=pipeline.inputs.datasets,
        wheels=pipeline.inputs.wheels,
        sources=pipeline.sources,
        times=times_known(state, session),
        created_at=state.run.created_at.isoformat(),
        pipeline_rest=pipeline.rest,
        home=home,
        generation=state.run.generation if home else 0,
    )
