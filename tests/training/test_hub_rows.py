"""A set whose commit relay does not know is read at the commit that the run's first session found, whatever the hub has since."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.data.readers import COMMIT
from stages.data.registry import KNOWN
from tests.training.small_hub import SmallHub, served

ROOT = Path(__file__).parents[2]
MAGPIE = KNOWN["magpie"]

OPEN = """
import json, sys
from pathlib import Path
from stages.data import RunData, open_source
run = RunData()
run.pins.recall(json.loads(sys.argv[2]))
source = open_source(["magpie"], Path(sys.argv[1]), seed=0, wants=lambda example: "", run=run)
words = sorted({example.question.split()[0] for example in source.train})
print(json.dumps({"words": words, "origins": source.origins, "pins": run.pins.described()}))
"""


def rows(word: str) -> dict[str, bytes]:
    lines = [
        {"instruction": f"{word} {number}?", "response": f"<think>\nso\n</think>\n\n\\boxed{{{number}}}"}
        for number in range(9)
    ]
    return {"data/train.jsonl": "".join(json.dumps(line) + "\n" for line in lines).encode()}


def session(hub: str, folder: Path, pins: dict[str, Any]) -> dict[str, Any]:
    """What a session reads whose checkpoint has these pins; each has a cache of its own, as on Kaggle."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(folder / "nothing-mounted"), json.dumps(pins)],
        env={**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(folder)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_a_run_goes_on_with_the_commit_that_its_first_session_found(tmp_path: Path) -> None:
    hub = SmallHub(MAGPIE.repository)
    old = hub.commit(rows("old"))
    with served(hub) as address:
        first = session(address, tmp_path / "first", {})
        hub.commit(rows("new"))
        second = session(address, tmp_path / "second", first["pins"])
        other_run = session(address, tmp_path / "other", {})
    assert first["words"] == second["words"] == ["old"]
    assert second["pins"] == first["pins"]
    assert first["pins"]["magpie train"]["revision"] == old
    assert second["origins"] == {"magpie": f"{MAGPIE.repository} at {old[:7]} on the Hugging Face hub"}
    assert other_run["words"] == ["new"]


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_a_revision_is_a_whole_commit_or_the_branch_that_a_session_resolves(name: str) -> None:
    """The hub takes no shortened commit."""
    assert KNOWN[name].revision == "main" or COMMIT.fullmatch(KNOWN[name].revision)
