"""Quick evaluation on some held-out problems when a session begins or resumes a stage."""

from dataclasses import dataclass, field, fields

from stages.data import Example, derive_seed, examples_at
from stages.options import Asking, TrainingOptions
from stages.rewards import correctness_reward, structure_reward
from stages.session.time_accounting import TimeClass
from stages.stage import Context
from stages.training.generate import Generator
from stages.training.initial_state import StageState
from stages.training.stage_data import judged_problems

DATA = ("gsm8k",)
"""Default data sets, for pipelines without an evaluate stage."""


@dataclass
class ProbeMetrics:
    """Additional metrics for the first step of a session; their names begin with `check_`."""

    metrics: dict[str, float] = field(default_factory=dict)

    def take(self) -> dict[str, float]:
        """Return the metrics on the first call; an empty dict afterwards."""
        found, self.metrics = self.metrics, {}
        return found


def check(context: Context, options: TrainingOptions, standing: StageState) -> ProbeMetrics:
    """Evaluate `options.probe_problems` held-out problems. Does not affect anything that training depends on."""
    if not options.probe_problems:
        return ProbeMetrics()
    spec = next((stage for stage in context.plan if stage.kind == "evaluate"), None)
    prompt_options = options if isinstance(options, Asking) else _prompt_options(spec.options if spec else {})
    data = tuple(spec.options.get("data", DATA)) if spec else DATA
    problems = judged_problems(context, standing.foundation, data, prompt_options).held_out
    chosen = examples_at(problems, 1, min(options.probe_problems, len(problems)), derive_seed(context.seed, "evaluate"))
    with context.doing(TimeClass.EVALUATION):
        answers = Generator(standing.foundation, prompt_options, standing.model).greedy(chosen, len(chosen)).texts
    return ProbeMetrics(rates(chosen, answers))


def rates(examples: list[Example], answers: list[str]) -> dict[str, float]:
    """Compute `check_format` and `check_accuracy`, shares of the answers."""
    right = correctness_reward([], answers, answer=[e.answer for e in examples], domain=[e.domain for e in examples])
    shaped = structure_reward([], answers)
    return {"check_format": sum(shaped) / len(answers), "check_accuracy": sum(right) / len(answers)}


def _prompt_options(options: dict[str, object]) -> Asking:
    known = {each.name: options[each.name] for each in fields(Asking) if each.name in options}
    return Asking(**known)  # type: ignore[arg-type]
