"""What may stand in a pipeline file, told from the code that reads it: a JSON Schema, and from it explanations and a page."""
