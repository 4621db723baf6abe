"""Counts the floating-point operations and the bytes of a transformer's passes from its sizes. Pure.

Totals are over all chips of the mesh. A product of matrices of m × k and k × n counts 2mkn operations; everything else
(norms, activation functions, softmax) counts for its bytes only. Masked positions count: the programs compute them.
"""

from dataclasses import dataclass
from math import gcd

from stages.options import Model
from stages.options.families import FAMILIES, Sizes, family_name

STATE_BYTES = 4
"""Bytes of a trained number, of its gradient and of each of Adam's two moments: all are float32."""
LOGIT_PASSES = 3
"""Times that a logit is written or read: the product writes it, the soft-max reads it twice."""
SCORE_PASSES = 4
"""Times that an attention score is written or read: product, mask and soft cap, soft-max, product with the values."""


@dataclass(frozen=True)
class ComputeWork:
    """Operations and bytes. Works add up."""

    flops: float = 0.0
    bytes: float = 0.0
    """Bytes between the chips and their memories."""
    link_bytes: float = 0.0
    """Bytes that chips receive from each other."""

    def __add__(self, other: "ComputeWork") -> "ComputeWork":
        return ComputeWork(self.flops + other.flops, self.bytes + other.bytes, self.link_bytes + other.link_bytes)

    def times(self, factor: float) -> "ComputeWork":
        """Return `factor` times this work."""
        return ComputeWork(self.flops * factor, self.bytes * factor, self.link_bytes * factor)


@dataclass(frozen=True, kw_only=True)
class PassCounts:
    """Numbers of passes over a model's layers: one for a forward pass, more with the backward one."""

    matrices: float
    """PassCounts of products with the frozen or trained matrices of the layers."""
    adapters: float
    """The same of adapters."""
    logits: float
    """The same of the output matrix."""
    activations: float
    """PassCounts that read and write activations."""


FORWARD = PassCounts(matrices=1, adapters=1, logits=1, activations=1)


