"""Whether a pipeline's model, batches and answers fit on its accelerator, asked before any of its hours are spent."""
