"""Invariants that hold after every tick of a simulated chain, whatever Kaggle and the machine do: one function each."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.core.retention import prunable
from orchestrator.engine.collecting.files import TRIES
from orchestrator.engine.tick import TickResult
from orchestrator.rehearsal.local_kaggle.faults import DatasetAction
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from orchestrator.rehearsal.simulation.chain import Chain
from orchestrator.rehearsal.simulation.early_give_up import EarlyGiveUps
from orchestrator.rehearsal.simulation.hash_chain import digest_of
from orchestrator.rehearsal.simulation.watchdogs import OverdueWatchdog, RepeatWatchdog
from stages.contract import MANIFEST_NAME, Manifest
from stages.documents import ContractError
from stages.safe_text import ODD
from state import machine
from state.facts.base import Fact
from state.facts.registry import FACTS
from state.facts.session import PushIntended
from state.model.run_state import Checkpoint, RunState, Session
from state.model.statuses import CheckpointStatus, Phase, RunStatus

KEPT_MIN = 2
SENT_MAX = 25
"""Maximum number of uploads of one dataset's files: more than lost answers, crashes and repeated remedies can cause."""


class InvariantBroken(AssertionError):
    """Raised when an invariant does not hold; the message names it."""


@dataclass
class Watched:
    """A chain under test. It records what each invariant has checked, so that nothing immutable is checked twice."""

    chain: Chain
    secret: str = ""
    checks: int = 0
    sessions: int = 0
    checkpoints: int = 0
    trained: int = 0
    state: RunState | None = None
    """State after the last tick that changed it."""
    verified: set[tuple[str, str]] = field(default_factory=set)
    """Name and digest of each verified checkpoint, collected here or by a daemon on a copy."""
    pruned: set[str] = field(default_factory=set)
    loop: RepeatWatchdog = field(default_factory=RepeatWatchdog)
    owed: OverdueWatchdog = field(default_factory=OverdueWatchdog)
    early_give_ups: EarlyGiveUps = field(default_factory=EarlyGiveUps)
    others: list[Chain] = field(default_factory=list)
    """Chains of the daemons that work on copies of the home folder."""
    loops: list[RepeatWatchdog] = field(default_factory=list)
    """Repeat watchdog of each chain in `others`."""
    deleted: int = 0
    """Number of dataset deletions checked so far."""
    struck: int = 0
    """Number of faults that had occurred before the last tick."""

    def paused(self) -> None:
        """Record that no daemon ran for a while."""
        self.owed.paused()

    def join(self, other: Chain) -> None:
        """Check the chain of another daemon as well, which works on a copy of the home folder."""
        self.others.append(other)
        self.loops.append(RepeatWatchdog())

    def after(self, tick: TickResult | None) -> None:
        """Check everything that can have changed in this tick (None: the daemon died in it). Raises Broken."""
        self._check("no command is repeated without a rest", self.loop.after(self.chain, tick))
        self._check("nothing is given up before it was looked for", self.early_give_ups.after(self.chain, tick))
        self._check_all(tick)

    def after_other(self, other: Chain, tick: TickResult) -> None:
        """Check everything that can have changed in a tick of another daemon. Raises Broken."""
        loop = self.loops[self.others.index(other)]
        self._check("no command is repeated without a rest", loop.after(other, tick))
        self._check_all(tick)

    def _check_all(self, tick: TickResult | None) -> None:
        if self.state is None or tick is None or tick.facts:
            self.state = self.chain.state
        state = self.state
        self._check("a person is told in time", self.owed.after(self.chain, state, tick))
        for name, holds in AFTER_EACH_TURN.items():
            self._check(name, holds(self, state))
        if tick is None:
            self._check("facts fold to rows", folds(self, state))

    @property
    def states(self) -> list[RunState]:
        """States of the run, one per home folder."""
        return [self.chain.state, *(other.state for other in self.others)]

    def goes_back(self) -> None:
        """Continue from the current database, which may be older than the last. Checks of Kaggle are not repeated."""
        state = self.state = self.chain.state
        self.sessions, self.checkpoints = len(state.sessions), len(state.checkpoints)
        self.early_give_ups.since.clear()

    def at_the_end(self) -> None:
        """Check the invariants of a finished chain. Raises Broken."""
        state = self.chain.state
        for name, holds in AT_THE_END.items():
            self._check(name, holds(self, state))

    def _check(self, name: str, broken: str) -> None:
        self.checks += 1
        if broken:
            raise InvariantBroken(f"{name}: {broken}")


# --- after each tick: each returns what is wrong, or "" -----------------------------


