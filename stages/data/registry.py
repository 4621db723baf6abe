"""The data sets that relay knows: where they come from, how a mounted copy is recognised, and what their rows mean."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stages.data import adapters
from stages.data.examples import Example


@dataclass(frozen=True)
class Numbered:
    """Splits by a number that each row has."""

    column: str
    train: range
    held_out: range


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """A data set on the Hugging Face hub, or a copy of it."""

    name: str
    """As `data:` names it."""
    repository: str
    revision: str
    """The commit of the repository that is fetched, so that a run sees the same rows next month; or a branch, whose commit
    is looked up by a run's first session and pinned in its checkpoints."""
    configuration: str = "default"
    train: tuple[str, ...] = ("train",)
    """Names of the split to train on: the hub's, then those that copies use."""
    held_out: tuple[str, ...] = ("test",)
    """Names of the split that is never trained on; none where the set has none."""
    columns: tuple[tuple[str, ...], ...]
    """What a copy has to have: all columns of one of these."""
    unlike: tuple[str, ...] = ()
    """Columns that tell another set which has all of `columns`."""
    known_as: tuple[str, ...]
    """Words in the name of a folder or a file by which a copy is recognised."""
    prefer: tuple[str, ...] = ()
    """Configurations by the words in names of files and folders, the best first; an empty word stands for files that name none."""
    avoid: tuple[str, ...] = ()
    """Configurations that are never read."""
    splits_named: bool = True
    """Whether a copy has to say which split its files are; where it need not, files that do not say are trained on."""
    numbered: Numbered | None = None
    """How to tell the splits apart in a file that holds all of them."""
    telling: tuple[tuple[str, ...], ...]
    """Columns by which a copy is recognised that does not bear the set's name, if its first rows are examples."""
    example: Callable[[Mapping[str, Any]], Example]


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
        ),
        KnownSet(
            name="ultrafeedback",
            repository="HuggingFaceH4/ultrafeedback_binarized",
            revision="3949bf5f8c17c394422ccfab0c31ea9c20bdeb85",
            train=("train_prefs", "train_sft", "train_gen", "train"),  # the same answers in each
            held_out=("test_prefs", "test_sft", "test_gen", "test"),
            columns=(("prompt", "chosen"), ("instruction", "completions")),
            known_as=("ultrafeedback",),
            splits_named=False,
            telling=(
                ("prompt", "prompt_id", "chosen", "rejected", "score_chosen", "score_rejected"),
                ("instruction", "models", "completions", "correct_answers", "incorrect_answers"),
            ),
            example=adapters.ultrafeedback,
        ),
        KnownSet(
            name="gsm8k",
            repository="openai/gsm8k",
            revision="e53f048856ff4f594e959d75785d2c2d37b678ee",
            configuration="main",
            columns=(("question", "answer"),),
            known_as=("gsm8k", "grade-school-math"),
            prefer=("main", ""),
            avoid=("socratic",),  # the same problems again, with subquestions in their solutions
            telling=(("question", "answer"),),
            example=adapters.gsm8k,
        ),
        KnownSet(
            name="mbpp",
            repository="google-research-datasets/mbpp",
            revision="4bb6404fdc6cacfda99d4ac4205087b89d32030c",
            configuration="full",
            columns=(("text", "code", "test_list"), ("prompt", "code", "test_list")),
            known_as=("mbpp",),
            prefer=("full", "", "sanitized"),
            avoid=("plus", "mbppplus"),  # MBPP+ has other tests, for all of which there are no splits
            unlike=("test",),  # MBPP+'s program of all its tests
            numbered=Numbered("task_id", train=range(601, 975), held_out=range(11, 511)),
            telling=(("task_id", "text", "code", "test_list"), ("task_id", "prompt", "code", "test_list")),
            example=adapters.mbpp,
        ),
    )
}
"""By name; the same names as `stages.options.training.SETS`."""
