"""What the pipeline's `model:` may say."""

from dataclasses import dataclass
from typing import Annotated

from stages.options.rules import POSITIVE, Rule, ValidatedOptions, one_of

KINDS = ("gemma2-2b", "gemma3-1b", "gemma2", "gemma3")

SOURCE = Rule(
    remedy="owner/model/framework/variation/version on Kaggle, owner/name on Hugging Face, or a path",
    form=r"[/.][\s\S]*|[^/]*/[^/]*|[^/]*(/[^/]*){4}",
)

SYSTEM = (
    "Solve the problem. First think step by step between <reasoning> and </reasoning>, then give only the final answer "
    "between <answer> and </answer>."
)


@dataclass(frozen=True, kw_only=True)
class Model(ValidatedOptions):
    """The model that a pipeline trains, loaded from files."""

    kind: Annotated[str, Rule(remedy=f"one of {', '.join(KINDS)}", choices=KINDS)] = "gemma2-2b"
    """`gemma2-2b` and `gemma3-1b` have to have that size; `gemma2` and `gemma3` take any size that the files have."""
    source: Annotated[str, SOURCE] = "google/gemma-2/flax/gemma2-2b-it/1"
    """Where the files are: a Kaggle model (owner/model/framework/variation/version, mounted by itself), a Hugging Face
    repository (owner/name), or a folder (a path that begins with / or a dot)."""
    tokenizer: str = ""
    """Path of the SentencePiece model; by default the `tokenizer.model` beside the weights or one folder above."""
    sha256: str = ""
    """Digest that the weights must have; by default the ones of the run's first session are held to."""
    dtype: Annotated[str, one_of("float32", "bfloat16")] = "float32"
    """Type that the model computes in: `float32` or `bfloat16`. What trains is kept in float32 in either case."""
    mesh_fsdp: Annotated[int, POSITIVE] = 1
    """Devices along which weights and batches are split."""
    mesh_tp: Annotated[int, POSITIVE] = 1
    """Devices along which each layer is split."""
    remat: Annotated[str, one_of("none", "block")] = "none"
    """What is computed again in the backward pass for less memory: `none` or `block` (each layer's)."""
    variant: Annotated[str, one_of("auto", "instruct", "base")] = "auto"
    """How an answer ends: an `instruct` model's with `<end_of_turn>`, as in Gemma's chat template, a `base` model's with `<eos>`.
    `auto` goes by the name (`-it`) and by whether the files have a chat template."""
    system: str = SYSTEM
    """What every prompt begins with: Gemma has no turn of its own for it."""

    @property
    def kaggle_model(self) -> str:
        """The Kaggle model to mount; empty where the files come from elsewhere."""
        return self.source if not self.source.startswith(("/", ".")) and self.source.count("/") == 4 else ""