def one_live_session(watched: Watched, state: RunState) -> str:
    """Check that at most one session of the run takes a slot."""
    live = [session.slug for session in watched.chain.kaggle.world.kernels.live()]
    return f"{' and '.join(live)} are alive together" if len(live) > 1 else ""


def nothing_pushed_twice(watched: Watched, state: RunState) -> str:
    """Check that no order started two sessions."""
    twice = [slug for slug, times in watched.chain.kaggle.started.items() if times > 1]
    for kernel in watched.chain.kaggle.world.kernels.all():
        if sum(version.session is not None for version in kernel.versions) > 1:
            twice.append(kernel.slug)
    return f"{twice[0]} was pushed twice" if twice else ""


def every_step_once(watched: Watched, state: RunState) -> str:
    """Check that each new checkpoint holds what the uncut run holds after as many steps."""
    kaggle = watched.chain.kaggle
    for checkpoint in state.checkpoints[watched.checkpoints :]:
        position = kaggle.pipeline.position(checkpoint.cursor)
        if digest_of(Manifest.from_json(checkpoint.manifest)) != kaggle.uncut[position]:
            return f"{checkpoint.name} differs from the uncut run after {position} steps"
        watched.verified.add((checkpoint.name, checkpoint.digest))
    watched.checkpoints = len(state.checkpoints)
    return ""


def newest_parent(watched: Watched, state: RunState) -> str:
    """Check that each session starts from the newest verified checkpoint at the time of its planning."""
    new, watched.sessions = state.sessions[watched.sessions :], len(state.sessions)
    for session in new:
        place = watched.chain.kaggle.pipeline.position
        usable = [c for c in state.checkpoints if c.usable]
        newest = max(usable, key=lambda c: place(c.cursor), default=None)
        if session.parent != (newest.name if newest else None):
            return f"{session.slug} starts from {session.parent}, and the newest is {newest.name if newest else 'none'}"
        if newest is not None and place(session.start) != place(newest.cursor):
            return f"{session.slug} starts at {session.start}, and its parent stands at {newest.cursor}"
    return ""


def only_verified_bytes(watched: Watched, state: RunState) -> str:
    """Check that each session trained on the verified parent that its order names, byte for byte."""
    kaggle = watched.chain.kaggle
    new, watched.trained = kaggle.trained[watched.trained :], len(kaggle.trained)
    if new and watched.others:
        watched.verified |= {(c.name, c.digest) for other in watched.others for c in other.state.checkpoints}
    for trained in new:
        parent, position = trained.order.parent, kaggle.pipeline.position(trained.order.start)
        if parent is not None and (parent.name, parent.digest) not in watched.verified:
            return f"{trained.order.slug} trained on {parent.name}, which was never verified"
        if trained.digest != kaggle.uncut[position]:
            return f"{trained.order.slug} trained on other bytes than the uncut run has after {position} steps"
    return ""


def two_are_kept(watched: Watched, state: RunState) -> str:
    """Check that every pruned checkpoint leaves two newer usable ones. Those that a user abandons are not pruned."""
    for place, checkpoint in enumerate(state.checkpoints):
        if checkpoint.status is not CheckpointStatus.PRUNED or checkpoint.name in watched.pruned:
            continue
        watched.pruned.add(checkpoint.name)
        left = sum(newer.usable for newer in state.checkpoints[place:])
        if left < KEPT_MIN:
            return f"only {left} of {len(state.checkpoints)} are left"
    return ""


def no_sound_checkpoint_deleted(watched: Watched, state: RunState) -> str:
    """Check that a dataset whose manifest verifies is deleted only by retention (`keep_checkpoints`)."""
    world = watched.chain.kaggle.world
    gone, struck = world.datasets.deleted, world.fault_injector.struck
    new, watched.deleted = gone[watched.deleted :], len(gone)
    flips = struck[watched.struck :].count("DatasetFile flip")
    watched.struck = len(struck)
    # relay cannot tell a download that is damaged on every try from a damaged dataset.
    for dataset in new if flips < TRIES else ():
        version = dataset.versions[-1]
        if version.fault is DatasetAction.FAIL or not is_sound(version.files):
            continue
        keep = watched.chain.kaggle.pipeline.keep_checkpoints
        may_go = {
            c.name for s in watched.states for c in (*prunable(s, keep), *(p for p in s.checkpoints if pruned(p)))
        }
        if not any(dataset.slug == name or dataset.slug.startswith(f"{name}-n") for name in may_go):
            return f"{dataset.ref} was sound, and was deleted"
    return ""


