"""The one script that Kaggle runs, and how it is built from an order and the sources of `stages`."""
