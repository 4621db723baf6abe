"""Values of a pipeline: what a run does. `loader` reads and checks the file that the user writes."""

import hashlib
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Field,
)

from orchestrator.pipeline.environment_key import Environment
from orchestrator.pipeline.environments import DEFAULT, HARDWARE, Hardware, lock_of, pins_of
from orchestrator.pipeline.later_keys import LATER_KEYS, LATER_KEYS_OF_SECTIONS
from orchestrator.pipeline.sections import (
    STRICT,
    AccountOptions,
    Expect,
    Inputs,
    Name,
    OriginOptions,
    SessionLimits,
    Stage,
)
from orchestrator.pipeline.slurm_section import SlurmOptions
from orchestrator.pipeline.ssh_section import SshOptions
from orchestrator.pipeline.stage_plan import StagePlan
from stages.catalog import KINDS, find
from stages.contract import Cursor, Order, StageSpec
from stages.documents import ContractError
from stages.session.package_lock import PackageLock, names_lock

if TYPE_CHECKING:
    from stages.options import Model

NAME_CHARS_MAX = 30
"""Length limit of a pipeline's name, in characters: the numbers of run, session and attempt are appended to it."""

SHORT = {
    "max_seq_length": 160,
    "max_prompt_length": 128,
    "max_completion_length": 16,
    "overlong_buffer": 8,
    "probe_problems": 8,
}
"""Upper bounds of these options in a rehearsal with `--short`. On a laptop that emulates eight chips, a completion of
768 tokens takes minutes."""

IN_ORDER = ("seed", "model", "stages", "sources", "own_lock")
"""Pipeline keys that an order holds as fields of their own; `own_lock` is its `lock`."""

MARGIN_S_MAX = 35.0
"""Upper bound of the default margin before the session limit, in seconds. The margin covers Kaggle's own work before
the session's clock starts and after it ends."""
WIDER_S_MAX = 120.0


