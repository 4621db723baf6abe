"""What the pipeline's `model:` may say."""

from dataclasses import dataclass

from stages.options.reading import require

KINDS = ("gemma2-2b", "gemma3-1b", "gemma2", "gemma3")

SYSTEM = (
    "Solve the problem. First think step by step between <reasoning> and </reasoning>, then give only the final answer "
    "between <answer> and </answer>."
)


@dataclass(frozen=True, kw_only=True)
class Model:
    """The model that a pipeline trains, loaded from files."""

    kind: str = "gemma2-2b"
    """`gemma2-2b` and `gemma3-1b` have to have that size; `gemma2` and `gemma3` take any size that the files have."""
    source: str = "google/gemma-2/flax/gemma2-2b-it/1"
    """Where the files are: a Kaggle model (owner/model/framework/variation/version, mounted by itself), a Hugging Face
    repository (owner/name), or a folder (a path that begins with / or a dot)."""
    tokenizer: str = ""
    """Path of the SentencePiece model; by default the `tokenizer.model` beside the weights or one folder above."""
    sha256: str = ""
    """Digest that the weights must have; by default the ones of the run's first session are held to."""
    dtype: str = "float32"
    """Type that weights are held and trained in: `float32` or `bfloat16`."""
    mesh_fsdp: int = 1
    """Devices along which weights and batches are split."""
    mesh_tp: int = 1
    """Devices along which each layer is split."""
    remat: str = "none"
    """What is computed again in the backward pass for less memory: `none` or `block` (each layer's)."""
    system: str = SYSTEM
    """What every prompt begins with: Gemma has no turn of its own for it."""

    def __post_init__(self) -> None:
        require(self.kind in KINDS, "kind", f"one of {', '.join(KINDS)}")
        require(
            self.source.startswith(("/", ".")) or self.source.count("/") in (1, 4),
            "source",
            "owner/model/framework/variation/version on Kaggle, owner/name on Hugging Face, or a path",
        )
        require(self.dtype in ("float32", "bfloat16"), "dtype", "float32 or bfloat16")
        require(self.remat in ("none", "block"), "remat", "none or block")
        require(min(self.mesh_fsdp, self.mesh_tp) > 0, "mesh_fsdp", "positive, as is mesh_tp")

    @property
    def kaggle_model(self) -> str:
        """The Kaggle model to mount; empty where the files come from elsewhere."""
        return self.source if not self.source.startswith(("/", ".")) and self.source.count("/") == 4 else ""
