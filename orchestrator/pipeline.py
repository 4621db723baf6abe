"""The pipeline file: what a run does. Checked whole before anything is created; every mistake is one sentence."""

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.errors import BadInput
from stages import options
from stages.catalog import KINDS
from stages.contract import Accelerator, Cursor, StageSpec

HOUR_S = 3600.0
STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Hardware(NamedTuple):
    """What Kaggle gives for one value of `accelerator` (limits: Kaggle's notebook documentation)."""

    promise: Accelerator
    limit_s: float
    slots: int
    quota: str
    """Whose weekly hours it uses: `tpu`, `gpu`, or empty."""


HARDWARE: dict[str, Hardware] = {
    "cpu": Hardware(Accelerator(platform="cpu"), 12 * HOUR_S, 5, ""),
    "TpuV5E8": Hardware(Accelerator(machine_shape="TpuV5E8", platform="tpu", devices=8), 9 * HOUR_S, 1, "tpu"),
    "TpuV6E8": Hardware(Accelerator(machine_shape="TpuV6E8", platform="tpu", devices=8), 9 * HOUR_S, 1, "tpu"),
    "NvidiaTeslaT4": Hardware(
        Accelerator(machine_shape="NvidiaTeslaT4", platform="gpu", devices=2), 12 * HOUR_S, 2, "gpu"
    ),
}

TRAINING_PINS = (
    "flax==0.12.8",
    "google-tunix==0.1.7",
    "jax==0.10.2",
    "optax==0.2.8",
    "orbax-checkpoint==0.12.8",
    "qwix==0.1.8",
    "sympy",
)
"""What bit-for-bit resume is measured with; the same pins as the `train` extra."""


JAX_EXTRAS = {"tpu": "[tpu]", "gpu": "[cuda12]"}
"""What brings the accelerator's own part of JAX, where another version than the image's has to be installed."""


class SessionLimits(BaseModel):
    """How long one Kaggle session may last, in seconds."""

    model_config = STRICT

    limit_s: Annotated[float, Field(gt=0)] | None = None
    """Kaggle kills the session after this long; default: Kaggle's own limit for the accelerator."""
    margin_s: Annotated[float, Field(ge=0)] | None = None
    """The session has everything saved this long before the limit; default: a tenth of it, at most 300."""
    save_interval_s: Annotated[float, Field(gt=0)] | None = None
    """A checkpoint at least this often; default: a quarter of the limit, at most 1,800."""
    worth_s: Annotated[float, Field(ge=0)] | None = None
    """With less quota than this left no session is started; default: a quarter of the limit, at most 1,800."""
    attempts: Annotated[int, Field(ge=1)] = 3
    """A session that failed for a passing reason is tried so often before a person is asked."""


class Inputs(BaseModel):
    """What Kaggle mounts beside the checkpoint."""

    model_config = STRICT

    datasets: tuple[str, ...] = ()
    """`owner/slug` of Kaggle datasets."""
    models: tuple[str, ...] = ()
    """`owner/model/framework/variation/version` of Kaggle models."""
    files: tuple[str, ...] = ()
    """Files of this machine, relative to the pipeline's; published once for the run as a private dataset."""
    sha256: dict[str, str] = {}
    """What the files held when the run began; relay's own note, not for the user to write."""


class Stage(BaseModel):
    """One training phase with a target."""

    model_config = STRICT

    name: str
    kind: str
    steps: Annotated[int, Field(ge=1)]
    options: dict[str, Any] = {}


