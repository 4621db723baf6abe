"""Compare the results of relay's stages with those of bare Tunix, for `benchmarks.throughput`.

Products are computed in full precision: a GPU otherwise rounds the factors of a product to 11 bits, by which rows in
other shapes differ by more than what is looked for.
"""

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from tunix.sft.utils import build_positions_from_mask, make_causal_attn_mask

from benchmarks.abreast import HeldContext, RelaySide
from benchmarks.bare_steps import BareEvaluation, BareGrpo, BareSft, Rollouts
from benchmarks.cut_model import cut
from benchmarks.taught_model import TaughtModel, brought
from stages import evaluate, grpo, sft
from stages.contract import StageSpec
from stages.stage import OpenedCheckpoint
from stages.training import checkpoints
from stages.training.model import arrays_of

RELATIVE_MAX = 1e-5
TIE_MAX = 1e-3
"""Greatest distance of two logits, here of about 25, that count as equally likely."""
SFT_STEPS, GRPO_STEPS = 50, 2
SMALL = {"layers": 2, "rows": 8192}
"""Size that the model is cut to for the 50 steps of SFT."""
SFT = {"data": ["gsm8k"], "batch": 4, "max_seq_length": 384}
GRPO = {
    "data": ["gsm8k"],
    "batch": 2,
    "num_generations": 4,
    "gradient_accumulation_steps": 1,
    "max_prompt_length": 256,
    "max_completion_length": 128,
    "loss_type": "grpo",
    "scale_rewards": "group",
    "overlong_buffer": 0,
    "rewards": {"benchmarks.bare_steps:by_length": 1.0},
    "show_every": 0,
}
"""Those of the variants that Tunix's learner has too."""
ASK = {"data": ["gsm8k"], "batch": 16, "max_prompt_length": 256, "max_completion_length": 256}


@dataclass(frozen=True)
class Check:
    """Result of one comparison."""

    name: str
    holds: bool
    found: str

    def __str__(self) -> str:
        return f"{self.name:27} {self.found}: {'holds' if self.holds else 'DOES NOT HOLD'}"


