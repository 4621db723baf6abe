"""The pipeline: what a run does, as values. `pipeline_file` reads and checks what people write."""

import hashlib
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from orchestrator.pipeline.environments import ENVIRONMENTS, HARDWARE, JAX_EXTRAS, TRAINING_PINS, Hardware
from orchestrator.pipeline.stage_summary import StageRef, StageRefs
from stages.catalog import KINDS, find
from stages.contract import Cursor, Order, StageSpec
from stages.documents import ContractError

if TYPE_CHECKING:
    from stages.options import Model

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""What Kaggle's names are made of."""

NAME_CHARS_MAX = 30
"""Of a pipeline's name: run, session and attempt are put behind it."""

NAME_REMEDY = "should be of a-z, 0-9 and single hyphens, beginning with a letter"
Name = Annotated[str, Field(json_schema_extra={"pattern": f"^{SLUG.pattern}$", "patternErrorMessage": NAME_REMEDY})]
Environment = Annotated[str, WithJsonSchema({"enum": list(ENVIRONMENTS)})]

SHORT = {"max_seq_length": 160, "max_prompt_length": 128, "max_completion_length": 16, "overlong_buffer": 8, "check": 8}
"""What a rehearsal of the start leaves of these options. An answer of 768 tokens takes a laptop that plays eight chips minutes."""

IN_ORDER = ("seed", "model", "stages", "sources")
"""Keys of a pipeline that an order holds by themselves."""

VALUE_CHARS_MAX = 200
"""A longer value, such as a module of the user's own, says less by being quoted than by its name."""


MARGIN_S_MAX = 35.0
"""Before the limit, unless a pipeline says otherwise: for what Kaggle does before the session's clock begins and after it ends."""
WIDER_S_MAX = 120.0


class SessionLimits(BaseModel):
    """How long one Kaggle session may last, in seconds."""

    model_config = STRICT

    limit_s: Annotated[float, Field(gt=0)] | None = None
    """Kaggle kills the session after this long; default: Kaggle's own limit for the accelerator."""
    margin_s: Annotated[float, Field(ge=0)] | None = None
    """The session has everything saved this long before the limit; default: a tenth of it, at most 35."""
    save_interval_s: Annotated[float, Field(gt=0)] | None = None
    """A checkpoint is made at least this often; default: a quarter of the limit, at most 1,800."""
    min_session_s: Annotated[float, Field(ge=0)] | None = None
    """With less quota left than this no session is started; default: a quarter of the limit, at most 1,800."""
    attempts: Annotated[int, Field(ge=1)] = 3
    """A session that failed for a passing reason is tried so often before a person is asked."""


class AccountOptions(BaseModel):
    """What the Kaggle account allows, for where Kaggle itself does not say or other things run beside relay."""

    model_config = STRICT

    hours_per_week: Annotated[float, Field(gt=0)] | None = None
    """Believed where Kaggle does not answer; default: 20 for a TPU, 30 for a GPU."""
    slots: Annotated[int, Field(ge=1)] | None = None
    """Sessions of this accelerator at once, all runs together; default: Kaggle's 1 (TPU), 2 (GPU) or 5 (CPU)."""


class Inputs(BaseModel):
    """What Kaggle mounts beside the checkpoint."""

    model_config = STRICT

    datasets: tuple[str, ...] = ()
    """`owner/slug` of Kaggle datasets."""
    models: tuple[str, ...] = ()
    """`owner/model/framework/variation/version` of Kaggle models."""
    files: tuple[str, ...] = ()
    """Files of this machine, relative to the pipeline's; published once for the run as a private dataset."""
    wheels: str = ""
    """`owner/slug` of the dataset that `relay environment publish` made of what sessions install, so that they do it from there."""
    sha256: dict[str, str] = {}
    """What the files held when the run began; relay's own note, not for the user to write."""


class Expect(BaseModel):
    """Seconds that a forecast reckons with until relay has measured them. They change nothing that a run does."""

    model_config = STRICT

    step_s: dict[str, Annotated[float, Field(gt=0)]] = {}
    """A step of a stage, by the stage's name; one by a kind holds for every stage of that kind that is not named."""
    first_s: Annotated[float, Field(ge=0)] | None = None
    """What a stage's first step in a session takes beyond the others: loading the model, compiling; default: 300, and 1 without JAX."""
    startup_s: Annotated[float, Field(ge=0)] | None = None
    """From a session's start until its first stage begins: installing, checking and unpacking the checkpoint; default: 240, and 10 where
    nothing is installed."""
    save_s: Annotated[float, Field(ge=0)] | None = None
    """Saving a checkpoint; default: 30, and 1 without JAX."""
    queue_s: Annotated[float, Field(ge=0)] | None = None
    """From a push until the session runs; default: 900 for a TPU, 120 for a GPU, 30 for a CPU."""
    handover_s: Annotated[float, Field(ge=0)] | None = None
    """From a session's end until the next is pushed: its checkpoint comes here and is published; default: 600."""


