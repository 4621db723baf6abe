"""Measure the bytes transferred for a LoRA checkpoint, and how long the next session waits for it.

    python -m benchmarks.handover
    python -m benchmarks.handover --rank 32 --plot handover.png

Size: the transferred bytes, each way, as a share of the necessary ones: the adapter's parameters and the optimizer
state. One checkpoint comes from a real stage with the tiny model, where fixed costs dominate (Orbax's indexes, tar
padding). The others have the adapter of a 2B model, filled with random numbers, whose exponents compress like trained
ones, or with random bits, which do not compress. Compiled programs are included only if they save time, and are counted
separately; a copy identical to the parent's is taken from the local disk and not downloaded.

Waiting: a whole run on the local Kaggle in virtual time, with both kinds of `handoff`, over a home internet connection.
"""

import argparse
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from benchmarks.learning import run
from orchestrator.core.plan import Limits
from orchestrator.pipeline.loader import parse
from orchestrator.platforms.port import Downloaded, FileWanted, OutputFile
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.simulation.chain import Chain, SimulatedKaggle, fast_folder, final_digest
from stages.contract import BLOB_NAME, Cursor, Manifest
from stages.session import packing
from stages.session.compilation_cache import TRANSFER_BYTES_S, Compiled

WEIGHT_MAX = 1.02
"""Maximum ratio of transferred bytes to parameters plus optimizer state, for a model of realistic size."""
LINE_BYTES_S = 2 * TRANSFER_BYTES_S
"""Bandwidth in each direction in bytes per second: TRANSFER_BYTES_S is for download plus upload."""
STATE_BYTES = 230 * 2**20
TINY = {
    "model": {"system": ""},
    "stages": [
        {
            "name": "sft",
            "kind": "sft",
            "steps": 3,
            "options": {"data": ["magpie"], "mode": "lora", "lora_rank": 8, "batch": 8, "max_seq_length": 80},
        }
    ],
}
# Dimensions of Gemma 2 2B, from which the shapes of its adapters follow.
WIDTH, HEADS, HEAD, KEYS, HIDDEN, LAYERS = 2304, 8, 256, 4, 9216, 26


@dataclass(frozen=True)
class Weight:
    """Sizes of one checkpoint, in bytes."""

    what: str
    numbers: int
    state: int
    artifacts: int
    """Size of the manifest and of its digest."""
    programs: int

    @property
    def share(self) -> float:
        """Transferred bytes, without programs, per necessary byte."""
        return (self.state + self.artifacts) / self.numbers


def weighed(what: str, directory: Path, numbers: int, compiled: Compiled | None) -> Weight:
    """Pack a state as a session does, and return its sizes."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        blob = packing.pack(directory, folder / BLOB_NAME)
        programs = compiled.pack(folder) if compiled else None
        files = (blob, programs) if programs else (blob,)
        here = Cursor(stage="sft", step=3)
        manifest = Manifest(run="r-0000", session=1, attempt=1, token="t" * 24, cursor=here, parent=None, files=files)
        artifacts = len(manifest.to_json().encode()) + len(manifest.digest)
        return Weight(what, numbers, blob.size_bytes, artifacts, programs.size_bytes if programs else 0)


def tiny(compiled: Compiled | None) -> Weight:
    """Measure a checkpoint after three steps of a real stage."""
    from stages.training import checkpoints

    for context in run(TINY, "gemma2", 0):
        assert context.checkpoint is not None
        state = checkpoints.read(context.checkpoint.directory)
        assert state.weights.base is None, "an adapter's checkpoint carries no base weights"
        (adapter,) = state.weights.adapters
        numbers = _bytes_of(adapter.arrays) + _bytes_of(state.optimizer or {})
        return weighed("tiny, a real stage", context.checkpoint.directory, numbers, compiled)
    raise AssertionError("no stage ran")


def large(rank: int, dtype: str, *, bits: bool = False) -> Weight:
    """Measure an adapter for every projection of a 2B model with its AdamW moments; `bits` makes it incompressible."""
    import jax.numpy as jnp
    import numpy as np

    from stages.training import checkpoints
    from stages.training.lora import Adapter

    draw = np.random.default_rng(0)

    def array(shape: tuple[int, ...], scale: float, *, squared: bool = False) -> Any:
        if bits:
            return np.frombuffer(draw.bytes(4 * math.prod(shape)), np.float32).reshape(shape)
        values = draw.standard_normal(shape, dtype=np.float32)
        return jnp.asarray((values * values if squared else values) * scale, dtype)

    shapes = dict(_shapes(rank))
    adapter = {name: array(shape, 1e-2) for name, shape in shapes.items()}
    moments: dict[str, Any] = {f"opt_state.1.{part}.count": jnp.int32(400) for part in (0, 2)}
    for name, shape in shapes.items():
        moments[f"opt_state.1.0.mu.{name}"] = array(shape, 1e-4)
        moments[f"opt_state.1.0.nu.{name}"] = array(shape, 1e-8, squared=True)
    state = checkpoints.TrainingState(
        checkpoints.Weights(None, (Adapter(rank, 2.0 * rank, adapter),)), "0" * 64, optimizer=moments
    )
    with tempfile.TemporaryDirectory() as folder:
        checkpoints.write(state, Path(folder))
        numbers = _bytes_of(adapter) + _bytes_of(moments)
        return weighed(f"2B, rank {rank}, {'random bits' if bits else dtype}", Path(folder), numbers, None)


def _shapes(rank: int) -> list[tuple[str, tuple[int, ...]]]:
    pairs = {
        "attn.q_einsum.w": ((WIDTH, rank), (rank, HEADS, HEAD)),
        "attn.kv_einsum.w": ((WIDTH, rank), (rank, 2, KEYS, HEAD)),
        "attn.attn_vec_einsum.w": ((HEADS, HEAD, rank), (rank, WIDTH)),
        "mlp.gate_proj.kernel": ((WIDTH, rank), (rank, HIDDEN)),
        "mlp.up_proj.kernel": ((WIDTH, rank), (rank, HIDDEN)),
        "mlp.down_proj.kernel": ((HIDDEN, rank), (rank, WIDTH)),
    }
    return [
        (f"layers.{layer}.{name}_lora_{end}", shape)
        for layer in range(LAYERS)
        for name, both in pairs.items()
        for end, shape in zip("ab", both, strict=True)
    ]


def _bytes_of(arrays: Mapping[str, Any]) -> int:
    return sum(int(array.nbytes) for array in arrays.values())


# --- waiting ---------------------------------------------------------------------


class Behind:
    """Gateway with limited bandwidth for a checkpoint's state."""

    def __init__(self, inner: DirectGateway, kaggle: SimulatedKaggle) -> None:
        self._inner, self._clock = inner, kaggle.clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def download(self, file: OutputFile, into: Path, wanted: FileWanted) -> Downloaded:
        """Download as the inner gateway does, after the transfer time of a state not downloaded yet."""
        fresh = file.name.endswith(BLOB_NAME) and not into.exists()
        found = self._inner.download(file, into, wanted)
        self._clock.sleep(STATE_BYTES / LINE_BYTES_S if fresh else 0.0)
        return found

    def create_dataset(self, slug: str, files: list[Path], sha256: Mapping[str, str] | None = None) -> None:
        """Create the dataset as the inner gateway does, after the transfer time."""
        self._clock.sleep(STATE_BYTES / LINE_BYTES_S)
        self._inner.create_dataset(slug, files, sha256)


