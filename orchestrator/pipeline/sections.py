"""Parts of a pipeline file: limits of sessions and of the account, inputs, expected durations, stages."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from orchestrator.base.validation import alternative
from orchestrator.pipeline.environments import HARDWARE
from orchestrator.pipeline.stage_plan import cursor_at
from stages.contract import HISTORY, Cursor

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""Form of names on Kaggle."""

NAME_REMEDY = "should be of a-z, 0-9 and single hyphens, beginning with a letter"
Name = Annotated[str, Field(json_schema_extra={"pattern": f"^{SLUG.pattern}$", "patternErrorMessage": NAME_REMEDY})]


EXPECTED_S_MAX = 30 * 24 * 3600
"""Longest duration, in seconds, that a pipeline file may expect. The models leave longer ones of old runs alone."""
_BOUND: dict[str, Any] = {"maximum": EXPECTED_S_MAX}


class SessionLimits(BaseModel):
    """Time limits of one session, in seconds."""

    model_config = STRICT

    limit_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which the platform kills the session; default: Kaggle's own limit for the accelerator."""
    margin_s: Annotated[float, Field(ge=0)] | None = None
    """Seconds before the limit by which the session has saved everything; default: a tenth of the limit, at most 35."""
    save_interval_s: Annotated[float, Field(gt=0)] | None = None
    """Longest time between two checkpoints, in seconds; default: a quarter of the limit, at most 1,800."""
    min_session_s: Annotated[float, Field(ge=0)] | None = None
    """Remaining quota, in seconds, below which no session is started; default: a quarter of the limit, at most
    1,800."""
    attempts: Annotated[int, Field(ge=1)] = 3
    """Number of attempts of a session that fails for a transient reason, before the run is parked."""


class AccountOptions(BaseModel):
    """Limits of the Kaggle account, for when Kaggle does not report them or other work shares the account."""

    model_config = STRICT

    hours_per_week: Annotated[float, Field(gt=0, le=168)] | None = None
    """Weekly quota in hours, used if Kaggle does not answer; default: 20 for a TPU, 30 for a GPU."""
    slots: Annotated[int, Field(ge=1)] | None = None
    """Concurrent sessions with this accelerator, over all runs; default: Kaggle's 1 (TPU), 2 (GPU) or 5 (CPU)."""


class Inputs(BaseModel):
    """Sources that Kaggle mounts in addition to the checkpoint."""

    model_config = STRICT

    datasets: tuple[str, ...] = ()
    """Kaggle datasets, as `owner/slug`."""
    models: tuple[str, ...] = ()
    """Kaggle models, as `owner/model/framework/variation/version`."""
    files: tuple[str, ...] = ()
    """Local files, relative to the pipeline file; published once per run as a private dataset."""
    wheels: str = ""
    """`owner/slug` of the dataset that `relay environment publish` made of the packages that sessions install; they
    are then installed from it."""
    sha256: dict[str, str] = {}
    """SHA-256 of each file when the run began; relay fills it in, users do not write it."""


class OriginOptions(BaseModel):
    """Checkpoint of another run that the run begins from; `relay fork` and `relay start --from` fill it in."""

    model_config = STRICT

    run: str = ""
    """Id of the other run, in the same home folder; empty for a run that begins with an untrained model."""
    at: str = ""
    """Place of the checkpoint in that run, as `stage:step`."""
    keeps: Literal["history", "optimizer", "weights"] = "history"
    """State that is taken over: `history` continues that run at the same step (a fork), `optimizer` begins the first stage
    with its weights and its optimizer's state, `weights` with its weights alone."""
    checkpoint: str = ""
    """Name of the checkpoint; empty for the newest at `at`."""
    digest: str = ""
    """SHA-256 of the checkpoint's manifest; empty for that of the checkpoint."""

    @property
    def cursor(self) -> Cursor:
        """The place of the checkpoint. Raises ValueError if `at` has another form than `stage:step`."""
        return cursor_at(self.at)

    @property
    def continues(self) -> bool:
        """True if the run is a fork, which continues another run's history."""
        return bool(self.run) and self.keeps == HISTORY


