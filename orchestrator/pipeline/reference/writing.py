"""Writes generated content to files: the schema to a given path, the reference into its docs page.

`python -m orchestrator.pipeline.reference.writing docs/pipeline.md` updates the page.
"""

import re
import sys
from pathlib import Path

from orchestrator.base.disk import write_whole
from orchestrator.base.errors import BadInput
from orchestrator.pipeline.reference.page import tables
from orchestrator.pipeline.reference.schema import ID

BLOCK = re.compile(r"(<!-- (\w+): made by `make reference` -->\n).*?(<!-- end of \2 -->)", re.DOTALL)


def write_schema(path: Path, text: str) -> None:
    """Write the schema, replacing an older one; raises BadInput if writing fails or another file is there."""
    try:
        if path.exists() and ID not in path.read_text(encoding="utf-8", errors="replace"):
            raise BadInput(f"--output {path}: there is a file that is not relay's schema: name another")
        write_whole(path, text.encode())
    except OSError as error:
        raise BadInput(f"--output {path}: it cannot be written ({error.strerror}): name another file") from error


def filled(page: str) -> str:
    """Return the page with its generated blocks brought up to date."""
    made = tables()
    return BLOCK.sub(lambda block: f"{block[1]}\n{made[block[2]]}\n\n{block[3]}", page)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(filled(target.read_text(encoding="utf-8")), encoding="utf-8")
