"""The daemon: carries the core's decisions out, collects what sessions leave, and keeps checkpoints safe."""
