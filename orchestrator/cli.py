"""The command line."""

import click


@click.group()
def main() -> None:
    """Train on Kaggle in as many sessions as it takes."""
