"""Code that runs inside a Kaggle session. It ships in the kernel and imports none of relay's higher packages."""
