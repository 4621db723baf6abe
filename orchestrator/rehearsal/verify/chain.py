"""Runs a pipeline uncut, then again in as many sessions as it is cut into, and compares the two."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.local_kaggle.sandbox import Mount
from orchestrator.rehearsal.verify import comparing
from orchestrator.rehearsal.verify.bits import Bits
from orchestrator.rehearsal.verify.comparing import Compared
from orchestrator.rehearsal.verify.cuts import SessionCut
from orchestrator.rehearsal.verify.sessions import Left, SessionProcesses, tidy
from stages.contract import Order, Parent, StageSpec
from stages.session.parent_checkpoint import MountedCheckpoint

ENDLESS_S = 1e9
"""No session is to end by its budget, and none to save by its interval."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class VerifiedChain:
    """What is verified: the order of the uncut run, what its sessions mount, and their environment."""

    order: Order
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ResumeVerdict:
    """What was found, a session at a time."""

    sessions: tuple[Compared, ...]
    missing: int
    """Steps of the uncut run that no session of the cut one has done."""

    @property
    def cuts(self) -> int:
        """How many there were."""
        return sum(session.cut is not None for session in self.sessions)

    @property
    def bits(self) -> Bits:
        """Of all checkpoints together."""
        return sum((session.bits for session in self.sessions), Bits())

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return self.missing == 0 and all(session.differing == 0 for session in self.sessions)


def order_of(pipeline: Pipeline, steps_max: int | None = None) -> Order:
    """The order of the uncut run; each stage has at most `steps_max` steps."""
    return Order(
        run=f"{pipeline.name}-verify",
        session=1,
        attempt=1,
        token="verify",
        slug=f"{pipeline.name}-uncut",
        pipeline_digest=pipeline.digest,
        seed=pipeline.seed,
        model=pipeline.model,
        stages=tuple(_limited(spec, steps_max) for spec in pipeline.specs),
        start=pipeline.beginning,
        parent=None,
        budget_s=ENDLESS_S,
        limit_s=ENDLESS_S,
        save_interval_s=ENDLESS_S,
        accelerator=pipeline.hardware.promise,
        pins=pipeline.pins,
        files=pipeline.inputs.sha256,
        datasets=pipeline.inputs.datasets,
        sources=pipeline.sources,
        trace=True,
    )


def verify(
    subject: VerifiedChain, cuts: Sequence[SessionCut], root: Path, tell: Tell, *, keep: bool = False
) -> ResumeVerdict:
    """Run both and compare; `root` is an empty folder for everything that the sessions need and leave.

    `keep` leaves it all there, otherwise what a session left goes as soon as nothing needs it. Raises Permanent where a
    session fails.
    """
    with SessionProcesses(root, subject.mounts, subject.environment) as sessions:
        tell("the uncut run")
        whole = sessions.run(_whole(subject.order, cuts), None)
        return _cut_run(subject.order, cuts, sessions, whole, tell, keep=keep)


def _cut_run(
    order: Order, cuts: Sequence[SessionCut], sessions: SessionProcesses, whole: Left, tell: Tell, *, keep: bool
) -> ResumeVerdict:
    found: list[Compared] = []
    done: set[tuple[str, int]] = set()
    parent: MountedCheckpoint | None = None
    before: Left | None = None
    previous: SessionCut | None = None
    for number, cut in enumerate([*cuts, None], start=1):
        tell(f"session {number} of {len(cuts) + 1}, {_describe(cut)}")
        asked = _next(order, number, parent, cut, cuts)
        left = sessions.run(asked, parent, cut, _step_s(whole, cut))
        start = parent.manifest.cursor if parent else None
        found.append(comparing.compared(previous, start, left, whole))
        done |= left.steps.keys()
        if before is not None and left.newest is not None and not keep:
            tidy(before)
        # A session that was killed before it saved anything is gone on from as if it had not been.
        if left.newest is not None:
            parent, before = left.newest, left
        previous = cut
    return ResumeVerdict(tuple(found), len(whole.steps.keys() - done))


def _whole(order: Order, cuts: Sequence[SessionCut]) -> Order:
    """The uncut run saves wherever a session of the cut one might, so that there is something to compare with."""
    places = {(at.stage, at.step): at for cut in cuts for at in (cut.at, cut.latest, *cut.saves)}
    return replace(order, save_at=tuple(places.values()), keep_checkpoints=len(places) + len(order.stages))


def _next(
    order: Order, number: int, parent: MountedCheckpoint | None, cut: SessionCut | None, cuts: Sequence[SessionCut]
) -> Order:
    """The order of a session that goes on from `parent`, and ends by itself at the cut at the latest."""
    asked = replace(
        order,
        session=number,
        slug=f"{order.slug.removesuffix('-uncut')}-s{number:04d}",
        keep_checkpoints=len(cuts) + 2 * len(order.stages),
        save_at=cut.saves if cut else (),
        stop_at=cut.latest if cut else None,
    )
    if parent is None:
        return asked
    manifest = parent.manifest
    name = f"c{manifest.session:04d}"
    return replace(asked, start=manifest.cursor, parent=Parent(name=name, digest=manifest.digest))


def _step_s(whole: Left, cut: SessionCut | None) -> float:
    """How long a step took in the uncut run."""
    timings = whole.report.timings if whole.report else {}
    return timings.get(f"{cut.at.stage}.step_s", 0.0) if cut else 0.0


def _describe(cut: SessionCut | None) -> str:
    return f"cut at {cut.at.stage} {cut.at.step} by {cut.how.value}" if cut else "to the end"


def _limited(spec: StageSpec, steps_max: int | None) -> StageSpec:
    return spec if steps_max is None else replace(spec, steps=min(spec.steps, steps_max))


def devices_of(order: Order) -> int:
    """How many devices the model is laid out on."""
    return int(order.model.get("mesh_fsdp", 1)) * int(order.model.get("mesh_tp", 1))
