"""Supervised fine-tuning of all weights or an adapter on worked examples, with Tunix's PeftTrainer."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import optax
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig

from stages.data import Example, derive_seed, examples_at
from stages.options import Sft
from stages.session.time_accounting import TimeClass
from stages.stage import Context
from stages.training.checkpoints import TrainingState
from stages.training.guards import TrainingGuard
from stages.training.initial_state import FrozenWeightsCheck, StageState, equip, prepare, state_of
from stages.training.losses import TaughtBatch, parts, taught_input, taught_loss
from stages.training.model import Foundation
from stages.training.optimizers import measurements
from stages.training.probe_eval import check
from stages.training.stage_data import tokens_of, worked_examples
from stages.training.steps import LatestMetrics, checked, do_steps, quiet_libraries


def train(context: Context) -> None:
    """Run the stage; the protocol is described in `stages.stage`."""
    options = checked(Sft, context)
    with quiet_libraries():
        _train(context, options)


def _train(context: Context, options: Sft) -> None:
    with context.doing(TimeClass.MODEL):
        stage_state = prepare(context, options)
    with context.doing(TimeClass.DATA):
        examples = worked_examples(context, stage_state.foundation, options).train
    with context.doing(TimeClass.MODEL):
        metrics, guard, frozen = (
            LatestMetrics(),
            TrainingGuard(options, context.spec.name),
            FrozenWeightsCheck(stage_state, options),
        )
        probe = check(context, options, stage_state)
        trainer = _trainer(stage_state, options, context.spec.steps, metrics)
    seed = derive_seed(context.seed, context.spec.name, "data")

    def batch_at(number: int) -> TaughtBatch:
        return encode(examples_at(examples, number, options.batch, seed), stage_state.foundation, options)

    prepared: dict[int, TaughtBatch] = {}

    def micro_batches(batch: TaughtBatch, next_number: int) -> Iterator[TaughtBatch]:
        """Yield the batch's micro-batches; prepare the next batch while the device computes the last one."""
        yield from parts(batch, options.gradient_accumulation_steps)
        if next_number <= context.spec.steps:
            prepared[next_number] = batch_at(next_number)

    def step(number: int) -> dict[str, float]:
        with context.doing(TimeClass.DATA):
            batch = prepared.pop(number, None) or batch_at(number)
        context.saw(number, "batch", batch.tokens)
        with stage_state.foundation.mesh:
            trainer.train(micro_batches(batch, number + 1))  # blocks until the step is computed
        trainer.close()  # flushes this step's metrics, which the trainer would buffer until the next one
        found = {
            **metrics.take("loss"),
            **measurements(trainer.optimizer.opt_state),
            "tokens": float(np.count_nonzero(batch.tokens != stage_state.foundation.tokenizer.pad_id())),
        }
        guard.watch(number, found)
        frozen.look(found)
        return {**found, **probe.take()}

    def state() -> TrainingState:
        return state_of(stage_state, options, trainer.optimizer, keeps_origin=False)

    do_steps(context, step, state, options=options)


def _trainer(stage_state: StageState, options: Sft, steps: int, metrics: LatestMetrics) -> PeftTrainer:
    config = TrainingConfig(
        eval_every_n_steps=steps + 1,  # never: evaluation is a stage of its own
        gradient_accumulation_steps=options.gradient_accumulation_steps
        if options.gradient_accumulation_steps > 1
        else None,
    )
    trainer = PeftTrainer(stage_state.model, optax.identity(), config, metrics_logger=metrics)
    equip(trainer, stage_state, options, steps)
    trainer.with_loss_fn(taught_loss)
    trainer.with_gen_model_input_fn(partial(taught_input, padding=stage_state.foundation.tokenizer.pad_id()))
    trainer.is_managed_externally = True  # otherwise the trainer skips data that it believes it has seen
    return trainer


def encode(examples: Sequence[Example], foundation: Foundation, options: Sft) -> TaughtBatch:
    """Encode the examples as tokens (examples × `max_seq_length`) with a mask of the learnt
    tokens: the completion and its end.

    Each learnt token is weighted 1 / (learnt tokens in the batch) × number of micro-batches, because the
    micro-batches' gradients are averaged.
    """
    tokens = np.full((len(examples), options.max_seq_length), foundation.tokenizer.pad_id(), np.int32)
    learnt = np.zeros(tokens.shape, bool)
    for row, example in enumerate(examples):
        whole, asked = tokens_of(example, foundation)
        tokens[row, : len(whole)] = whole
        learnt[row, asked : len(whole)] = True
    row_weight = np.full(len(examples), options.gradient_accumulation_steps / learnt.sum(), np.float32)
    return TaughtBatch(tokens=tokens, learnt=learnt, row_weight=row_weight)
