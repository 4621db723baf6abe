"""Options of the pipeline's `model:` section."""

from dataclasses import dataclass
from typing import Annotated

from stages.options.families import KINDS, Family, family_of
from stages.options.rules import POSITIVE, Rule, ValidatedOptions, one_of

SOURCE = Rule(
    remedy="owner/model/framework/variation/version on Kaggle, owner/name on Hugging Face, or a folder that exists",
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
    """Architecture. A kind with a size in its name, such as `gemma2-2b`, requires that size; `gemma2`, `gemma3`,
    `qwen2.5`, `qwen3` and `llama3.2` accept any size."""
    source: Annotated[str, SOURCE] = "google/gemma-2/flax/gemma2-2b-it/1"
    """Location of the weights: a Kaggle model (owner/model/framework/variation/version, mounted automatically), a
    Hugging Face repository (owner/name), or a folder, whose path is relative to the pipeline file."""
    tokenizer: str = ""
    """Path of the tokenizer. Default: the `tokenizer.model` (Gemma) or `tokenizer.json` (Qwen, Llama) beside the weights
    or one folder above."""
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
    """Token that ends a completion: that of the chat template's turns for an `instruct` model (Gemma: `<end_of_turn>`,
    Qwen: `<|im_end|>`, Llama: `<|eot_id|>`), that of a text for a `base` model. `auto` decides by the name (`-it`,
    `-Instruct`) and by whether the files include a chat template."""
    system: str = SYSTEM
    """System prompt: in the system turn of the family's chat template, or before the question in the user's turn, since
    Gemma has no system turn."""

    @property
    def is_folder(self) -> bool:
        """True if the files are in a folder of the machine that loads them."""
        return self.source.startswith(("/", "."))

    @property
    def kaggle_model(self) -> str:
        """Kaggle model to mount; empty if the files come from elsewhere."""
        return self.source if not self.is_folder and self.source.count("/") == 4 else ""

    @property
    def family(self) -> Family:
        """Entry of the model's family in the table of families."""
        return family_of(self.kind)