class Pipeline(BaseModel):
    """The whole file."""

    model_config = STRICT

    name: str
    seed: int = 0
    model: dict[str, Any] = {}
    accelerator: str = "TpuV5E8"
    session: SessionLimits = SessionLimits()
    handoff: Literal["dataset", "kernel-output"] = "dataset"
    """`dataset`: the next session mounts the checkpoint's dataset; `kernel-output`: the last kernel's output directly."""
    on_timeout: Literal["resume", "park"] = "resume"
    """After a session was killed at its limit: go on by itself, or ask a person."""
    keep: Annotated[int, Field(ge=2)] = 3
    """Published checkpoints that are kept; never fewer than two."""
    internet: bool = True
    environment: tuple[str, ...] | None = None
    """`name==version` of what a session installs where it differs; default: what relay is tested with."""
    inputs: Inputs = Inputs()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]

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
    def worth_s(self) -> float:
        """The shortest session that is worth its start-up."""
        return min(1800.0, self.limit_s / 4) if self.session.worth_s is None else self.session.worth_s

    @property
    def pins(self) -> tuple[str, ...]:
        """What a session needs installed."""
        if self.environment is not None:
            return self.environment
        if not any(KINDS[stage.kind].needs_jax for stage in self.stages):
            return ()
        extra = JAX_EXTRAS.get(self.hardware.promise.platform, "")
        return tuple(pin.replace("jax==", f"jax{extra}==") if pin.startswith("jax==") else pin for pin in TRAINING_PINS)

    @property
    def specs(self) -> tuple[StageSpec, ...]:
        """The stages as a session needs to know them."""
        return tuple(StageSpec(name=s.name, kind=s.kind, steps=s.steps, options=s.options) for s in self.stages)

    @property
    def total_steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    def budget_s(self, limit_s: float) -> float:
        """Seconds by which a session of `limit_s` has everything saved."""
        margin_s = min(300.0, limit_s / 10) if self.session.margin_s is None else self.session.margin_s
        return max(0.0, limit_s - margin_s)

    def position(self, cursor: Cursor) -> int:
        """Steps done since the beginning of the pipeline; ValueError for a stage that it does not have."""
        done = 0
        for stage in self.stages:
            if stage.name == cursor.stage:
                return done + cursor.step
            done += stage.steps
        raise ValueError(f"the pipeline has no stage {cursor.stage}")

    @property
    def beginning(self) -> Cursor:
        """Where a run without a checkpoint stands."""
        return Cursor(stage=self.stages[0].name, step=0)

    # --- to and from text ----------------------------------------------------

    def canonical(self) -> str:
        """Canonical JSON: equal pipelines give equal text, whatever their files look like."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    @classmethod
    def from_canonical(cls, text: str) -> "Pipeline":
        """The pipeline that `canonical` wrote."""
        return _from_canonical(text)


@lru_cache(maxsize=256)
def _from_canonical(text: str) -> Pipeline:
    """Each turn of each run asks; a pipeline never changes, so one reading serves them all."""
    return Pipeline.model_validate_json(text)


def load(path: Path) -> Pipeline:
    """Read and check a pipeline file; raises BadInput naming file, key and remedy."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist: name a pipeline file, such as examples/tiny.yaml") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read as text: {error}") from error
    return parse(text, str(path), path.parent)


def parse(text: str, where: str, folder: Path = Path()) -> Pipeline:
    """Check a pipeline's text; `where` is what errors call it, `folder` what its file names are relative to."""
    try:
        value = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise BadInput(f"{where}{place}: this is not YAML: {problem}") from error
    if not isinstance(value, Mapping):
        raise BadInput(f"{where}: a pipeline is a list of keys such as name and stages; see examples/tiny.yaml")
    try:
        pipeline = Pipeline.model_validate(_tuples(value))
    except pydantic.ValidationError as error:
        raise BadInput(_sentence(error, where)) from error
    _check(pipeline, where)
    return _with_files(pipeline, where, folder)


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
    return "" if old == new else f"{key} changed from {json.dumps(old)} to {json.dumps(new)}"


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML in which a key that is given twice is a mistake, not the last one's victory."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _tuples(value: Any) -> Any:
    """YAML's lists at the places where the models hold tuples (strict models take no lists for them)."""
    found = dict(value)
    for key in ("stages", "environment"):
        if isinstance(found.get(key), list):
            found[key] = tuple(found[key])
    if isinstance(found.get("inputs"), Mapping):
        found["inputs"] = {k: tuple(v) if isinstance(v, list) else v for k, v in found["inputs"].items()}
    return found


def _with_files(pipeline: Pipeline, where: str, folder: Path) -> Pipeline:
    """The pipeline with the SHA-256 of each of its files, so that another content is another pipeline."""
    if pipeline.inputs.sha256:
        raise BadInput(_unknown(where, "inputs.sha256", "sha256", ["datasets", "models", "files"], what="key"))
    found: dict[str, str] = {}
    for index, name in enumerate(pipeline.inputs.files):
        path = folder / name
        if not path.is_file():
            raise BadInput(
                f"{where}: inputs.files[{index}]: {path} does not exist: mend the name, or make the file first"
            )
        if path.name in found:
            raise BadInput(f"{where}: inputs.files[{index}]: two files are called {path.name}: rename one")
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    _check_data(pipeline, where, set(found))
    return pipeline.model_copy(update={"inputs": pipeline.inputs.model_copy(update={"sha256": found})})


