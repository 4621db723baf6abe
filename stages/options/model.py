"""Options of the pipeline's `model:` section."""

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
    """The model that a pipeline trains, loaded from weight files."""

    kind: Annotated[str, Rule(remedy=f"one of {', '.join(KINDS)}", choices=KINDS)] = "gemma2-2b"
    """Architecture. `gemma2-2b` and `gemma3-1b` require that size; `gemma2` and `gemma3` accept any size."""
    source: Annotated[str, SOURCE] = "google/gemma-2/flax/gemma2-2b-it/1"
    """Location of the weights: a Kaggle model (owner/model/framework/variation/version, mounted automatically), a
    Hugging Face repository (owner/name), or a folder (a path that begins with / or a dot)."""
    tokenizer: str = ""
    """Path of the SentencePiece model. Default: the `tokenizer.model` beside the weights or one folder above."""
    sha256: str = ""
    """SHA-256 that the weights must have. Default: the digest recorded by the run's first session."""
    dtype: Annotated[str, one_of("float32", "bfloat16")] = "float32"
    """Compute dtype: `float32` or `bfloat16`. Trained weights are kept in float32 in either case."""
    mesh_fsdp: Annotated[int, POSITIVE] = 1
    """Number of devices across which weights and batches are sharded (FSDP)."""
    mesh_tp: Annotated[int, POSITIVE] = 1
    """Number of devices across which each layer is split (tensor parallelism)."""
    remat: Annotated[str, one_of("none", "block")] = "none"
    """Rematerialization: `block` recomputes each layer's activations in the backward pass to save memory, `none` does
    not."""
    variant: Annotated[str, one_of("auto", "instruct", "base")] = "auto"
    """Token that ends a completion: `<end_of_turn>` for an `instruct` model, as in Gemma's chat template, `<eos>` for a
    `base` model. `auto` decides by the name (`-it`) and by whether the files include a chat template."""
    system: str = SYSTEM
    """System prompt, put before the question in the user's turn: Gemma has no system turn."""

    @property
    def kaggle_model(self) -> str:
        """Kaggle model to mount; empty if the files come from elsewhere."""
        return self.source if not self.source.startswith(("/", ".")) and self.source.count("/") == 4 else ""