def waits(handoff: str) -> list[float]:
    """Return the seconds from each session's observed end to the next one's push."""
    stages = "[{name: count, kind: counting, steps: 2000}]"
    text = f"{{name: sim, accelerator: TpuV5E8, handoff: {handoff}, session: {{limit_s: 5000}}, stages: {stages}}}"
    kaggle = SimulatedKaggle(parse(text, "sim.yaml"), step_s=10.0)
    with fast_folder() as folder:
        chain = Chain(kaggle, folder)
        chain.limits = Limits()
        chain.gateway = Behind(kaggle.gateway(), kaggle)  # type: ignore[assignment]
        for _ in chain.ticks(ticks_max=20_000):
            pass
        state = chain.state
        assert final_digest(state) == kaggle.uncut[-1]
        at: dict[tuple[str, int], float] = {}
        for when, fact in chain.store.facts(chain.run):
            if fact.name in ("seen_ended", "push_confirmed"):
                at[fact.name, fact.number] = when.timestamp()  # type: ignore[attr-defined]
    return [at["push_confirmed", n + 1] - at["seen_ended", n] for n in range(1, len(state.sessions))]


# --- output ------------------------------------------------------------------------


def table(weights: list[Weight]) -> str:
    """Format a row for each checkpoint."""
    lines = [f"{'':28}{'necessary':>14}{'transferred':>14}{'overhead':>12}{'share':>8}{'programs':>12}"]
    for each in weights:
        travels = each.state + each.artifacts
        numbers = f"{each.numbers:14,}{travels:14,}{travels - each.numbers:12,}{each.share:8.3f}{each.programs:12,}"
        lines.append(f"{each.what:28}{numbers}")
    return "\n".join(lines)


def plot(weights: list[Weight], waited: Mapping[str, float], path: Path) -> None:
    """Plot shares and waits side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.barh([each.what for each in weights], [each.share for each in weights])
    left.axvline(WEIGHT_MAX, linestyle="--", color="tab:red", label=f"{WEIGHT_MAX}")
    left.set_xlabel("transferred bytes per necessary byte")
    left.legend()
    right.barh(list(waited), list(waited.values()))
    right.set_xlabel("seconds from one session to the next push")
    figure.savefig(path)


def main() -> int:
    """Run the benchmark. Return exit status 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rank", type=int, default=16, help="rank of the large adapter")
    parser.add_argument("--plot", type=Path, help="also write a plot to this file")
    asked = parser.parse_args()
    waited = {handoff: statistics.median(waits(handoff)) for handoff in ("dataset", "kernel-output")}
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Compiled.begin(Path(scratch), "cpu", lambda _: None)
        weights = [tiny(compiled), *(large(asked.rank, dtype) for dtype in ("float32", "bfloat16"))]
        weights.append(large(asked.rank, "float32", bits=True))
    print(table(weights))
    missed = [each.what for each in weights[1:] if each.share > WEIGHT_MAX]
    for each in weights[1:]:
        said = "MISS" if each.what in missed else "pass"
        print(f"  {said}  {each.what}: {each.share:.3f} of the necessary bytes, at most {WEIGHT_MAX}")
    line = f"{STATE_BYTES / 2**20:.0f} MiB behind {LINE_BYTES_S / 1e6:.1f} MB/s each way"
    print(f"\nfrom a session's end to the next one's push, {line}, in virtual time")
    for handoff, seconds in waited.items():
        print(f"  handoff: {handoff:16}{seconds:6.0f} s")
    saved = waited["dataset"] - waited["kernel-output"]
    held = saved >= STATE_BYTES / LINE_BYTES_S
    print(f"  {'pass' if held else 'MISS'}  kernel-output waits {saved:.0f} s less, at least the whole upload")
    if asked.plot:
        plot(weights, waited, asked.plot)
    return 1 if missed or not held else 0


if __name__ == "__main__":
    sys.exit(main())
