"""Two runs of one account, while somebody types commands at any time and daemons die: nothing is lost and nothing runs twice."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.base.errors import BadInput
from orchestrator.core.commands import Wait
from orchestrator.core.selectors import abandon_arguments, checkpoint_at
from orchestrator.engine.tick import tick
from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle
from orchestrator.rehearsal.simulation.crash_injection import (
    GATEWAY_CALLS,
    STORE_CALLS,
    Crash,
    CrashingProxy,
    CrashPoint,
)
from stages.contract import Manifest
from state import machine
from state.memory_store import MemoryStore
from state.model.statuses import RunStatus
from tests.simulation.pipelines import pipeline

OVER = (RunStatus.FINISHED, RunStatus.CANCELLED)
WHO = st.integers(0, 1)
TICKS_MAX = 400


class Account(RuleBasedStateMachine):
    """A TPU account with one slot and two runs; every rule is something that a person or a machine may do."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="relay-sim-", dir=memory if memory.is_dir() else None))

    @initialize(handoff=st.sampled_from(["dataset", "kernel-output"]), timeout=st.sampled_from(["resume", "park"]))
    def begin(self, handoff: str, timeout: str) -> None:
        rules = Rules(queue_s=PerKind.all(60.0), quota_s=PerKind(40_000.0, 0.0, 0.0))
        chosen = pipeline(handoff=f"handoff: {handoff}", timeout=f"on_timeout: {timeout}", keep="keep_checkpoints: 2")
        self.kaggle = SimulatedKaggle(chosen, rules=rules)
        store = MemoryStore()
        self.runs = [Chain(self.kaggle, self.folder, run=f"sim-000{n}", store=store) for n in (1, 2)]
        self.abandoned: set[str] = set()

    # --- what happens ----------------------------------------------------------

    @rule(times=st.integers(1, 30))
    def a_daemon_works(self, times: int) -> None:
        for _ in range(times):
            self._round(CrashPoint())

    @rule(at=st.integers(0, 60))
    def a_daemon_dies(self, at: int) -> None:
        crash_point = CrashPoint(at)
        with contextlib.suppress(Crash):
            for _ in range(12):
                self._round(crash_point)

    @rule(hours=st.sampled_from([0.01, 0.3, 5, 60]))
    def the_laptop_sleeps(self, hours: float) -> None:
        self.kaggle.clock.sleep(hours * 3600)

    @rule(who=WHO, verb=st.sampled_from(["pause", "resume", "retry", "prune"]))
    def a_person_asks(self, who: int, verb: str) -> None:
        self._ask(self.runs[who], verb, {})

    @rule(who=WHO, verb=st.sampled_from(["edit", "retry"]), save_s=st.sampled_from([50.0, 200.0, 333.0]))
    def a_person_changes_the_pipeline(self, who: int, verb: str, save_s: float) -> None:
        chain = self.runs[who]
        known = Pipeline.from_canonical(chain.state.run.pipeline)
        session = known.session.model_copy(update={"save_interval_s": save_s})
        changed = known.model_copy(update={"session": session})
        self._ask(chain, verb, {"pipeline": changed.canonical(), "path": "changed.yaml"})

    @precondition(lambda self: all(run.state.run.status not in OVER for run in self.runs))
    @rule(who=WHO)
    def a_person_cancels(self, who: int) -> None:
        self._ask(self.runs[who], "cancel", {})

    @rule(who=WHO, back=st.integers(0, 3), abandon_session=st.booleans())
    def a_person_goes_back(self, who: int, back: int, abandon_session: bool) -> None:
        chain = self.runs[who]
        usable = [c for c in chain.state.checkpoints if c.usable]
        if back < len(usable):
            chosen = usable[-1 - back].cursor
            arguments = {"checkpoint": checkpoint_at(chain.state, f"{chosen.stage}:{chosen.step}").name}
            with contextlib.suppress(BadInput):
                arguments |= self._abandon_session(chain) if abandon_session else {}
            self._ask(chain, "resume", arguments)

    @rule(who=WHO)
    def a_person_writes_a_session_off(self, who: int) -> None:
        with contextlib.suppress(BadInput):
            self._ask(self.runs[who], "retry", self._abandon_session(self.runs[who]))

    def _abandon_session(self, chain: Chain) -> dict[str, str]:
        arguments = abandon_arguments(chain.state)
        self.abandoned.add(arguments["abandon_session"])
        return arguments

    def _ask(self, chain: Chain, verb: str, arguments: dict[str, str]) -> None:
        chain.store.request(chain.run, verb, arguments, self.kaggle.clock.now())

    def _round(self, crash_point: CrashPoint) -> None:
        """What the daemon does in one round: tick each open run until it rests, then sleep till the first wants to be woken."""
        wake = []
        for chain in self.runs:
            if chain.run not in chain.store.open_runs():
                continue
            store, gateway = (
                CrashingProxy(chain.store, crash_point, STORE_CALLS),
                CrashingProxy(self.kaggle.gateway(), crash_point, GATEWAY_CALLS),
            )
            for _ in range(TICKS_MAX):
                command = tick(store, chain.run, chain.shell(gateway)).command  # type: ignore[arg-type]
                if isinstance(command, Wait):
                    wake.append(command.until)
                    break
            else:
                raise AssertionError(f"{chain.run} never rests: {command}")
        now = self.kaggle.clock.now()
        self.kaggle.clock.sleep(min(((until - now).total_seconds() for until in wake if until), default=60.0))

    # --- what must hold ---------------------------------------------------------

    @invariant()
    def facts_fold_to_rows(self) -> None:
        for chain in self._begun():
            assert machine.fold(chain.store.facts(chain.run)) == chain.state

    @invariant()
    def no_order_is_pushed_twice(self) -> None:
        for slug, times in self.kaggle.started.items() if self._begun() else ():
            assert times == 1, f"{slug} was started {times} times"

    @invariant()
    def the_one_slot_is_taken_once(self) -> None:
        live = [s for chain in self._begun() for s in chain.state.sessions if s.phase.on_kaggle]
        really = [s for s in live if s.slug not in self.abandoned and s.phase.value not in ("pushing",)]
        assert len(really) <= 1, [s.slug for s in really]

    @invariant()
    def every_checkpoint_is_what_the_uncut_run_has_there(self) -> None:
        for chain in self._begun():
            for checkpoint in chain.state.checkpoints:
                position = self.kaggle.pipeline.position(checkpoint.cursor)
                digest = Manifest.from_json(checkpoint.manifest).digests["state"]
                assert digest == self.kaggle.uncut[position], checkpoint.name

    @invariant()
    def two_checkpoints_are_always_kept(self) -> None:
        for chain in self._begun():
            collected = [c for c in chain.state.checkpoints if c.status.value in ("collected", "published", "pruned")]
            assert sum(c.usable for c in collected) >= min(2, len(collected))

    def _begun(self) -> list[Chain]:
        return getattr(self, "runs", [])

    def teardown(self) -> None:
        """Whatever was typed: a person who types resume now and then sees both runs to their end."""
        try:
            for _ in range(40) if self._begun() else ():
                for chain in self.runs:
                    if chain.state.run.status is RunStatus.PARKED:
                        self._ask(chain, "resume", {})
                for _ in range(60):
                    self._round(CrashPoint())
                if all(chain.state.run.status in OVER for chain in self.runs):
                    break
            for chain in self._begun():
                run, head = chain.state.run, chain.state.head
                assert run.status in OVER, f"{run.id} is {run.status}: {run.reason}"
                if run.status is RunStatus.FINISHED:
                    assert head is not None
                    assert Manifest.from_json(head.manifest).digests["state"] == self.kaggle.uncut[-1]
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


TestAccount = pytest.mark.slow(Account.TestCase)
TestAccount.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
