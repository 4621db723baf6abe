"""Small stand-ins for what real training needs from outside: a tokenizer, a model and data sets, made on the spot."""
