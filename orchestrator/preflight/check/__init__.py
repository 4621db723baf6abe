"""`relay check`: tests everything that can stop a run; creates nothing, neither locally nor on Kaggle."""