class Pipeline(BaseModel):
    """A whole pipeline file."""

    model_config = STRICT

    name: Annotated[Name, Field(json_schema_extra={"maxLength": NAME_CHARS_MAX})]
    """Prefix of the run's name on Kaggle; at most 30 characters."""
    seed: int = 0
    """Seed of all random numbers."""
    model: dict[str, Any] = {}
    """Options of the model to train; free-form if none of relay's own stages loads a model."""
    accelerator: Annotated[str, Field(json_schema_extra={"enum": list(HARDWARE)})] = "TpuV5E8"
    """Accelerator of the sessions; with `platform: slurm` or `ssh`, the one whose figures forecasts take."""
    platform: Literal["kaggle", "slurm", "ssh"] = "kaggle"
    """Where sessions run: in kernels of a Kaggle account, as jobs of a Slurm cluster, or on a machine with SSH."""
    slurm: SlurmOptions = SlurmOptions()
    """Where and with what the jobs of a Slurm cluster run; only with `platform: slurm`."""
    ssh: SshOptions = SshOptions()
    """Machine that sessions run on, and with what; only with `platform: ssh`."""
    session: SessionLimits = SessionLimits()
    """Time limits of one session."""
    account: AccountOptions = AccountOptions()
    """Limits of the Kaggle account, for when Kaggle does not report them or other work shares the account."""
    handoff: Literal["dataset", "kernel-output"] = "dataset"
    """Route of the checkpoint to the next session: `dataset` mounts the published dataset, `kernel-output` mounts the
    last kernel's output directly and publishes later."""
    on_timeout: Literal["resume", "park"] = "resume"
    """Action after a session was killed at its limit: `resume` continues automatically, `park` waits for the user."""
    exactness: Literal["warn", "strict"] = "warn"
    """Action of a session whose chip, compiler or packages may compute other bits than those of the sessions before it:
    `warn` goes on and reports it, `strict` ends before its first step, and the run waits for the user."""
    keep_checkpoints: Annotated[int, Field(ge=2)] = 3
    """Number of published checkpoints to keep; never fewer than two."""
    internet: bool = True
    """Internet access of sessions; needed to install pins and to download data sets."""
    environment: Environment = None
    """Packages that a session installs if its own versions differ: a list of `name==version`, a file `….lock.txt` that
    `relay environment lock` wrote, or the name of a set of pins, such as `tunix-0.1.5` for the older release; default:
    the tested pins, `tunix-0.1.7`, if a stage needs JAX."""
    inputs: Inputs = Inputs()
    """Sources that Kaggle mounts in addition to the checkpoint."""
    expect: Expect = Expect()
    """Durations, in seconds, that a forecast assumes until relay has measured them; they do not change what a run
    does. Each is a number, or a mapping with `low`, `high` and, if known, `likely` (else the geometric mean of both) and
    `source`."""
    origin: OriginOptions = OriginOptions()
    """Checkpoint of another run that the run begins from; `relay fork` and `relay start --from` fill it in."""
    fork_points: tuple[str, ...] = ()
    """Stages at whose end the session ends, so that their last checkpoint is published; it is kept for forks."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    """Stages of the run, in order; each continues from the previous stage's checkpoint."""
    sources: dict[str, str] = {}
    """Source of the user's own modules when the run began, by file name; relay fills it in, users do not write it."""
    own_lock: str = ""
    """Text of the lock file that `environment` names when the run began; relay fills it in, users do not write it."""

    @property
    def hardware(self) -> Hardware:
        """Hardware that `accelerator` names, that a cluster's jobs ask for, or that a machine offers."""
        return {"slurm": self.slurm.hardware, "ssh": self.ssh.hardware}.get(self.platform) or HARDWARE[self.accelerator]

    @property
    def slot(self) -> str:
        """Kind of slot that a session occupies: `tpu`, `gpu` or `cpu`."""
        return self.hardware.quota or "cpu"

    @property
    def limit_s(self) -> float:
        """Seconds after which Kaggle kills a session."""
        return self.session.limit_s or self.hardware.limit_s

    @property
    def save_interval_s(self) -> float:
        """Seconds between periodic checkpoints."""
        return self.session.save_interval_s or min(1800.0, self.limit_s / 4)

    @property
    def min_session_s(self) -> float:
        """Shortest session that is worth its start-up, in seconds."""
        return min(1800.0, self.limit_s / 4) if self.session.min_session_s is None else self.session.min_session_s

    @property
    def slots(self) -> int:
        """Maximum number of concurrent sessions with this accelerator."""
        return self.account.slots or self.hardware.slots

    @property
    def hours_per_week(self) -> float:
        """Weekly hours of this accelerator, used if Kaggle does not report them."""
        return self.account.hours_per_week or self.hardware.hours_per_week

    @property
    def needs_jax(self) -> bool:
        """True if any stage trains a model or generates with one."""
        return any(find(stage.kind, self.sources).needs_jax for stage in self.stages)

    @property
    def loaded_model(self) -> "Model | None":
        """Options of the model, or None if none of relay's own stages loads one."""
        kinds = [KINDS[stage.kind] for stage in self.stages if stage.kind in KINDS]
        if not any(kind.needs_jax and kind.loads_model for kind in kinds):
            return None
        from stages import options  # late: commands that only view a run need not load it

        return options.fit(options.Model, self.model, "model")

    @property
    def model_sources(self) -> tuple[str, ...]:
        """Kaggle models that a session mounts: those in `inputs.models`, and the one to train."""
        trained = self.loaded_model.kaggle_model if self.loaded_model else ""
        return tuple(dict.fromkeys((*self.inputs.models, *([trained] if trained else []))))

    @property
    def dataset_sources(self) -> tuple[str, ...]:
        """Kaggle datasets that a session mounts in addition to its checkpoint and the user's own files."""
        return (*self.inputs.datasets, *([self.inputs.wheels] if self.inputs.wheels else []))

    @property
    def pins(self) -> tuple[str, ...]:
        """Packages that a session needs installed, as `name==version`; of a lock, those that it was made from."""
        if isinstance(self.environment, tuple):
            return self.environment
        if self.own_lock:
            return PackageLock.parse(self.own_lock).pins
        return pins_of(name, self.hardware.promise.platform) if (name := self._named_environment) else ()

    @property
    def lock(self) -> str:
        """Text of the lock that sessions install from (`stages.session.package_lock`); empty for a list of pins."""
        if self.own_lock:
            return self.own_lock
        return lock_of(name, self.hardware.promise.platform) if (name := self._named_environment) else ""

    @property
    def texts(self) -> dict[str, str]:
        """Contents of the files beside the pipeline file that it is made of, by name: the user's modules, and the lock."""
        return {**self.sources, **({str(self.environment): self.own_lock} if self.own_lock else {})}

    @property
    def _named_environment(self) -> str:
        """Name of the set of pins that sessions install; empty for a list of pins, a lock file, or nothing to install."""
        if isinstance(self.environment, str):
            return "" if names_lock(self.environment) else self.environment
        return DEFAULT if self.environment is None and self.needs_jax else ""

    @property
    def specs(self) -> tuple[StageSpec, ...]:
        """Stages in the form that an order holds."""
        return tuple(StageSpec(name=s.name, kind=s.kind, steps=s.steps, options=s.options) for s in self.stages)

    @property
    def total_steps(self) -> int:
        """Sum of the steps of all stages."""
        return self.milestones.total_steps

    @property
    def milestones(self) -> StagePlan:
        """The stages, and the places in them."""
        return StagePlan(self.specs, self.origin.cursor if self.origin.continues else None)

    @property
    def alone(self) -> "Pipeline":
        """The pipeline without its origin, for what has no other run."""
        return self.model_copy(update={"origin": OriginOptions()})

    def shortened(self) -> "Pipeline":
        """Return the same pipeline with one step per stage and short sequences, to test that everything starts."""
        stages = (
            stage.model_copy(update={"steps": 1, "options": stage.options | _cut(stage.kind, stage.options)})
            for stage in self.stages
        )
        return self.model_copy(update={"stages": tuple(stages)})

    def budget_s(self, limit_s: float, timed_out: int = 0) -> float:
        """Return the seconds by which a session limited to `limit_s` has saved everything.

        Kaggle's clock and the session's differ by an unmeasured amount: each session of the run that Kaggle killed at
        its limit (`timed_out`) widens the margin of later sessions, up to a quarter of the limit in total.
        """
        margin_s = min(MARGIN_S_MAX, limit_s / 10) if self.session.margin_s is None else self.session.margin_s
        wider_s = min(limit_s / 4, timed_out * min(WIDER_S_MAX, limit_s / 100))
        return max(0.0, limit_s - margin_s - wider_s, (limit_s - margin_s) / 2)

    @property
    def kept_places(self) -> tuple[Cursor, ...]:
        """Ends of the stages in `fork_points`, in the pipeline's order, without that of the last stage."""
        return tuple(Cursor(stage=s.name, step=s.steps) for s in self.stages[:-1] if s.name in self.fork_points)

    def stop_after(self, start: Cursor) -> Cursor | None:
        """Return the first place of `fork_points` after this one, at which a session that starts here ends; or None."""
        return next((place for place in self.kept_places if self.position(place) > self.position(start)), None)

    def position(self, cursor: Cursor) -> int:
        """Return the steps done since the beginning of the pipeline; raises ValueError for an unknown stage."""
        return self.milestones.position(cursor)

    def holds(self, cursor: Cursor) -> bool:
        """Return whether the cursor exists in this pipeline; a session's log is not trusted to name a valid one."""
        return any(stage.name == cursor.stage and 0 <= cursor.step <= stage.steps for stage in self.stages)

    @property
    def beginning(self) -> Cursor:
        """Cursor of a run without a checkpoint: of a fork, the place where it leaves the other run."""
        return self.milestones.beginning

    # --- to and from text ----------------------------------------------------

    def canonical(self) -> str:
        """Return canonical JSON: equal pipelines give equal text, however their files are formatted."""
        value = self.model_dump(mode="json")
        for key, default in LATER_KEYS.items():
            if getattr(self, key) == default:
                del value[key]
        for section, key, default in LATER_KEYS_OF_SECTIONS:
            inner = value.get(section, {})
            if key in inner and inner[key] == default:
                del inner[key]
        return _canonical(value)

    def same_work(self, other: "Pipeline") -> bool:
        """Return whether both pipelines do the same work; `expect`, and what follows from `origin`, are ignored."""
        return self.work == other.work

    @property
    def work(self) -> "Pipeline":
        """The pipeline without what does not change its work: `expect`, and the checkpoint's name and digest."""
        origin = self.origin.model_copy(update={"checkpoint": "", "digest": ""})
        return self.model_copy(update={"expect": Expect(), "origin": origin})

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, in hex."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    @classmethod
    def from_canonical(cls, text: str) -> "Pipeline":
        """Parse the text that `canonical` returned."""
        return _from_canonical(text)

    @property
    def rest(self) -> dict[str, Any]:
        """Canonical form without the keys of `IN_ORDER`, which an order holds as fields."""
        return {key: value for key, value in json.loads(self.canonical()).items() if key not in IN_ORDER}


