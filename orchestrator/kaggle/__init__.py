"""The door to Kaggle: the port in our words and the one module that imports Kaggle's client."""