def _check_data(pipeline: Pipeline, where: str, files: set[str]) -> None:
    """A data file travels with the run, or no session would find it."""
    for index, stage in enumerate(pipeline.stages):
        name = stage.options.get("data", "")
        if name.endswith(".jsonl") and name not in files:
            raise BadInput(f"{where}: stages[{index}].options.data: {name} is not among inputs.files: list it there")


def _check(pipeline: Pipeline, where: str) -> None:
    if not SLUG.fullmatch(pipeline.name) or len(pipeline.name) > 30:
        raise BadInput(
            f"{where}: name {pipeline.name!r} becomes part of Kaggle's names: use at most 30 of a-z, 0-9 and single "
            "hyphens, beginning with a letter"
        )
    if pipeline.accelerator not in HARDWARE:
        raise BadInput(_unknown(where, "accelerator", pipeline.accelerator, list(HARDWARE)))
    if pipeline.budget_s(pipeline.limit_s) <= 0:
        raise BadInput(f"{where}: session.margin_s leaves nothing of session.limit_s ({pipeline.limit_s:g} s)")
    if pipeline.limit_s > pipeline.hardware.limit_s:
        raise BadInput(
            f"{where}: session.limit_s is {pipeline.limit_s:g}, and Kaggle ends a {pipeline.accelerator} session after "
            f"{pipeline.hardware.limit_s:g} s: use that or less"
        )
    _check_stages(pipeline, where)


def _check_stages(pipeline: Pipeline, where: str) -> None:
    seen: set[str] = set()
    for index, stage in enumerate(pipeline.stages):
        key = f"stages[{index}]"
        if not SLUG.fullmatch(stage.name):
            raise BadInput(f"{where}: {key}.name {stage.name!r}: use a-z, 0-9 and single hyphens")
        if stage.name in seen:
            raise BadInput(f"{where}: {key}.name {stage.name!r} is taken by an earlier stage: choose another")
        seen.add(stage.name)
        if stage.kind not in KINDS:
            raise BadInput(_unknown(where, f"{key}.kind", stage.kind, list(KINDS)))
        _fit(KINDS[stage.kind].fit, stage.options, where, f"{key}.options")
    if any(KINDS[stage.kind].needs_jax for stage in pipeline.stages):
        _fit(partial(options.fit, options.Model), pipeline.model, where, "model")


def _fit(fit: Callable[[Mapping[str, Any], str], Any], given: Mapping[str, Any], where: str, key: str) -> None:
    """Hold options to the dataclass that the session will read them with."""
    try:
        fit(given, key)
    except ValueError as error:
        raise BadInput(f"{where}: {error}") from error


def _sentence(error: pydantic.ValidationError, where: str) -> str:
    """The first mistake as one sentence; a misspelt key comes before the key that it therefore lacks."""
    mistakes = error.errors(include_url=False)
    first = next((mistake for mistake in mistakes if mistake["type"] == "extra_forbidden"), mistakes[0])
    location = [part for part in first["loc"] if not _is_arm(part)]
    key = _dotted(location)
    if first["type"] == "extra_forbidden":
        return _unknown(where, key, str(location[-1]), _fields(location[:-1]), what="key")
    if first["type"] == "missing":
        return f"{where}: {key} is missing: add it"
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}: {key}: {message[0].lower()}{message[1:]}, found {first['input']!r}"


def _is_arm(part: int | str) -> bool:
    """Whether pydantic put the part there to name one arm of a union, not a key."""
    return isinstance(part, str) and ("[" in part or part in ("float", "int", "str", "bool", "none"))


def _dotted(location: list[int | str]) -> str:
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return key


def _fields(location: list[int | str]) -> list[str]:
    """Keys that would have been right where `location` points."""
    nested: dict[str, type[BaseModel]] = {"session": SessionLimits, "inputs": Inputs, "stages": Stage}
    kind: type[BaseModel] = Pipeline
    for part in location:
        kind = nested.get(str(part), kind)
    return list(kind.model_fields)


def _unknown(where: str, key: str, found: str, known: list[str], what: str = "value") -> str:
    close = difflib.get_close_matches(found, known, n=1, cutoff=0.5)
    remedy = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(known)}"
    return f"{where}: {key}: {found!r} is not a {what} that relay knows: {remedy}"