def canonical_in(order: Order) -> str | None:
    """Rebuild the canonical pipeline of an order from its parts; None if an older relay omitted some of them.

    Raises ContractError if the text does not match the order's digest.
    """
    if not order.pipeline_rest:
        return None
    stages = [{"name": s.name, "kind": s.kind, "steps": s.steps, "options": s.options} for s in order.stages]
    own = {"seed": order.seed, "model": order.model, "stages": stages, "sources": order.sources}
    if names_lock(order.pipeline_rest.get("environment")):
        own["own_lock"] = order.lock
    text = _canonical({**order.pipeline_rest, **own})
    if hashlib.sha256(text.encode()).hexdigest() != order.pipeline_digest:
        raise ContractError(f"the pipeline in {order.slug} is not the one that its digest names")
    return text


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _cut(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that exceed `SHORT`, reduced to it; a stage of the user's own is left unchanged."""
    fitted = KINDS[kind].fit(options, "options") if kind in KINDS else None
    return {name: most for name, most in SHORT.items() if getattr(fitted, name, 0) > most}


@lru_cache(maxsize=256)
def _from_canonical(text: str) -> Pipeline:
    """Parse canonical JSON; cached, because every tick of every run parses the same, immutable text."""
    return Pipeline.model_validate_json(text)