def all_checks(
    folder: Path, made: TaughtModel, root: Path, recipe: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> list[Check]:
    """Run the checks for the stages `names`. `folder` is the whole model's, `recipe` the recipe's stages by name."""
    checks = {
        "sft": lambda: sft_losses(_small(folder, root), _context_of(made, root, recipe["sft"], SFT, SFT_STEPS)),
        "grpo": lambda: grpo_gradient(_context_of(made, root, recipe["grpo"], GRPO, GRPO_STEPS)),
        "evaluate": lambda: greedy_answers(_context_of(made, root, recipe["after-sft"], ASK, 1)),
    }
    found: list[Check] = []
    with full_precision():
        for name in names:
            found.append(checks[name]())
            print(found[-1], flush=True)
    return found


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute products of matrices in full precision within the block, in all threads."""
    before = jax.config.jax_default_matmul_precision
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        yield
    finally:
        jax.config.update("jax_default_matmul_precision", before)


def sft_losses(small: Mapping[str, Any], contexts: tuple[HeldContext, HeldContext]) -> Check:
    """Compare the loss of each step, both training on; `small` is the `model:` section of a small model."""
    for context in contexts:
        context.model, context.checkpoint = small, None
    theirs, ours = BareSft(contexts[0]), RelaySide(sft.train, contexts[1])
    off = 0.0
    try:
        for number in range(1, SFT_STEPS):  # the stage would save after its last step
            bare_loss, relay_loss = theirs.step(number)["loss"], ours.step(number)["loss"]
            off = max(off, abs(relay_loss - bare_loss) / abs(bare_loss))
    finally:
        theirs.close()
        ours.close()
    found = f"losses of {SFT_STEPS - 1} steps differ by at most {off:.1e} of theirs"
    return Check("sft: loss", off <= RELATIVE_MAX, found)


def grpo_gradient(contexts: tuple[HeldContext, HeldContext]) -> Check:
    """Compare the running means of the gradients after steps on the same answers.

    relay's stage draws the answers and the bare learner is given them. Compared is Adam's first moment, which is linear
    in the gradients; the movement of weights is not, since Adam divides by the gradient's size. The loss would say
    nothing, since it is zero but for rounding while the policy is the one that drew.
    """
    bare_context, relay_context = contexts
    shutil.rmtree(relay_context.root / relay_context.spec.name, ignore_errors=True)
    theirs, ours = BareGrpo(bare_context), RelaySide(grpo.train, relay_context)
    tokenizer = theirs.standing.foundation.tokenizer
    stops = theirs.standing.foundation.stops
    try:
        for number in range(1, GRPO_STEPS + 1):
            ours.step(number)
            drawn = [np.asarray(tokens, np.int32) for tokens in relay_context.seen[number, "rollouts"]]
            texts = [tokenizer.decode([int(each) for each in tokens if each not in stops]) for tokens in drawn]
            theirs.step(number, Rollouts(drawn, texts))
        ours.finish()
        wanted = _first_moments(arrays_of(theirs.cluster.actor_trainer.optimizer, nnx.optimizer.OptState))
    finally:
        theirs.close()
        ours.close()
    assert relay_context.checkpoint is not None
    found = _first_moments(checkpoints.read(relay_context.checkpoint.directory).optimizer or {})
    off = relative_difference(found, wanted)
    said = f"gradients of {GRPO_STEPS} steps on the same answers differ by {off:.1e} of their norm"
    return Check("grpo: gradient", off <= RELATIVE_MAX, said)


def greedy_answers(contexts: tuple[HeldContext, HeldContext]) -> Check:
    """Compare greedy answers. One that differs only where two tokens were equally likely counts as equal."""
    theirs, ours = BareEvaluation(contexts[0]), RelaySide(evaluate.train, contexts[1])
    try:
        theirs.step(1)
        ours.step(1)
        texts = list(contexts[1].seen[1, "rollouts"])
        rows = range(len(theirs.texts))
        differing = [row for row in rows if texts[row] != theirs.texts[row]]
        tied = [row for row in differing if margin(theirs, row, texts[row]) <= TIE_MAX]
    finally:
        theirs.close()
        ours.close()
    said = f"{len(rows) - len(differing)} of {len(rows)} are equal, {len(tied)} after a tie"
    return Check("evaluate: greedy answers", len(differing) == len(tied), said)


def margin(side: BareEvaluation, row: int, text: str) -> float:
    """Return the distance of the two highest logits where the bare answer departs from `text`."""
    tokens, prompt = side.tokens[row], side.prompts[row]
    decode = side.foundation.tokenizer.decode
    same = next((n for n in range(len(tokens)) if not text.startswith(decode(tokens[: n + 1]))), len(tokens))
    whole = np.array([[*prompt, *tokens[:same]]], np.int32)
    seen = np.ones(whole.shape, bool)
    model: Any = side.foundation.model
    logits, _ = model(whole, build_positions_from_mask(seen), None, make_causal_attn_mask(seen))
    second, first = np.sort(np.asarray(logits[0, -1], np.float64))[-2:]
    return float(first - second)


def relative_difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> float:
    """Return the Euclidean norm of the difference of two sets of arrays, as a share of that of the second.

    Raises ValueError if their names differ, or if the second is zero: then it could not tell anything.
    """
    if found.keys() != wanted.keys():
        raise ValueError(f"only one of the two has {sorted(found.keys() ^ wanted.keys())[:3]}")
    pairs = [(np.asarray(found[name], np.float64), np.asarray(wanted[name], np.float64)) for name in wanted]
    norm = math.sqrt(sum(float(np.sum(two**2)) for _, two in pairs))
    if not norm:
        raise ValueError("the arrays to compare with are all zero")
    return math.sqrt(sum(float(np.sum((one - two) ** 2)) for one, two in pairs)) / norm


def _first_moments(optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """Return Adam's first moments by the name of their parameter."""
    return {name.partition(".mu.")[2]: np.asarray(array) for name, array in optimizer.items() if ".mu." in name}


def _small(folder: Path, root: Path) -> Mapping[str, Any]:
    if not (root / "small").is_dir():
        cut(folder, root / "small", **SMALL)
    return {"kind": "gemma3", "source": str((root / "small").absolute())}


def _context_of(
    made: TaughtModel, root: Path, stage: Mapping[str, Any], options: Mapping[str, Any], steps: int
) -> tuple[HeldContext, HeldContext]:
    """Return a context for the bare side and one for relay's, of the recipe's stage with other options."""
    spec = StageSpec(
        name=f"check-{stage['name']}",
        kind=stage["kind"],
        steps=steps,
        options={
            **stage["options"],
            **options,
            **({"probe_problems": 0} if "probe_problems" in stage["options"] else {}),
        },
    )
    start: OpenedCheckpoint | None = made.checkpoint
    contexts = [HeldContext(spec, (spec,), made.model, 0, root, start, brought=brought(root)) for _ in range(2)]
    return contexts[0], contexts[1]