class ExpectedDuration(BaseModel):
    """Range of a duration, in seconds, with its source."""

    model_config = STRICT

    low: Annotated[float, Field(gt=0, json_schema_extra=_BOUND)]
    """Seconds in the best case."""
    high: Annotated[float, Field(gt=0, json_schema_extra=_BOUND)]
    """Seconds in the worst case."""
    likely: Annotated[float, Field(gt=0, json_schema_extra=_BOUND)] | None = None
    """Most likely seconds; default: the geometric mean of `low` and `high`."""
    source: str = ""
    """Source of the figures, in words; `relay plan` prints it."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low <= self.usual <= self.high:
            between = "" if self.likely is None else f", and likely {self.likely:g}"
            raise ValueError(f"low is {self.low:g} and high {self.high:g}{between}: write them in ascending order")
        return self

    @property
    def usual(self) -> float:
        """`likely`, or the geometric mean: a worst case of four times the best one is twice the usual one."""
        return (self.low * self.high) ** 0.5 if self.likely is None else self.likely


_NUMBER, _RANGE = alternative("number"), alternative("range")


def _form(value: Any) -> str:
    return _RANGE if isinstance(value, (dict, ExpectedDuration)) else _NUMBER


_Range = Annotated[ExpectedDuration, Tag(_RANGE)]
_AboveZero = Annotated[Annotated[float, Field(gt=0, json_schema_extra=_BOUND)], Tag(_NUMBER)]
_FromZero = Annotated[Annotated[float, Field(ge=0, json_schema_extra=_BOUND)], Tag(_NUMBER)]
_Seconds = Annotated[_FromZero | _Range, Discriminator(_form)]


class Expect(BaseModel):
    """Durations, in seconds, that a forecast assumes until relay has measured them: each a number, or a mapping with
    `low`, `high` and, if known, `likely` and `source`. None may be longer than 30 days.

    They do not change what a run does.
    """

    model_config = STRICT

    accelerator: Annotated[str, Field(json_schema_extra={"enum": list(HARDWARE)})] | None = None
    """Accelerator that the durations hold for; on another one the forecast leaves them out; default: the pipeline's
    own."""
    step_s: dict[str, Annotated[_AboveZero | _Range, Discriminator(_form)]] = {}
    """Seconds per step, by the stage's name; a kind's name applies to every stage of that kind that is not named
    itself."""
    first_s: _Seconds | None = None
    """Extra seconds of a stage's first step in a session, for loading the model and compiling; default: 300, and 1
    without JAX."""
    startup_s: _Seconds | None = None
    """Seconds from a session's start until its first stage begins, for installing, and for verifying and unpacking the
    checkpoint; default: 240, and 10 if nothing is installed."""
    save_s: _Seconds | None = None
    """Seconds to save a checkpoint; default: 30, and 1 without JAX."""
    queue_s: _Seconds | None = None
    """Seconds from a push until the session runs; default: 900 for a TPU, 120 for a GPU, 30 for a CPU."""
    handover_s: _Seconds | None = None
    """Seconds from a session's end until the next push, in which the checkpoint is downloaded and published; default:
    600."""

    def too_long(self) -> Iterator[tuple[str, float]]:
        """Yield key and seconds of each duration that is longer than EXPECTED_S_MAX."""
        told = {f"step_s.{name}": value for name, value in self.step_s.items()}
        told |= {name: getattr(self, name) for name in type(self).model_fields if name not in ("accelerator", "step_s")}
        for key, value in told.items():
            seconds: dict[str, float | None] = (
                {f".{name}": getattr(value, name) for name in ("low", "likely", "high")}
                if isinstance(value, ExpectedDuration)
                else {"": value}
            )
            yield from (
                (key + name, each) for name, each in seconds.items() if each is not None and each > EXPECTED_S_MAX
            )


class Stage(BaseModel):
    """Training phase with a target."""

    model_config = STRICT

    name: Name
    """Name of the stage in checkpoints, logs and metrics; unique within the pipeline."""
    kind: str
    """Kind of the stage: one of relay's kinds, or `module:function` of your own."""
    steps: Annotated[int, Field(ge=1)]
    """Number of steps of the stage, over all sessions."""
    options: dict[str, Any] = {}
    """Options of the stage's kind; a stage of your own defines its own options."""
