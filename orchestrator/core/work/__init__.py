"""Model of the work of a stage's step: floating-point operations, bytes and the time they take. Pure."""
