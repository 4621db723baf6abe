"""The write-up of a run: values that know their source, the text made of them, and pictures."""
