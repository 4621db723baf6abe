"""What the stages that train share: models, optimizers, losses, rollouts, checkpoints of JAX arrays, guards."""
