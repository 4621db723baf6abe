"""Supervised fine-tuning with Tunix's PeftTrainer: every weight or an adapter, on worked examples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import nnx
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig, TrainingInput
from tunix.sft.utils import build_positions_from_mask, make_causal_attn_mask

from stages.data import derive_seed, taught_at
from stages.model import put_arrays
from stages.optimizers import optimizer
from stages.options import Sft
from stages.stage import Context, StageFailed
from stages.standing import Standing, stand, state_of
from stages.steps import LatestMetrics, calm, checked, do_steps, finished, source_of


def train(context: Context) -> None:
    """Run the stage: see `stages.stage`."""
    options = checked(Sft, context)
    with calm():
        _train(context, options)


def _train(context: Context, options: Sft) -> None:
    source = source_of(context, options.data)
    standing = stand(context, options)
    metrics = LatestMetrics()
    trainer = _trainer(standing, options, context.spec.steps, metrics)
    seed = derive_seed(context.seed, context.spec.name, "data")
    noise = (options.noise, options.noise_hard)

    def step(number: int) -> dict[str, float]:
        taught = taught_at(source.train, number, options.batch, noise, seed)
        parts = _parts(encode(taught, standing.foundation.tokenizer, options.tokens_max), options.accumulate)
        with standing.foundation.mesh:
            trainer.train(parts)
        trainer.close()  # hands out the metrics of this step, which the trainer would keep until the next one
        finished(nnx.state(trainer.optimizer))
        return metrics.take("loss", "grad_norm")

    do_steps(context, step, lambda: state_of(standing, options, trainer.optimizer, keeps_origin=False))


def _trainer(standing: Standing, options: Sft, steps: int, metrics: LatestMetrics) -> PeftTrainer:
    config = TrainingConfig(
        eval_every_n_steps=steps + 1,  # never: evaluation is a stage of its own
        gradient_accumulation_steps=options.accumulate if options.accumulate > 1 else None,
    )
    trainer = PeftTrainer(standing.model, optimizer(options, steps), config, metrics_logger=metrics)
    trainer.with_gen_model_input_fn(_model_input)
    trainer.is_managed_externally = True  # else it would skip data that it believes to have seen
    if standing.resumed:
        put_arrays(trainer.optimizer, standing.before.optimizer or {}, nnx.optimizer.OptState)
    return trainer


def _model_input(example: TrainingInput) -> dict[str, Any]:
    seen = example.input_tokens != 0  # the padding token
    return {
        "input_tokens": example.input_tokens,
        "input_mask": example.input_mask,
        "positions": build_positions_from_mask(seen),
        "attention_mask": make_causal_attn_mask(seen),
    }


def encode(taught: Sequence[tuple[str, str]], tokenizer: Any, tokens_max: int) -> TrainingInput:
    """Token matrix (examples × `tokens_max`) and the mask of what is to be learnt: the completion and the end after it."""
    tokens = np.full((len(taught), tokens_max), tokenizer.pad_id(), np.int32)
    learnt = np.zeros(tokens.shape, bool)
    for row, (prompt, completion) in enumerate(taught):
        asked = [tokenizer.bos_id(), *tokenizer.encode(prompt)]
        whole = [*asked, *tokenizer.encode(completion), tokenizer.eos_id()]
        if len(whole) > tokens_max:
            raise StageFailed(
                "example-too-long", f"an example has {len(whole)} tokens: raise tokens_max ({tokens_max})"
            )
        tokens[row, : len(whole)] = whole
        learnt[row, len(asked) : len(whole)] = True
    return TrainingInput(input_tokens=tokens, input_mask=learnt)


def _parts(batch: TrainingInput, count: int) -> list[TrainingInput]:
    tokens, masks = np.split(batch.input_tokens, count), np.split(batch.input_mask, count)
    return [TrainingInput(input_tokens=part, input_mask=mask) for part, mask in zip(tokens, masks, strict=True)]
