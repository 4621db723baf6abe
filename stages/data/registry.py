"""Built-in data sets: their sources, how mounted copies are recognised, and the adapters of their rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stages.data import adapters
from stages.data.examples import Example


@dataclass(frozen=True)
class Numbered:
    """Splits defined by ranges of a number column."""

    column: str
    train: range
    held_out: range


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """A data set on the Hugging Face hub, with the properties of its copies."""

    name: str
    """Name in `data:`."""
    repository: str
    revision: str
    """Commit of the repository to fetch, so that the rows never change; or a branch, whose commit is resolved by a
    run's first session and pinned in its checkpoints."""
    configuration: str = "default"
    train: tuple[str, ...] = ("train",)
    """Names of the training split: the hub's first, then those used in copies."""
    held_out: tuple[str, ...] = ("test",)
    """Names of the held-out split; empty if the set has none."""
    columns: tuple[tuple[str, ...], ...]
    """Required columns: a copy must have all columns of one of these tuples."""
    unlike: tuple[str, ...] = ()
    """Columns that identify a different set with the same `columns`."""
    known_as: tuple[str, ...]
    """Words in folder or file names by which a copy is recognised."""
    prefer: tuple[str, ...] = ()
    """Configurations, as words in file and folder names, best first; the empty word means names without a
    configuration."""
    avoid: tuple[str, ...] = ()
    """Configurations, as words in file and folder names, that are never read."""
    splits_named: bool = True
    """True if file names of a copy must contain the split. If False, files without a split are used for training."""
    numbered: Numbered | None = None
    """Splits by number, for files that hold all splits."""
    telling: tuple[tuple[str, ...], ...]
    """Columns by which a copy without the set's name is recognised, provided that its first rows are valid examples."""
    example: Callable[[Mapping[str, Any]], Example]
    licence: str
    """Licence of the set by Hugging Face's name for it, for the card of a model that was trained on it."""


KNOWN: Mapping[str, KnownSet] = {
    known.name: known
    for known in (
        KnownSet(
            name="magpie",
            repository="Magpie-Align/Magpie-Reasoning-V2-250K-CoT-Deepseek-R1-Llama-70B",
            revision="main",
            held_out=(),
            columns=(("instruction", "response"),),
            known_as=("magpie",),
            splits_named=False,
            telling=(("instruction", "response", "gen_input_configs", "difficulty"),),
            example=adapters.magpie,
            licence="llama3.3",
        ),
        KnownSet(
            name="ultrafeedback",
            repository="HuggingFaceH4/ultrafeedback_binarized",
            revision="3949bf5f8c17c394422ccfab0c31ea9c20bdeb85",
            train=("train_prefs", "train_sft", "train_gen", "train"),  # all contain the same answers
            held_out=("test_prefs", "test_sft", "test_gen", "test"),
            columns=(("prompt", "chosen"), ("instruction", "completions")),
            known_as=("ultrafeedback",),
            splits_named=False,
            telling=(
                ("prompt", "prompt_id", "chosen", "rejected", "score_chosen", "score_rejected"),
                ("instruction", "models", "completions", "correct_answers", "incorrect_answers"),
            ),
            example=adapters.ultrafeedback,
            licence="mit",
        ),
        KnownSet(
            name="gsm8k",
            repository="openai/gsm8k",
            revision="e53f048856ff4f594e959d75785d2c2d37b678ee",
            configuration="main",
            columns=(("question", "answer"),),
            known_as=("gsm8k", "grade-school-math"),
            prefer=("main", ""),
            avoid=("socratic",),  # the same problems, with subquestions in the solutions
            telling=(("question", "answer"),),
            example=adapters.gsm8k,
            licence="mit",
        ),
        KnownSet(
            name="mbpp",
            repository="google-research-datasets/mbpp",
            revision="4bb6404fdc6cacfda99d4ac4205087b89d32030c",
            configuration="full",
            columns=(("text", "code", "test_list"), ("prompt", "code", "test_list")),
            known_as=("mbpp",),
            prefer=("full", "", "sanitized"),
            avoid=("plus", "mbppplus"),  # MBPP+ has other tests and no splits
            unlike=("test",),  # column of MBPP+ with all its tests as one program
            numbered=Numbered("task_id", train=range(601, 975), held_out=range(11, 511)),
            telling=(("task_id", "text", "code", "test_list"), ("task_id", "prompt", "code", "test_list")),
            example=adapters.mbpp,
            licence="cc-by-4.0",
        ),
    )
}
"""Built-in data sets by name; the names equal `stages.options.training.SETS`."""
