"""Forecasts whether a pipeline's model, batches and completions fit on its accelerator, without using any quota."""
