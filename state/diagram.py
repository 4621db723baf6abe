"""Write the state diagram into a Markdown file: `python -m state.diagram docs/how-it-works.md`."""

import re
import sys
from pathlib import Path

from state.machine import diagram

BLOCK = re.compile(r"```mermaid\nstateDiagram-v2.*?```", re.DOTALL)


def main(path: Path) -> None:
    """Replace the diagram in the file by one drawn from the transition tables."""
    text = path.read_text(encoding="utf-8")
    path.write_text(BLOCK.sub(lambda _: f"```mermaid\n{diagram()}\n```", text, count=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
