"""The single script that Kaggle runs, and its build from an order and the sources of `stages`."""