@dataclass(frozen=True)
class ModelWork:
    """Sizes of a model on a mesh. `lora_rank` is 0 without an adapter; it is taken to be beside every matrix."""

    sizes: Sizes
    fsdp: int = 1
    tp: int = 1
    weight_bytes: int = 4
    remat: bool = False
    lora_rank: int = 0

    @classmethod
    def of(cls, model: Model, lora_rank: int = 0) -> "ModelWork | None":
        """Return the sizes that the model's kind names, or None for a kind without a size: its files alone tell it."""
        size = model.kind.partition("-")[2]
        if not size:
            return None
        return cls(
            FAMILIES[family_name(model.kind)].sizes[size],
            model.mesh_fsdp,
            model.mesh_tp,
            2 if model.dtype == "bfloat16" else 4,
            model.remat == "block",
            lora_rank,
        )

    @property
    def chips(self) -> int:
        """Number of chips that compute."""
        return self.fsdp * self.tp

    @property
    def layer_parameters(self) -> int:
        """Parameters of all layers' matrices: queries, keys, values, output, gate, up and down."""
        s = self.sizes
        attention = s.width * s.head_width * (2 * s.heads + 2 * s.kv_heads)
        return s.layers * (attention + 3 * s.width * s.hidden)

    @property
    def output_parameters(self) -> int:
        """Parameters of the output matrix, which is the embedding if they are tied."""
        return self.sizes.vocabulary * self.sizes.width

    @property
    def parameters(self) -> int:
        """All parameters but the norms', an adapter's and biases'."""
        return self.layer_parameters + self.output_parameters * (1 if self.sizes.tied else 2)

    @property
    def adapter_parameters(self) -> int:
        """Parameters of the adapter: for each matrix rank × (inputs + outputs)."""
        s = self.sizes
        query, key = s.heads * s.head_width, s.kv_heads * s.head_width
        ends = (s.width + query) + 2 * (s.width + key) + (query + s.width) + 3 * (s.width + s.hidden)
        return s.layers * self.lora_rank * ends

    @property
    def cache_bytes(self) -> float:
        """Bytes of the keys and values of one position, with the copies that a mesh makes of undivided heads."""
        s = self.sizes
        copies = self.tp // gcd(self.tp, s.kv_heads)
        return 2 * s.layers * s.kv_heads * s.head_width * self.weight_bytes * copies

    def rows(self, rows: float) -> float:
        """Return the rows that the mesh computes: a multiple of its groups of chips that share batches."""
        return max(rows, self.fsdp)

    # --- passes ----------------------------------------------------------------

    def layers(self, positions: float, context: float, passes: PassCounts = FORWARD) -> ComputeWork:
        """Return the work of passes over all layers at `positions`, each attending to `context` positions.

        Activations: each matrix reads its input and writes its output once a pass.
        """
        s = self.sizes
        query, key = s.heads * s.head_width, s.kv_heads * s.head_width
        kept = s.width + query + 2 * (s.width + key) + (query + s.width) + 3 * (s.width + s.hidden)
        scores = s.heads * context
        per_position = 2 * (passes.matrices * self.layer_parameters + passes.adapters * self.adapter_parameters)
        attention = passes.activations * 4 * s.head_width * scores * s.layers
        moved = passes.activations * s.layers * (kept + SCORE_PASSES * scores) * self.weight_bytes
        return ComputeWork(positions * (per_position + attention), positions * moved) + self._reduced(
            positions * passes.activations
        )

    def _reduced(self, positions: float) -> ComputeWork:
        """Return what chips that share layers exchange: a ring's all-reduce of two results a layer."""
        return ComputeWork(
            link_bytes=2 * self.sizes.layers * 2 * (self.tp - 1) * positions * self.sizes.width * self.weight_bytes
        )

    def weights_read(self, times: float = 1.0, *, gathers: float | None = None) -> ComputeWork:
        """Return the bytes of reading all weights `times` times.

        Each group of chips that shares batches gathers from the others what it lacks, `gathers` times (None: each time).
        In a loop that does not change them XLA gathers once before it (seen in what its CPU compiler makes of a loop on
        eight devices).
        """
        size = (self.layer_parameters + self.output_parameters) * self.weight_bytes
        size += self.adapter_parameters * STATE_BYTES
        gathered = times if gathers is None else gathers
        return ComputeWork(bytes=times * size * self.fsdp, link_bytes=gathered * size * (self.fsdp - 1))

    def logits(self, positions: float, passes: float = 1.0) -> ComputeWork:
        """Return the work of the logits of `positions`; they are float32."""
        flops = 2 * passes * positions * self.output_parameters
        return ComputeWork(flops, passes * LOGIT_PASSES * positions * self.sizes.vocabulary * STATE_BYTES)

    def update(self, *, full: bool) -> ComputeWork:
        """Return the work of AdamW: parameter and moments are read and written, the gradient is read.

        In full training groups of chips exchange all gradients.
        """
        trained = self.parameters if full else self.adapter_parameters
        return ComputeWork(bytes=7 * STATE_BYTES * trained, link_bytes=STATE_BYTES * trained * (self.fsdp - 1))

    def training(
        self, positions: float, context: float, logits: float, parts: int, *, full: bool, again: bool
    ) -> ComputeWork:
        """Return the work of one update: forward and backward pass at `positions` in `parts`, and AdamW.

        The backward pass costs as much as the forward one for activations, and as much again for the gradients of what
        trains. `remat: block` adds a forward pass of the layers; `again` adds one of the logits, if the output trains.
        """
        passes = PassCounts(
            matrices=2 + self.remat + (1 if full else 0),
            adapters=3 + self.remat,
            logits=2 + ((1 + again) if full else 0),
            activations=2 + self.remat + (1 if full else 0),
        )
        return (
            self.layers(positions, context, passes)
            + self.logits(logits, passes.logits)
            + self.weights_read(parts * (2 + self.remat))
            + self.update(full=full)
        )
