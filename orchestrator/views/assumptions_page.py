"""Writes the table of assumptions into its docs page: `python -m orchestrator.views.assumptions_page docs/kaggle.md`."""

import re
import sys
from pathlib import Path

from orchestrator.core.assumptions import ASSUMPTIONS, Assumption

BLOCK = re.compile(r"(<!-- assumptions: made by `make reference` -->\n).*?(<!-- end of assumptions -->)", re.DOTALL)
HEAD = (
    "| key | what relay assumes, and its source | seen by | if it does not hold |",
    "|---|---|---|---|",
)


def table() -> str:
    """Return the table of all assumptions as Markdown."""
    return "\n".join([*HEAD, *(_row(assumption) for assumption in ASSUMPTIONS.values())])


def filled(page: str) -> str:
    """Return the page with its table brought up to date."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{table()}\n\n{block[2]}", page)


def _row(assumption: Assumption) -> str:
    star = "\\*" if assumption.rehearsed else ""
    ways = ", ".join(way.value for way in assumption.observed_by)
    follows = "copes: " if assumption.copes else "**stops a run**: " if assumption.stops else "for you to do: "
    assumed = f"{assumption.assumes} *{assumption.source}*"
    return f"| `{assumption.key}`{star} | {assumed} | {ways} | {follows}{assumption.if_refuted} |"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(filled(target.read_text(encoding="utf-8")), encoding="utf-8")