def is_sound(files: Mapping[str, Content]) -> bool:
    """Return True if one of these files is a manifest and the others match its digests."""
    try:
        manifest = Manifest.from_json(files[MANIFEST_NAME].read())
        return all(hashlib.sha256(files[e.path].read()).hexdigest() == e.sha256 for e in manifest.files)
    except (KeyError, ContractError):
        return False


def pruned(checkpoint: Checkpoint) -> bool:
    """Return True if retention deleted this checkpoint."""
    return checkpoint.status is CheckpointStatus.PRUNED


def sent_in_bounds(watched: Watched, state: RunState) -> str:
    """Check that a checkpoint's files are not uploaded over and over, whatever Kaggle does with them."""
    sent = watched.chain.kaggle.world.datasets.sent
    return next(
        (f"the files of {slug} were sent {count} times" for slug, count in sent.items() if count > SENT_MAX), ""
    )


def intents_are_answered(watched: Watched, state: RunState) -> str:
    """Check that no other session is planned while a push is open."""
    open_pushes = [s for s in state.sessions[:-1] if s.phase in (Phase.PLANNED, Phase.PUSHING)]
    return f"{open_pushes[0].slug} was never pushed, and another session was planned" if open_pushes else ""


# --- at the end ---------------------------------------------------------------------


def folds(watched: Watched, state: RunState) -> str:
    """Check that the facts, written and read again, fold to the rows, and that every text in them can be written."""
    facts = watched.chain.store.facts(watched.chain.run)
    again = [(at, FACTS[fact.name].from_dict(json.loads(json.dumps(fact.to_dict())))) for at, fact in facts]
    odd = [fact.name for _, fact in facts if ODD.search(_texts(fact))]
    if odd:
        return f"a fact {odd[0]} holds text that cannot be written to a file"
    return "" if machine.fold(again) == state else "the facts fold to something else"


def _texts(fact: Fact) -> str:
    return "".join(text for text in fact.to_dict().values() if isinstance(text, str))


def finished_whole(watched: Watched, state: RunState) -> str:
    """Check that the chain ends once faults end, with the same state as the uncut run."""
    if state.run.status is not RunStatus.FINISHED:
        return f"the run is {state.run.status}: {state.run.reason}"
    assert state.head is not None
    last = digest_of(Manifest.from_json(state.head.manifest))
    return "" if last == watched.chain.kaggle.uncut[-1] else "the end is not the uncut run's"


def every_intent_has_its_fact(watched: Watched, state: RunState) -> str:
    """Check that every intent is followed by its fact, and every push preceded by an intent."""
    undone: list[Session] = [s for s in state.sessions if not s.phase.over]
    if undone:
        return f"{undone[0].slug} is {undone[0].phase} and the run is over"
    intended = [f for _, f in watched.chain.store.facts(watched.chain.run) if isinstance(f, PushIntended)]
    meant = {(fact.number, fact.attempt) for fact in intended}
    lost = [s.slug for s in state.sessions if s.key not in meant]
    return f"{lost[0]} was pushed without an intent" if lost else ""


def no_secret_anywhere(watched: Watched, state: RunState) -> str:
    """Check that the account's key is in no fact, row, file, log or kernel."""
    secret = watched.secret
    if not secret:
        return ""
    if any(secret in json.dumps(fact.to_dict()) for _, fact in watched.chain.store.facts(watched.chain.run)):
        return "a fact holds the account's key"
    if secret in repr(watched.chain.store.snapshot(watched.chain.run)):
        return "a row holds the account's key"
    for kernel in watched.chain.kaggle.world.kernels.all():
        if any(secret in version.save.text for version in kernel.versions):
            return f"the source of {kernel.slug} holds the account's key"
    for path in watched.chain.home.path.rglob("*"):
        if path.is_file() and secret.encode() in path.read_bytes():
            return f"{path.name} holds the account's key"
    return ""


Invariant = Callable[[Watched, RunState], str]

AFTER_EACH_TURN: dict[str, Invariant] = {
    "at most one live session": one_live_session,
    "no order is pushed twice": nothing_pushed_twice,
    "no step is skipped or counted twice": every_step_once,
    "a session starts from the newest verified checkpoint": newest_parent,
    "no unverified byte is trained on": only_verified_bytes,
    "the last two checkpoints are kept": two_are_kept,
    "no sound checkpoint is deleted but by retention": no_sound_checkpoint_deleted,
    "nothing is sent again and again": sent_in_bounds,
    "no other session is planned while a push is open": intents_are_answered,
}
AT_THE_END: dict[str, Invariant] = {
    "the chain ends when faults end": finished_whole,
    "every intent is followed by its fact": every_intent_has_its_fact,
    "facts fold to rows": folds,
    "secrets are nowhere": no_secret_anywhere,
}
