"""`relay publish`: puts an export on Kaggle as a model, or at Hugging Face."""