class Stage(BaseModel):
    """One training phase with a target."""

    model_config = STRICT

    name: Name
    """What the stage is called in checkpoints, logs and metrics, once in a pipeline."""
    kind: str
    """What it does: one of relay's kinds, or `module:function` of your own."""
    steps: Annotated[int, Field(ge=1)]
    """How many steps it is to do, over all sessions."""
    options: dict[str, Any] = {}
    """The options of its kind; a stage of your own reads whatever it likes."""


class Pipeline(BaseModel):
    """The whole file."""

    model_config = STRICT

    name: Annotated[Name, Field(json_schema_extra={"maxLength": NAME_CHARS_MAX})]
    """What the run is called on Kaggle, with a few characters behind it; at most 30 characters."""
    seed: int = 0
    """Of everything that is random."""
    model: dict[str, Any] = {}
    """The model that is trained; without a stage of relay's own that loads one, whatever your stages read."""
    accelerator: Annotated[str, Field(json_schema_extra={"enum": list(HARDWARE)})] = "TpuV5E8"
    """What Kaggle's session runs on."""
    session: SessionLimits = SessionLimits()
    """How long one Kaggle session may last."""
    account: AccountOptions = AccountOptions()
    """What the Kaggle account allows, where Kaggle does not say or other things run beside relay."""
    handoff: Literal["dataset", "kernel-output"] = "dataset"
    """How the next session gets the checkpoint: `dataset` mounts the dataset that it was published as, `kernel-output` the last
    kernel's output directly, and publishes at leisure."""
    on_timeout: Literal["resume", "park"] = "resume"
    """After a session was killed at its limit: go on by itself (`resume`), or ask a person (`park`)."""
    keep_checkpoints: Annotated[int, Field(ge=2)] = 3
    """Published checkpoints that are kept; never fewer than two."""
    internet: bool = True
    """Whether sessions may reach the internet; installing pins and fetching data sets needs it."""
    environment: tuple[str, ...] | Environment | None = None
    """`name==version` of what a session installs where it differs, or a name for such pins, as `tunix-0.1.5` for the older
    release; default: what relay is tested with, `tunix-0.1.7`, where a stage needs JAX."""
    inputs: Inputs = Inputs()
    """What Kaggle mounts beside the checkpoint."""
    expect: Expect = Expect()
    """Seconds that a forecast reckons with until relay has measured them; nothing that a run does depends on it."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    """What the run does, in order; each goes on from the checkpoint of the one before."""
    sources: dict[str, str] = {}
    """The user's own modules, by file name: relay's copy of what they were when the run began, not for the user to write."""

    # --- read off ------------------------------------------------------------

    @property
    def hardware(self) -> Hardware:
        """What `accelerator` stands for."""
        return HARDWARE[self.accelerator]

    @property
    def slot(self) -> str:
        """What a session takes a slot of: `tpu`, `gpu` or `cpu`."""
        return self.hardware.quota or "cpu"

    @property
    def limit_s(self) -> float:
        """Seconds until Kaggle kills a session."""
        return self.session.limit_s or self.hardware.limit_s

    @property
    def save_interval_s(self) -> float:
        """Seconds between periodic checkpoints."""
        return self.session.save_interval_s or min(1800.0, self.limit_s / 4)

    @property
    def min_session_s(self) -> float:
        """The shortest session that is worth its start-up."""
        return min(1800.0, self.limit_s / 4) if self.session.min_session_s is None else self.session.min_session_s

    @property
    def slots(self) -> int:
        """How many sessions of this accelerator may be alive at once."""
        return self.account.slots or self.hardware.slots

    @property
    def hours_per_week(self) -> float:
        """Hours of this accelerator that a week has, where Kaggle does not say."""
        return self.account.hours_per_week or self.hardware.hours_per_week

    @property
    def needs_jax(self) -> bool:
        """Whether any stage trains or asks a model."""
        return any(find(stage.kind, self.sources).needs_jax for stage in self.stages)

    @property
    def loaded_model(self) -> "Model | None":
        """The options of the model, or None where no stage of relay's own loads one."""
        loads = any(stage.kind in KINDS and KINDS[stage.kind].needs_jax for stage in self.stages)
        if not loads:
            return None
        from stages import options  # who only looks at a run need not wait for it

        return options.fit(options.Model, self.model, "model")

    @property
    def model_sources(self) -> tuple[str, ...]:
        """The Kaggle models that a session mounts: those that `inputs.models` lists, and the one that is trained."""
        trained = self.loaded_model.kaggle_model if self.loaded_model else ""
        return tuple(dict.fromkeys((*self.inputs.models, *([trained] if trained else []))))

    @property
    def dataset_sources(self) -> tuple[str, ...]:
        """The Kaggle datasets that a session mounts beside its checkpoint and the user's own files."""
        return (*self.inputs.datasets, *([self.inputs.wheels] if self.inputs.wheels else []))

    @property
    def pins(self) -> tuple[str, ...]:
        """What a session needs installed."""
        if isinstance(self.environment, tuple):
            return self.environment
        if self.environment is None and not self.needs_jax:
            return ()
        extra = JAX_EXTRAS.get(self.hardware.promise.platform, "")
        pins = TRAINING_PINS if self.environment is None else ENVIRONMENTS[self.environment]
        return tuple(pin.replace("jax==", f"jax{extra}==") if pin.startswith("jax==") else pin for pin in pins)

    @property
    def specs(self) -> tuple[StageSpec, ...]:
        """The stages as a session needs to know them."""
        return tuple(StageSpec(name=s.name, kind=s.kind, steps=s.steps, options=s.options) for s in self.stages)

    @property
    def total_steps(self) -> int:
        """Steps of all stages together."""
        return self.milestones.total_steps

    @property
    def milestones(self) -> StageRefs:
        """The stages as one counts them."""
        return StageRefs(tuple(StageRef(stage.name, stage.kind, stage.steps) for stage in self.stages))

    def shortened(self) -> "Pipeline":
        """The same pipeline with one step of each stage and short sequences: enough to see everything start."""
        stages = (
            stage.model_copy(update={"steps": 1, "options": stage.options | _cut(stage.kind, stage.options)})
            for stage in self.stages
        )
        return self.model_copy(update={"stages": tuple(stages)})

    def budget_s(self, limit_s: float, timed_out: int = 0) -> float:
        """Seconds by which a session of `limit_s` has everything saved.

        Kaggle's clock and the session's are not the same one, and nobody has measured how far they are apart: each session of a run
        that Kaggle stopped at its limit (`timed_out`) makes the margin of those that follow wider, by a quarter of the limit in all.
        """
        margin_s = min(MARGIN_S_MAX, limit_s / 10) if self.session.margin_s is None else self.session.margin_s
        wider_s = min(limit_s / 4, timed_out * min(WIDER_S_MAX, limit_s / 100))
        return max(0.0, limit_s - margin_s - wider_s, (limit_s - margin_s) / 2)

    def position(self, cursor: Cursor) -> int:
        """Steps done since the beginning of the pipeline; ValueError for a stage that it does not have."""
        return self.milestones.position(cursor)

    def holds(self, cursor: Cursor) -> bool:
        """Whether the pipeline has such a place: a session's log may say anything."""
        return any(stage.name == cursor.stage and 0 <= cursor.step <= stage.steps for stage in self.stages)

    @property
    def beginning(self) -> Cursor:
        """Where a run without a checkpoint stands."""
        return self.milestones.beginning

    # --- to and from text ----------------------------------------------------

    def canonical(self) -> str:
        """Canonical JSON: equal pipelines give equal text, whatever their files look like."""
        value = self.model_dump(mode="json")
        if self.expect == Expect():
            del value["expect"]  # runs of a relay without this key have digests without it
        return _canonical(value)

    def same_work(self, other: "Pipeline") -> bool:
        """Whether both do the same, whatever is expected of their times."""
        return self.model_copy(update={"expect": Expect()}) == other.model_copy(update={"expect": Expect()})

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    @classmethod
    def from_canonical(cls, text: str) -> "Pipeline":
        """The pipeline that `canonical` wrote."""
        return _from_canonical(text)

    @property
    def rest(self) -> dict[str, Any]:
        """What an order does not say anyway: the canonical form without the keys of `IN_ORDER`."""
        return {key: value for key, value in json.loads(self.canonical()).items() if key not in IN_ORDER}


