"""The policy's rollouts and its trainer, on one mesh.

Tunix's `RLCluster` would put the two together; its sampler is not used (see `stages.training.sampler`), and it would copy
all weights to the host. Of Tunix remains the trainer, with the settings that the cluster would give it.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import optax
from tunix.rl.rl_cluster import RLTrainingConfig
from tunix.rl.trainer import Trainer

from stages.options import Grpo
from stages.session.time_accounting import TimeClass
from stages.training.generate import answer_of_tokens, prompt_tokens, sampler_of
from stages.training.initial_state import StageState, equip
from stages.training.policy import DrawnAnswer
from stages.training.sampler import Draw


class Cluster:
    """Generates with the policy and trains it."""

    doing: Callable[[TimeClass], AbstractContextManager[None]]
    """The context's `doing` method."""

    def __init__(self, standing: StageState, options: Grpo, trainer: Any) -> None:
        self._foundation, self._options = standing.foundation, options
        self.actor_trainer = trainer
        self._sampler = sampler_of(
            standing.foundation,
            options,
            options.batch * options.num_generations,
            standing.model,
            base_frozen=options.mode == "lora",
        )

    def draw(self, prompts: list[str], seed: int) -> tuple[np.ndarray[Any, Any], list[DrawnAnswer]]:
        """Generate an answer to each prompt with the policy's current weights; deterministic for a seed.

        Also returns the prompt tokens (rows × `max_prompt_length`, int32, padded on the left).
        """
        pieces, options = self._foundation.tokenizer, self._options
        tokens = [prompt_tokens(each, pieces) for each in prompts]
        with self.doing(TimeClass.ROLLOUT):
            drawn = self._sampler.draw(tokens, Draw(options.temperature, options.top_k, seed=seed))
        padded = np.full((len(tokens), options.max_prompt_length), pieces.pad_id(), np.int32)
        for row, each in enumerate(tokens):
            padded[row, options.max_prompt_length - len(each) :] = each
        return padded, [answer_of_tokens(each, self._foundation.stops, pieces) for each in drawn]

    def update_actor(self, parts: Iterable[Any], evaluation: Any) -> None:
        """Train the policy on the parts of a batch, as Tunix's cluster does."""
        with self._foundation.mesh:
            self.actor_trainer.train(parts, evaluation)


def cluster_of(standing: StageState, options: Grpo, steps: int, metrics: Any) -> Cluster:
    """Create the stage's cluster, with the optimizer restored if the stage is resumed. Its trainer has no loss yet."""
    micro = {
        "mini_batch_size": options.batch,
        "train_micro_batch_size": options.batch // options.gradient_accumulation_steps,
    }
    parts = micro if options.gradient_accumulation_steps > 1 else {}  # accumulation takes memory
    config = RLTrainingConfig(
        actor_optimizer=optax.identity(),  # see `equip`
        eval_every_n_steps=steps * options.num_iterations + 1,  # never: evaluation is a stage of its own
        metrics_prefix="actor",
        **parts,
    )
    with standing.foundation.mesh:
        trainer = Trainer(
            model=standing.model,
            optimizer=config.actor_optimizer,
            training_config=config,
            custom_checkpoint_metadata_fn=dict,  # Tunix saves no checkpoint here
            metrics_logger=metrics,
        )
    trainer.is_managed_externally = True  # otherwise the trainer skips data that it believes it has seen
    equip(trainer, standing, options, steps)
    return Cluster(standing, options, trainer)
