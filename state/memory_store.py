"""In-memory store with the contract of `state.store`, for simulations that need no persistence."""

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from state import machine
from state.facts.base import Fact
from state.facts.run import RunStarted
from state.facts.session import SeenEnded, SessionLost
from state.failures import RunExists
from state.leases import Lease, check_fence, taken
from state.memory_metrics import MemoryMetrics, newest_values, points, step_edges, step_times, steps_seen
from state.model.metrics import CurvePoint, Metric, StepEdges, StepSeen
from state.model.poll_state import POLL_TIMES, PollState
from state.model.run_origin import RunOrigin
from state.model.run_state import KEPT_MIN, Run, RunState
from state.model.snapshot import CallsMade, MachineTime, QuotaRow, Request, Snapshot, Waiting
from state.model.statuses import RunStatus
from state.run_queue import ChangeToken

OPEN = (RunStatus.ACTIVE, RunStatus.WAITING, RunStatus.PARKED)


class MemoryStore:
    """`state.store.Store` without a database: the same calls, each atomic.

    It keeps frozen values, so rows cannot be changed by hand and `load` never raises StoreCorrupt.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._states: dict[str, RunState] = {}
        self._facts: dict[str, list[tuple[datetime, Fact]]] = {}
        self._watches: dict[str, PollState] = {}
        self._quotas: dict[tuple[str, str], QuotaRow] = {}
        self._metrics = MemoryMetrics()
        self._requests: dict[int, Request] = {}
        """Requests that have not been carried out yet, by number."""
        self._requests_made = 0
        self._lease: Lease | None = None

    def copy(self) -> "MemoryStore":
        """Return an independent copy, as a copy of the home folder would be."""
        with self._lock:
            other = MemoryStore()
            other._states, other._watches, other._quotas = dict(self._states), dict(self._watches), dict(self._quotas)
            other._facts = {run: list(facts) for run, facts in self._facts.items()}
            other._metrics, other._requests = self._metrics.copy(), dict(self._requests)
            other._requests_made, other._lease = self._requests_made, self._lease
            return other

    def close(self) -> None:
        """Do nothing: there is no resource to release."""

    # --- facts ---------------------------------------------------------------

    def begin_run(
        self,
        fact: RunStarted,
        at: datetime,
        *,
        later: Sequence[tuple[datetime, Fact]] = (),
        metrics: Iterable[Metric] = (),
        instead: bool = False,
    ) -> RunState:
        """Create a run from its first fact and any later facts that are already known (see `Store.begin_run`)."""
        with self._lock:
            if fact.run in self._states and not instead:
                raise RunExists(fact.run)
            state = machine.begin(fact, at)
            for when, next_fact in later:
                state = machine.apply(state, next_fact, when)
            self._states[fact.run] = state
            self._facts[fact.run] = [(at, fact), *later]
            self._metrics.add(metrics)
            return state

    def append(
        self,
        run: str,
        facts: Sequence[Fact],
        at: datetime,
        *,
        metrics: Iterable[Metric] = (),
        watch: PollState | None = None,
        fulfilled: int | None = None,
        fence: int | None = None,
    ) -> RunState:
        """Append facts and store observations. Raises IllegalTransition or LeaseLost; then nothing is changed."""
        with self._lock:
            if fence is not None:
                self._check_fence(fence)
            after = self._states[run]
            for fact in facts:
                after = machine.apply(after, fact, at)
            self._states[run] = after
            self._facts[run].extend((at, fact) for fact in facts)
            key = (after.run.owner, after.run.accelerator)
            if key in self._quotas and any(isinstance(fact, (SeenEnded, SessionLost)) for fact in facts):
                self._quotas[key] = replace(self._quotas[key], outdated=True)
            self._metrics.add(metrics)
            if watch is not None:
                self._watches[run] = watch
            if fulfilled is not None:
                self._requests.pop(fulfilled, None)
            return after

    def load(self, run: str) -> RunState:
        """Return the run's state. Raises KeyError for an unknown run."""
        with self._lock:
            return self._states[run]

    def rows(self, run: str) -> RunState:
        """Return the run's state, as `load` does: rows cannot be changed by hand here."""
        return self.load(run)

    def load_with_facts(
        self, run: str, kinds: Collection[type[Fact]] | None = None
    ) -> tuple[RunState, list[tuple[datetime, Fact]]]:
        """Return the run's state and its facts of these kinds (None: all), oldest first, of the same moment."""
        with self._lock:
            return self.load(run), [(at, fact) for at, fact in self.facts(run) if kinds is None or type(fact) in kinds]

    def snapshot(self, run: str) -> Snapshot:
        """Return the input of the core's decision: the run, its open requests, its quota, and other runs' slots."""
        with self._lock:
            state = self._states[run]
            return Snapshot(
                state=state,
                requests=self.requests(run),
                watch=self._watches.get(run, PollState()),
                quota=self._quotas.get((state.run.owner, state.run.accelerator)),
                others_live=sum(_slots_taken(other) for other in self._others(state.run)),
                waiting=self._waiting(state.run),
                others_calls=self._others_calls(state.run),
                origin=self._origin_of(state),
                needed=self._needed_by_others(run),
            )

    def _origin_of(self, state: RunState) -> RunState | None:
        origin = state.run.origin
        return None if origin is None or state.head is not None else self._states.get(origin.run)

    def _needed_by_others(self, run: str) -> tuple[RunOrigin, ...]:
        begun = [state for state in self._states.values() if state.run.origin and state.run.status in OPEN]
        short = [state.run.origin for state in begun if sum(c.usable for c in state.checkpoints) < KEPT_MIN]
        return tuple(origin for origin in short if origin and origin.run == run)

    def facts(self, run: str) -> list[tuple[datetime, Fact]]:
        """Return the run's log, oldest first."""
        with self._lock:
            return list(self._facts.get(run, ()))

    # --- runs ----------------------------------------------------------------

    def runs(self) -> list[Run]:
        """Return every run, oldest first."""
        with self._lock:
            return sorted((state.run for state in self._states.values()), key=lambda run: (run.created_at, run.id))

    def run_names(self) -> list[tuple[str, str]]:
        """Return (id, pipeline name) of every run, oldest first."""
        return [(run.id, run.name) for run in self.runs()]

    def by_priority(self, most: int) -> tuple[list[str], int]:
        """Return the ids of the `most` most urgent runs and the number of others (see `Store.by_priority`)."""
        runs = sorted(self.runs(), key=lambda run: (run.created_at, run.id), reverse=True)
        runs.sort(key=lambda run: 0 if run.status is RunStatus.PARKED else 1 if run.status in OPEN else 2)
        chosen = {run.id for run in runs[:most]}
        return [run.id for run in self.runs() if run.id in chosen], len(runs[most:])

    def open_runs(self) -> list[str]:
        """Return the ids of runs that may need work or have open requests (see `Store.open_runs`)."""
        with self._lock:
            asked = {request.run for request in self._requests.values()}
            return [
                run.id
                for run in self.runs()
                if run.status in OPEN or run.id in asked or self._is_cancelled_but_live(run)
            ]

    def change_tokens(self) -> dict[str, ChangeToken]:
        """Return the open runs, each with a token that changes with its facts and requests (see `Store.change_tokens`)."""
        with self._lock:
            return {run: (len(self._facts[run]), self._newest_request(run)) for run in self.open_runs()}

    # --- observations --------------------------------------------------------

    def watch(self, run: str) -> PollState:
        """Return a run's poll state."""
        with self._lock:
            return self._watches.get(run, PollState())

    def clear_poll_times(self, fence: int) -> None:
        """Clear the times of polls and retries (see `Store.clear_poll_times`)."""
        with self._lock:
            self._check_fence(fence)
            for run, watch in self._watches.items():
                self._watches[run] = _without_times(watch)

    def write_quota(self, quota: QuotaRow) -> None:
        """Store the account's weekly quota."""
        with self._lock:
            self._quotas[quota.owner, quota.accelerator] = quota

    def machine_times(self, owner: str, accelerator: str, since: datetime) -> list[MachineTime]:
        """Return the machine time after `since` of relay's sessions on the account and accelerator."""
        with self._lock:
            found = [(state.run, session) for state in self._states.values() for session in state.sessions]
        mine = (owner, accelerator)
        sessions = [s for run, s in found if (run.owner_at(s.platform), run.accelerator_at(s.platform)) == mine]
        own = [
            MachineTime(began_at=s.running_at or s.pushed_at, ended_at=s.ended_at, limit_s=s.limit_s)
            for s in sessions
            if s.pushed_at is not None
        ]
        twins = [
            MachineTime(began_at=s.twin_at, ended_at=s.twin_ended_at, limit_s=s.limit_s)
            for s in sessions
            if s.twin_at is not None
        ]
        return [each for each in (*own, *twins) if each.ended_at is None or each.ended_at > since]

    def quotas(self) -> list[QuotaRow]:
        """Return every account's quota as last read."""
        with self._lock:
            return list(self._quotas.values())

    def metrics(self, run: str, *, session: tuple[int, int] | None = None) -> list[Metric]:
        """Return the metrics that a run's sessions reported, ordered by session and event."""
        with self._lock:
            return self._metrics.of(run, session)

    def last_metrics(self, run: str) -> list[Metric]:
        """Return the newest value of each metric of each stage."""
        return newest_values(self.metrics(run))

    def steps_seen(self, run: str, newest: int) -> list[StepSeen]:
        """Return completed steps in order: the `newest` of each stage, and each stage's first in each session."""
        return steps_seen(self.metrics(run), newest)

    def series(self, run: str, points_max: int) -> list[CurvePoint]:
        """Return each metric of each stage over its steps, sorted, with at most `points_max` points per curve."""
        return points(self.metrics(run), points_max)

    def step_edges(self, run: str) -> list[StepEdges]:
        """Return the times of each session's first and last reported step, ordered by session."""
        return step_edges(self.metrics(run))

    def step_times(self, run: str, points_max: int) -> list[StepSeen]:
        """Return when steps were completed, by stage and session, thinned as `series` thins curves."""
        return step_times(self.metrics(run), points_max)

    # --- requests ------------------------------------------------------------

    def request(self, run: str, verb: str, arguments: dict[str, str], at: datetime) -> int:
        """Record a request, which the next tick carries out. Returns its number."""
        with self._lock:
            self._requests_made += 1
            number = self._requests_made
            self._requests[number] = Request(id=number, run=run, verb=verb, arguments=arguments, made_at=at)
            return number

    def requests(self, run: str) -> tuple[Request, ...]:
        """Return a run's open requests, oldest first."""
        with self._lock:
            return tuple(request for request in self._requests.values() if request.run == run)

    # --- the lease -----------------------------------------------------------

    def take_lease(
        self, holder: str, now: datetime, lasts_s: float, alive: Callable[[str], bool | None] = lambda holder: None
    ) -> Lease:
        """Take the daemon's lease. Raises LeaseHeld while another daemon's lease is valid (see `Store.take_lease`)."""
        with self._lock:
            self._lease = taken(self._lease, holder, now, lasts_s, alive)
            return self._lease

    def keep_lease(self, lease: Lease, now: datetime, lasts_s: float) -> Lease:
        """Renew the lease. Raises LeaseLost if another daemon took it."""
        with self._lock:
            self._check_fence(lease.fence)
            self._lease = lease.until(now, lasts_s)
            return self._lease

    def release_lease(self, lease: Lease, now: datetime) -> None:
        """Release the lease, so that the next daemon need not wait until it expires."""
        with self._lock:
            if self._lease is not None and self._lease.fence == lease.fence:
                self._lease = replace(self._lease, expires_at=now)

    def lease(self) -> Lease | None:
        """Return the newest lease, expired or not; None if there was none."""
        with self._lock:
            return self._lease

    # --- underneath ----------------------------------------------------------

    def _newest_request(self, run: str) -> int:
        return max((number for number, request in self._requests.items() if request.run == run), default=0)

    def _is_cancelled_but_live(self, run: Run) -> bool:
        return run.status is RunStatus.CANCELLED and _slots_taken(self._states[run.id]) > 0

    def _others(self, run: Run) -> list[RunState]:
        mine = (run.owner, run.accelerator)
        return [s for s in self._states.values() if s.run.id != run.id and (s.run.owner, s.run.accelerator) == mine]

    def _waiting(self, run: Run) -> tuple[Waiting, ...]:
        found = []
        for state in self._others(run):
            watch = self._watches.get(state.run.id, PollState())
            wants = state.run.status is RunStatus.ACTIVE and not _slots_taken(state)
            if wants and watch.slot_since is not None and watch.slot_seen_at is not None:
                found.append(Waiting(run=state.run.id, since=watch.slot_since, seen_at=watch.slot_seen_at))
        return tuple(found)

    def _others_calls(self, run: Run) -> tuple[CallsMade, ...]:
        others = [s.run.id for s in self._states.values() if s.run.id != run.id and s.run.owner == run.owner]
        watches = [self._watches[other] for other in others if other in self._watches]
        return tuple(CallsMade(since=w.calls_since, calls=w.calls) for w in watches if w.calls_since is not None)

    def _check_fence(self, fence: int) -> None:
        check_fence(fence, self._lease.fence if self._lease else None)


def _without_times(watch: PollState) -> PollState:
    gone: dict[str, Any] = dict.fromkeys(POLL_TIMES)
    return replace(watch, **gone)


def _slots_taken(state: RunState) -> int:
    """Return the number of slots that the run takes."""
    looked_after = state.run.status in OPEN
    return sum(session.phase.on_kaggle + (looked_after and session.twin_lives) for session in state.sessions)
