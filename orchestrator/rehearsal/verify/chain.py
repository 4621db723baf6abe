"""Run a pipeline uncut, run it again cut into sessions, and compare the two."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.local_kaggle.sandbox import Mount
from orchestrator.rehearsal.verify import comparing
from orchestrator.rehearsal.verify.bits import Bits
from orchestrator.rehearsal.verify.comparing import Compared
from orchestrator.rehearsal.verify.cuts import SessionCut
from orchestrator.rehearsal.verify.sessions import SessionLeftovers, SessionProcesses, tidy
from stages.contract import Order, Parent, StageSpec
from stages.numerics import Numerics
from stages.session.parent_checkpoint import MountedCheckpoint

ENDLESS_S = 1e9
"""Budget, limit and save interval of verified sessions, in seconds: so large that none of them is ever reached."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class VerifiedChain:
    """Input of a verification: the order of the uncut run, and its sessions' mounts and environment variables."""

    order: Order
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ResumeVerdict:
    """Result of a verification: one comparison per session of the cut run."""

    sessions: tuple[Compared, ...]
    missing: int
    """Number of steps of the uncut run that no session of the cut run did."""
    numerics: Numerics | None = None
    """Machine, compiler and packages for which the result holds; None if no stage computes numbers with JAX."""

    @property
    def cuts(self) -> int:
        """Number of cuts that were made."""
        return sum(session.cut is not None for session in self.sessions)

    @property
    def bits(self) -> Bits:
        """Differing bits, summed over all checkpoints."""
        return sum((session.bits for session in self.sessions), Bits())

    @property
    def equal(self) -> bool:
        """True if no bit differs and no step is missing."""
        return self.missing == 0 and all(session.differing == 0 for session in self.sessions)


def order_of(pipeline: Pipeline, steps_max: int | None = None) -> Order:
    """Return the order of the uncut run, with at most `steps_max` steps in each stage."""
    return Order(
        run=f"{pipeline.name}-verify",
        session=1,
        attempt=1,
        token="verify",
        slug=f"{pipeline.name}-uncut",
        pipeline_digest=pipeline.digest,
        seed=pipeline.seed,
        model=pipeline.model,
        stages=tuple(_with_steps_max(spec, steps_max) for spec in pipeline.specs),
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
    """Run the pipeline uncut and cut, and compare; `root` is an empty folder for the sessions' inputs and outputs.

    With `keep`, all outputs stay there; otherwise a session's output is deleted once no later session needs it. Raises
    Permanent if a session fails.
    """
    with SessionProcesses(root, subject.mounts, subject.environment) as sessions:
        tell("the uncut run")
        whole = sessions.run(_uncut_order(subject.order, cuts), None)
        return _cut_run(subject.order, cuts, sessions, whole, tell, keep=keep)


def _cut_run(
    order: Order,
    cuts: Sequence[SessionCut],
    sessions: SessionProcesses,
    whole: SessionLeftovers,
    tell: Tell,
    *,
    keep: bool,
) -> ResumeVerdict:
    found: list[Compared] = []
    done: set[tuple[str, int]] = set()
    parent: MountedCheckpoint | None = None
    before: SessionLeftovers | None = None
    previous: SessionCut | None = None
    for number, cut in enumerate([*cuts, None], start=1):
        tell(f"session {number} of {len(cuts) + 1}, {_describe(cut)}")
        asked = _session_order(order, number, parent, cut, cuts)
        left = sessions.run(asked, parent, cut, _step_s(whole, cut))
        start = parent.manifest.cursor if parent else None
        found.append(comparing.compared(previous, start, left, whole))
        done |= left.steps.keys()
        if before is not None and left.newest is not None and not keep:
            tidy(before)
        # A session that was killed before its first save leaves no checkpoint: the next one resumes from the previous
        # parent.
        if left.newest is not None:
            parent, before = left.newest, left
        previous = cut
    return ResumeVerdict(tuple(found), len(whole.steps.keys() - done), _numerics(whole))


def _numerics(whole: SessionLeftovers) -> Numerics | None:
    """Return the record of the newest checkpoint of the uncut run, which lists the packages too."""
    record = whole.newest.manifest.numerics if whole.newest else None
    return record if record is not None and record.claims else None


def _uncut_order(order: Order, cuts: Sequence[SessionCut]) -> Order:
    """Return the order of the uncut run. It saves wherever a cut session may save, to have checkpoints to compare."""
    places = {(at.stage, at.step): at for cut in cuts for at in (cut.at, cut.latest, *cut.saves)}
    return replace(order, save_at=tuple(places.values()), keep_checkpoints=len(places) + len(order.stages))


def _session_order(
    order: Order, number: int, parent: MountedCheckpoint | None, cut: SessionCut | None, cuts: Sequence[SessionCut]
) -> Order:
    """Return the order of a session that resumes from `parent` and stops at the cut at the latest."""
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


def _step_s(whole: SessionLeftovers, cut: SessionCut | None) -> float:
    """Step time of the cut's stage in the uncut run, in seconds."""
    timings = whole.report.timings if whole.report else {}
    return timings.get(f"{cut.at.stage}.step_s", 0.0) if cut else 0.0


def _describe(cut: SessionCut | None) -> str:
    return f"cut at {cut.at.stage} {cut.at.step} by {cut.how.value}" if cut else "to the end"


def _with_steps_max(spec: StageSpec, steps_max: int | None) -> StageSpec:
    return spec if steps_max is None else replace(spec, steps=min(spec.steps, steps_max))


def devices_of(order: Order) -> int:
    """Return the number of devices over which the model is sharded (FSDP × tensor parallel)."""
    return int(order.model.get("mesh_fsdp", 1)) * int(order.model.get("mesh_tp", 1))
