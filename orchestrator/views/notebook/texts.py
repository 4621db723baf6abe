"""Sentences of a notebook about a pipeline: its stages, its data and its rewards."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stages import options
from stages.catalog import KINDS
from stages.contract import StageSpec
from stages.data.registry import KNOWN
from stages.options import Continued, Curate, Evaluate, Filtered, Grpo, Sft, TrainingOptions
from stages.options.training import set_and_count

ABOUT_SETS = {
    "magpie": "problems with a long chain of thought by DeepSeek-R1; the thoughts become the reasoning, the rest the answer",
    "ultrafeedback": "questions of all kinds with the better rated of two answers, for tasks that have no single right answer",
    "gsm8k": "grade-school mathematics with worked solutions and one number as the answer",
    "mbpp": "short Python tasks with tests, which a completion has to pass",
}

KIND_TITLES = {
    "sft": "Supervised fine-tuning",
    "grpo": "Reinforcement learning with GRPO",
    "curate": "Choosing hard problems",
    "continued": "GRPO on the hard problems",
    "evaluate": "Evaluation",
}


def fitted(spec: StageSpec) -> Any:
    """Return the options of a stage of one of the built-in kinds, with all defaults."""
    return KINDS[spec.kind].fit(spec.options, spec.name)


def title_of(spec: StageSpec) -> str:
    return KIND_TITLES.get(spec.kind, f"Own code: `{spec.kind}`")


def about_stage(spec: StageSpec, stages: Sequence[StageSpec]) -> str:
    """Describe what a stage does, with its values; `stages` are all of the pipeline."""
    match fitted(spec) if spec.kind in KIND_TITLES else None:
        case Sft() as found:
            return f"Teaches worked examples of {_sets(found.data)}. {_trained(found, spec)} {_learning(found)}"
        case Continued() as found:
            return (
                f"GRPO as before, on the problems that the last choice called hard; {found.replay:.0%} of each step comes "
                f"from all problems, so that nothing is forgotten. {_trained(found, spec)} {_sampling(found)} {_learning(found)}"
            )
        case Grpo() as found:
            return (
                f"The model answers problems of {_sets(found.data)}, rewards judge its completions, and those that are better "
                f"than the mean of their group become more likely. {_trained(found, spec)} {_sampling(found)} "
                f"Rewards: {_rewards(found.rewards)}. KL penalty β = {found.beta:g}. {_learning(found)}"
            )
        case Curate() as found:
            return (
                f"The model tries {spec.steps * found.batch:,} problems of {_sets(found.data)} {found.num_generations} times "
                f"each. Hard are those that it solves in some tries, but in no more than {found.solved_max:.0%}. The model stays "
                "as it is."
            )
        case Evaluate() as found:
            return (
                f"Asks up to {spec.steps * found.batch:,} held-out problems of {_sets(found.data)}, one greedy completion each, "
                f"and reports the share of right answers with its 95 % interval.{_shared_problems(spec, stages)} "
                "The model stays as it is."
            )
    return f"A stage of its own, `{spec.kind}`, for {spec.steps} steps."


def _shared_problems(spec: StageSpec, stages: Sequence[StageSpec]) -> str:
    """Return a sentence on the problems that evaluations have in common; empty for the only one, or with other data."""
    evaluations = [each for each in stages if each.kind == "evaluate"]
    if len(evaluations) == 1 or len({data_of(each) for each in evaluations}) > 1:
        return ""
    count = spec.steps * fitted(spec).batch
    if {each.steps * fitted(each).batch for each in evaluations} == {count}:
        return " Every evaluation asks the same problems."
    return f" Evaluations ask different numbers of problems: this one the first {count:,} of the same problems."


def about_strategy(stages: Sequence[StageSpec]) -> str:
    """Describe the strategy, by the kinds of stages that there are."""
    kinds = {spec.kind for spec in stages}
    lines = []
    if "sft" in kinds and kinds & {"grpo", "continued"}:
        lines.append(
            "* **Format first, truth second.** Worked examples teach the shape of an answer; reinforcement learning then makes "
            "right answers likelier than wrong ones."
        )
    if kinds & {"grpo", "continued"}:
        python = ", Python by its tests in a sandbox" if "mbpp" in sets_of(stages) else ""
        lines.append(
            "* **Rewards that can be checked.** One reward asks for exactly one reasoning and one answer, the other for the right "
            f"answer: mathematics by exact equality of values{python}. No model judges another one."
        )
    if "continued" in kinds:
        lines.append(
            "* **More sessions, harder problems.** What the model solves sometimes, but not most of the time, is chosen and "
            "trained on, mixed with all other problems."
        )
    if "evaluate" in kinds:
        lines.append(
            "* **Evaluation on held-out problems**, the same ones each time as far as they ask as many, with intervals. Training examples that overlap with "
            "them are left out."
        )
    return "\n".join(lines)


def about_sets(names: Sequence[str], files: Mapping[str, str]) -> str:
    """Describe the data sets, one line each."""
    lines = []
    for name in names:
        if name in KNOWN:
            known = KNOWN[name]
            revision = f", revision `{known.revision[:10]}`"
            link = f"[{known.repository}](https://huggingface.co/datasets/{known.repository})"
            lines.append(f"* **{name}**: {ABOUT_SETS[name]}. {link}{revision}, licence {known.licence}.")
        else:
            lines.append(
                f"* **{name}**: a JSON Lines file, to be attached as a Kaggle dataset (SHA-256 `{files.get(name, '')[:16]}…`)."
            )
    return "\n".join(lines)


def about_filters(stages: Sequence[StageSpec]) -> str:
    """Describe which examples are left out."""
    found = next((each for spec in stages if isinstance(each := fitted(spec), Filtered)), None)
    lines = [
        "* Examples whose text or program overlaps with a held-out problem of any evaluation are left out, and counted.",
        "* Problems that occur twice are used once. Which examples are taken, and in which order, depends on the seed alone.",
        "* Every example is written in the model's chat template, with the reasoning and the answer in their tags.",
    ]
    if found is not None:
        lines.append(
            f"* Worked answers with a score below {found.min_score:g} of 10, or less than {found.min_margin:g} better than the "
            f"rejected one{', refusals' if found.drop_refusals else ''}{', and other languages than English' if found.english_only else ''} "
            "are left out."
        )
    return "\n".join(lines)


def sets_of(stages: Sequence[StageSpec]) -> list[str]:
    """Return the names of all data sets in the order of their first use, without their counts."""
    return list(dict.fromkeys(set_and_count(name)[0] for spec in stages for name in data_of(spec)))


def data_of(spec: StageSpec) -> tuple[str, ...]:
    """Return the entries of a stage's `data`; none for a stage of the user's own."""
    return tuple(fitted(spec).data) if spec.kind in KIND_TITLES else ()


def asked(stages: Sequence[StageSpec]) -> Iterator[Any]:
    """Yield the options of stages that generate completions: evaluations last, whose limits hold for answers."""
    found = [fitted(spec) for spec in stages if spec.kind in KIND_TITLES]
    yield from (each for each in found if isinstance(each, Grpo))
    yield from (each for each in found if isinstance(each, options.Asking) and not isinstance(each, Grpo))


def _sets(data: Sequence[str]) -> str:
    parts = [f"{name} ({count:,})" if count else name for name, count in map(set_and_count, data)]
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def _trained(found: TrainingOptions, spec: StageSpec) -> str:
    what = (
        "all weights" if found.mode == "full" else f"a LoRA adapter of rank {found.lora_rank} (α {found.lora_alpha:g})"
    )
    parts = found.gradient_accumulation_steps
    split = f", each in {parts} parts" if parts > 1 else ""
    return f"It trains {what} for {spec.steps:,} steps of {found.batch}{split}."


def _sampling(found: Grpo) -> str:
    top_k = f", top-k {found.top_k}" if found.top_k else ""
    return (
        f"{found.num_generations} completions per problem, at temperature {found.temperature:g}{top_k}, of at most "
        f"{found.max_completion_length} tokens."
    )


def _learning(found: TrainingOptions) -> str:
    return f"AdamW, learning rate {found.learning_rate:g} ({found.schedule}), {found.warmup_steps} steps of warm-up."


def _rewards(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} × {weight:g}" for name, weight in weights.items())


def licences(names: Sequence[str]) -> list[str]:
    """Return the licences of the known sets among the names."""
    return [f"{name} {KNOWN[name].licence}" for name in names if name in KNOWN]
