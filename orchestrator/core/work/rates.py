"""Peak rates of Kaggle's accelerators, and the shares of them that steps are assumed to reach before any is measured."""

from dataclasses import dataclass
from typing import Literal

Resource = Literal["compute", "drawing"]
"""What a phase's time is calibrated with: passes over many positions at once, or decoding token by token."""

TERA, GIGA = 1e12, 1e9


@dataclass(frozen=True)
class ShareRange:
    """Range of a share of a peak rate."""

    low: float
    high: float

    @property
    def usual(self) -> float:
        """Geometric mean of the bounds."""
        return float((self.low * self.high) ** 0.5)


@dataclass(frozen=True, kw_only=True)
class ChipRates:
    """Peak rates of one chip."""

    chip: str
    flops: float
    """Multiplications and additions of matrix products per second, in the types that relay computes with."""
    bytes_s: float
    """Bytes per second between the chip and its memory."""
    link_bytes_s: float
    """Bytes per second that a chip receives from the others."""
    compute: ShareRange
    """Share of `flops`, or of the bytes where those take longer, that training, reference and prefill reach."""
    drawing: ShareRange
    """Share of the slowest resource's rate that decoding reaches."""
    source: str

    def share(self, resource: Resource) -> ShareRange:
        """Return the share that phases of this resource reach before any was measured."""
        return self.compute if resource == "compute" else self.drawing


_TPU_COMPUTE = ShareRange(0.0115, 0.5)
"""At most what large models reach in MaxText's published tables; at least what the slowest published time means: 1.5 hours
for 6,000 examples of SFT (docs/forecast.md), if Tunix computed 1,024 positions of each. Nobody says what else it holds."""
_TPU_DRAWING = ShareRange(0.028, 0.7)
"""At most an assumption: Tunix's demo of GRPO (1.5 s a step, docs/forecast.md) reaches a third to three quarters of the
peak, by the length of its answers. At least what the slowest published rate means: 150 prompts an hour, 4 answers each."""

RATES = {
    "TpuV5E8": ChipRates(
        chip="TPU v5e",
        flops=197 * TERA,
        bytes_s=819 * GIGA,
        link_bytes_s=200 * GIGA,
        compute=_TPU_COMPUTE,
        drawing=_TPU_DRAWING,
        source="Google Cloud's TPU documentation, TPU v5e: 197 TFLOP/s in bfloat16, 819 GB/s, links of 1,600 Gbit/s",
    ),
    "TpuV6E8": ChipRates(
        chip="TPU v6e",
        flops=918 * TERA,
        bytes_s=1640 * GIGA,
        link_bytes_s=448 * GIGA,
        compute=_TPU_COMPUTE,
        drawing=_TPU_DRAWING,
        source="Google Cloud's TPU documentation, TPU v6e: 918 TFLOP/s in bfloat16, 1,640 GB/s, links of 3,584 Gbit/s",
    ),
    "NvidiaTeslaT4": ChipRates(
        chip="Tesla T4",
        flops=8.1 * TERA,
        bytes_s=320 * GIGA,
        link_bytes_s=12 * GIGA,
        compute=ShareRange(0.1, 0.6),
        drawing=ShareRange(0.1, 0.6),
        source="NVIDIA's data sheet of the T4: 8.1 TFLOP/s in float32, 320 GB/s; between two of them PCIe 3.0 x16, of whose "
        "16 GB/s 12 are assumed to be usable",
    ),
    "cpu": ChipRates(
        chip="CPU",
        flops=0.13 * TERA,
        bytes_s=20 * GIGA,
        link_bytes_s=20 * GIGA,
        compute=ShareRange(0.1, 0.9),
        drawing=ShareRange(0.05, 0.9),
        source="assumed, since Kaggle does not name its processors: two cores at 2 GHz with 32 operations a cycle, 20 GB/s",
    ),
}
"""ChipRates by `accelerator`.

TPUs: JAX multiplies float32 matrices in one pass of bfloat16 by default (`jax.default_matmul_precision`), so that the
peak of bfloat16 holds for both of relay's types, while a float32 weight is twice the bytes. The T4's 65 TFLOP/s are for
float16, in which relay does not compute, and it has no bfloat16: its float32 rate holds for both.
"""
