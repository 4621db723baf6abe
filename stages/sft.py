"""Supervised fine-tuning of all weights or an adapter on worked examples, with Tunix's PeftTrainer."""

from collections.abc import Iterator

import numpy as np
import optax
from tunix.sft.peft_trainer import PeftTrainer, TrainingConfig

from stages.data import derive_seed
from stages.options import Sft
from stages.session.time_accounting import TimeClass
from stages.stage import Context
from stages.training.checkpoints import TrainingState
from stages.training.guards import TrainingGuard
from stages.training.initial_state import FrozenWeightsCheck, StageState, equip, prepare, state_of
from stages.training.losses import TaughtBatch, TaughtLoss, parts, taught_input
from stages.training.optimizers import measurements
from stages.training.probe_eval import check
from stages.training.spread import rows_placed
from stages.training.stage_data import worked_examples
from stages.training.steps import LatestMetrics, checked, do_steps, quiet_libraries
from stages.training.taught_batches import ChooseLayout, TaughtBatches, best_layout, shape_of


def train(context: Context, choose: ChooseLayout = best_layout) -> None:
    """Run the stage; the protocol is described in `stages.stage`. `choose` decides the shapes of its batches."""
    options = checked(Sft, context)
    with quiet_libraries():
        _train(context, options, choose)


def _train(context: Context, options: Sft, choose: ChooseLayout) -> None:
    with context.doing(TimeClass.MODEL):
        stage_state = prepare(context, options)
    with context.doing(TimeClass.DATA):
        seed = derive_seed(context.seed, context.spec.name, "data")
        examples = worked_examples(context, stage_state.foundation, options)
        batches = TaughtBatches(examples, stage_state.foundation, options, seed, choose)
        context.say(batches.summary(context.spec.steps))
    with context.doing(TimeClass.MODEL):
        metrics, guard, frozen = (
            LatestMetrics(),
            TrainingGuard(options, context.spec.name),
            FrozenWeightsCheck(stage_state, options),
        )
        probe = check(context, options, stage_state)
        trainer = _trainer(stage_state, options, context.spec.steps, metrics)
    prepared: dict[int, TaughtBatch] = {}
    compiled: set[tuple[int, ...]] = set()

    def micro_batches(batch: TaughtBatch, next_number: int) -> Iterator[TaughtBatch]:
        """Yield the batch's micro-batches; prepare the next batch while the device computes the last one."""
        for part in parts(batch, options.gradient_accumulation_steps):
            yield rows_placed(part, stage_state.foundation.mesh)
        if next_number <= context.spec.steps:
            prepared[next_number] = batches.at(next_number)
            context.may_compile(int(shape_of(prepared[next_number]) not in compiled))

    def step(number: int) -> dict[str, float]:
        with context.doing(TimeClass.DATA):
            batch = prepared.pop(number, None) or batches.at(number)
            compiled.add(shape_of(batch))
        context.saw(number, "batch", batch.tokens)
        with stage_state.foundation.mesh:
            trainer.train(micro_batches(batch, number + 1))  # blocks until the step is computed
        trainer.close()  # flushes this step's metrics, which the trainer would buffer until the next one
        found = {
            **metrics.take("loss"),
            **measurements(trainer.optimizer.opt_state),
            "tokens": float(np.count_nonzero(batch.segments)),
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
    trainer.with_loss_fn(TaughtLoss(head_trains=options.mode == "full"))
    trainer.with_gen_model_input_fn(taught_input)
    trainer.is_managed_externally = True  # otherwise the trainer skips data that it believes it has seen
    return trainer
