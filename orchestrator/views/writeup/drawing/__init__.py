"""Pictures of a write-up. matplotlib is imported here alone, so other commands do not wait for it."""