def canonical_in(order: Order) -> str | None:
    """The canonical pipeline that an order was made for, put together from its parts; None where an older relay left some out.

    The text is proven by the order's digest of it; raises ContractError where it is another one.
    """
    if not order.pipeline_rest:
        return None
    stages = [{"name": s.name, "kind": s.kind, "steps": s.steps, "options": s.options} for s in order.stages]
    own = {"seed": order.seed, "model": order.model, "stages": stages, "sources": order.sources}
    text = _canonical({**order.pipeline_rest, **own})
    if hashlib.sha256(text.encode()).hexdigest() != order.pipeline_digest:
        raise ContractError(f"the pipeline in {order.slug} is not the one that its digest names")
    return text


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _cut(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Those of the stage's options that are longer than `SHORT`, cut; a stage of the user's own keeps what it has."""
    fitted = KINDS[kind].fit(options, "options") if kind in KINDS else None
    return {name: most for name, most in SHORT.items() if getattr(fitted, name, 0) > most}


@lru_cache(maxsize=256)
def _from_canonical(text: str) -> Pipeline:
    """Each turn of each run asks; a pipeline never changes, so one reading serves them all."""
    return Pipeline.model_validate_json(text)


def first_difference(old: Any, new: Any, key: str = "") -> str:
    """The first key in which two pipelines' JSON differs, with both values; empty where they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            found = first_difference(old.get(name), new.get(name), f"{key}.{name}" if key else name)
            if found:
                return found
        return ""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            found = first_difference(before, after, f"{key}[{index}]")
            if found:
                return found
        return ""
    if old == new:
        return ""
    before, after = json.dumps(old), json.dumps(new)
    whole = max(len(before), len(after)) <= VALUE_CHARS_MAX
    return f"{key} changed from {before} to {after}" if whole else f"{key} changed"
