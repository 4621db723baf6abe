"""The engine: performs the core's commands, collects what sessions leave, and keeps checkpoints safe."""
