"""Tables of what relay assumes about Kaggle, by subject; `orchestrator.core.assumptions` combines them."""
