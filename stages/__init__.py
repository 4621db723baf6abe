"""What runs inside a Kaggle session: ships into the kernel, imports nothing of relay's that is above it."""
