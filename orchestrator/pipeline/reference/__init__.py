"""Reference of the pipeline file, generated from the code that reads it: JSON Schema, `relay explain`, docs page."""
