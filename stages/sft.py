"""Supervised fine-tuning with Tunix's PeftTrainer: every weight or an adapter, on worked examples."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import optax
from flax import nnx
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig, TrainingInput
from tunix.sft.utils import build_positions_from_mask, make_causal_attn_mask

from stages.accounting import Spent
from stages.check import check
from stages.data import Example, derive_seed, examples_at
from stages.guards import Guard
from stages.model import Foundation, arrays_of
from stages.optimizers import lost_share
from stages.options import Sft
from stages.problems import tokens_of, worked_examples
from stages.stage import Context, StageFailed
from stages.standing import Frozen, Standing, equip, stand, state_of
from stages.steps import LatestMetrics, calm, checked, do_steps


def train(context: Context) -> None:
    """Run the stage: see `stages.stage`."""
    options = checked(Sft, context)
    with calm():
        _train(context, options)


def _train(context: Context, options: Sft) -> None:
    with context.doing(Spent.MODEL):
        standing = stand(context, options)
    with context.doing(Spent.DATA):
        examples = worked_examples(context, standing.foundation, options).train
    if not examples:
        raise StageFailed("bad-data", f"data {' '.join(options.data)} holds no example that fits into tokens_max")
    with context.doing(Spent.MODEL):
        metrics, guard, frozen = LatestMetrics(), Guard(options, context.spec.name), Frozen(standing, options)
        began = check(context, options, standing)
        trainer = _trainer(standing, options, context.spec.steps, metrics)
    seed = derive_seed(context.seed, context.spec.name, "data")

    def batch_at(number: int) -> TrainingInput:
        return encode(examples_at(examples, number, options.batch, seed), standing.foundation, options.tokens_max)

    ahead: dict[int, TrainingInput] = {}

    def fed(batch: TrainingInput, following: int) -> Iterator[TrainingInput]:
        """The batch, and while the device computes, the one after it is made."""
        yield from parts(batch, options.accumulate)
        if following <= context.spec.steps:
            ahead[following] = batch_at(following)

    def step(number: int) -> dict[str, float]:
        with context.doing(Spent.DATA):
            batch = ahead.pop(number, None) or batch_at(number)
        context.saw(number, "batch", batch.input_tokens)
        with standing.foundation.mesh:
            trainer.train(fed(batch, number + 1))  # returns when all of it is computed
        trainer.close()  # hands out the metrics of this step, which the trainer would keep until the next one
        lost = lost_share(arrays_of(trainer.optimizer, nnx.optimizer.OptState))
        found = {**metrics.take("loss", "grad_norm"), **lost}
        guard.watch(number, found)
        frozen.look(found)
        return {**found, **began.take()}

    do_steps(context, step, lambda: state_of(standing, options, trainer.optimizer, keeps_origin=False))


def _trainer(standing: Standing, options: Sft, steps: int, metrics: LatestMetrics) -> PeftTrainer:
    config = TrainingConfig(
        eval_every_n_steps=steps + 1,  # never: evaluation is a stage of its own
        gradient_accumulation_steps=options.accumulate if options.accumulate > 1 else None,
    )
    trainer = PeftTrainer(standing.model, optax.identity(), config, metrics_logger=metrics)
    equip(trainer, standing, options, steps)
    trainer.with_gen_model_input_fn(model_input)
    trainer.is_managed_externally = True  # else it would skip data that it believes to have seen
    return trainer


def model_input(example: TrainingInput) -> dict[str, Any]:
    """What the model is called with: tokens, the mask of what is learnt, positions, and a causal mask without padding."""
    seen = example.input_tokens != 0  # the padding token
    return {
        "input_tokens": example.input_tokens,
        "input_mask": example.input_mask,
        "positions": build_positions_from_mask(seen),
        "attention_mask": make_causal_attn_mask(seen),
    }


def encode(examples: Sequence[Example], foundation: Foundation, tokens_max: int) -> TrainingInput:
    """Token matrix (examples × `tokens_max`) and the mask of what is to be learnt: the completion and the end after it."""
    tokens = np.full((len(examples), tokens_max), foundation.tokenizer.pad_id(), np.int32)
    learnt = np.zeros(tokens.shape, bool)
    for row, example in enumerate(examples):
        whole, asked = tokens_of(example, foundation)
        tokens[row, : len(whole)] = whole
        learnt[row, asked : len(whole)] = True
    return TrainingInput(input_tokens=tokens, input_mask=learnt)


def parts(batch: TrainingInput, count: int) -> list[TrainingInput]:
    """A batch cut into `count` batches, in order."""
    tokens, learnt = np.split(batch.input_tokens, count), np.split(batch.input_mask, count)
    return [TrainingInput(input_tokens=one, input_mask=two) for one, two in zip(tokens, learnt, strict=True)]
