"""Commands typed against a simulated chain's home folder, through the command line as a user types them."""

import os
import shlex
from pathlib import Path

from click.testing import CliRunner, Result

from orchestrator.cli import main
from orchestrator.rehearsal.simulation.chain import RUN, Chain

WIDE = {"COLUMNS": "1000", "NO_COLOR": "1"}


def relay(chain: Chain, *words: str, **environ: str) -> Result:
    """Run one relay command on the chain's home folder."""
    environment = {**WIDE, "HOME": str(chain.home.path), **environ}
    mask = os.umask(0o077)  # as the command sets it for its own process
    try:
        return CliRunner().invoke(main, ["--home", str(chain.home.path), *words], env=environment)
    finally:
        os.umask(mask)


def told(chain: Chain, *words: str, **environ: str) -> str:
    """Return what a relay command prints; it has to succeed."""
    result = relay(chain, *words, **environ)
    assert result.exit_code == 0, result.output
    return result.output


def shown_command(chain: Chain) -> list[str]:
    """Return the words of the command that `relay status` tells to type."""
    screen = told(chain, "status", RUN)
    (line,) = [line for line in screen.splitlines() if line.strip().startswith("type: ")]
    name, *words = shlex.split(line.strip().removeprefix("type: "))
    assert name == "relay"
    return words


def write_pipeline(path: Path, text: str) -> str:
    """Write a pipeline file and return its path as a word of a command."""
    path.write_text(text, encoding="utf-8")
    return str(path)
