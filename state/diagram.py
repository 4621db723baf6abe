"""Write the state diagram into a Markdown file: `python -m state.diagram docs/how-it-works.md`."""

import re
import sys
from pathlib import Path

from state.transitions import RUN_TRANSITIONS, SESSION_TRANSITIONS

BLOCK = re.compile(r"```mermaid\nstateDiagram-v2.*?```", re.DOTALL)


def diagram() -> str:
    """Return both transition tables as one Mermaid state diagram, shown in docs/how-it-works.md."""
    lines = ["stateDiagram-v2", "    direction LR", "    state run {", "        [*] --> active: run_started"]
    for status, row in RUN_TRANSITIONS.items():
        lines += [f"        {status} --> {to}: {fact.name}" for fact, to in row.items()]
    lines += ["    }", "    state session {", "        [*] --> planned: session_planned"]
    for phase, cells in SESSION_TRANSITIONS.items():
        lines += [f"        {phase} --> {to}: {fact.name}" for fact, to in cells.items()]
    return "\n".join([*lines, "    }"])


def main(path: Path) -> None:
    """Replace the diagram in the file by one drawn from the transition tables."""
    text = path.read_text(encoding="utf-8")
    path.write_text(BLOCK.sub(lambda _: f"```mermaid\n{diagram()}\n```", text, count=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
