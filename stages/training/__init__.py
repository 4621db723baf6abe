"""Code shared by the stages that train: models, optimizers, losses, rollouts, checkpoints of JAX arrays, guards."""
