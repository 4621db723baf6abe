"""Put the generated into files: the schema where it is wanted, the reference into its page.

`python -m orchestrator.pipeline.reference.writing docs/pipeline.md` brings the page up to date.
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
    """Write the schema, also over an older one; raises BadInput where that cannot be, or where something else is there."""
    try:
        if path.exists() and ID not in path.read_text(encoding="utf-8", errors="replace"):
            raise BadInput(f"--output {path}: there is a file that is not relay's schema: name another")
        write_whole(path, text.encode())
    except OSError as error:
        raise BadInput(f"--output {path}: it cannot be written ({error.strerror}): name another file") from error


def filled(page: str) -> str:
    """The page with each of its generated blocks as the code has it now."""
    made = tables()
    return BLOCK.sub(lambda block: f"{block[1]}\n{made[block[2]]}\n\n{block[3]}", page)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(filled(target.read_text(encoding="utf-8")), encoding="utf-8")
