"""A notebook that Kaggle's own program pushes is run cell by cell, as Kaggle runs it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.base.clock import SystemClock
from tests.contract.local import running
from tests.contract.program import Program

pytestmark = pytest.mark.slow


@pytest.fixture
def kaggle(tmp_path: Path) -> Iterator[Program]:
    (tmp_path / "home").mkdir()
    with running(tmp_path / "root", SystemClock()) as client:
        yield Program(client, tmp_path / "home")


def test_a_notebooks_cells_share_their_names_and_what_they_print_is_the_log(kaggle: Program) -> None:
    folder = kaggle.notebook(
        "some-notebook",
        "numbers = [1, 2, 3]\nprint('begin')",
        "from pathlib import Path\nPath('sum.txt').write_text(str(sum(numbers)));",
        "sum(numbers) * 2",
    )
    assert "Kernel version 1 successfully pushed" in kaggle("kernels", "push", "-p", str(folder))
    assert kaggle.log("some-notebook") == ["begin", "12"]
    assert 'has status "KernelWorkerStatus.COMPLETE"' in kaggle("kernels", "status", "rehearsal/some-notebook")
    kaggle("kernels", "output", "rehearsal/some-notebook", "-p", str(kaggle.home / "output"))
    assert (kaggle.home / "output" / "sum.txt").read_text() == "6"
    kaggle("kernels", "pull", "rehearsal/some-notebook", "-p", str(kaggle.home / "pulled"))
    pulled = json.loads((kaggle.home / "pulled" / "some-notebook.ipynb").read_text())
    assert pulled["cells"][2]["source"] == "sum(numbers) * 2"


def test_a_cell_that_fails_ends_the_session_with_its_traceback(kaggle: Program) -> None:
    folder = kaggle.notebook(
        "some-notebook",
        "print('before')",
        "def halve(number):\n    return number / 0\nhalve(1)",
        "print('after')",
    )
    kaggle("kernels", "push", "-p", str(folder))
    log = kaggle.log("some-notebook")
    assert "before" in log
    assert "after" not in log
    assert 'Exception encountered at "In [2]":' in log
    assert "    return number / 0" in log
    told = [line for line in log if line != "before"]  # two streams, read by a thread each: their order is not known
    assert told[-1] == "ZeroDivisionError: division by zero"
    assert 'has status "KernelWorkerStatus.ERROR"' in kaggle("kernels", "status", "rehearsal/some-notebook")


def test_shell_lines_run_installations_are_skipped_aloud_and_unknown_magics_fail(kaggle: Program) -> None:
    folder = kaggle.notebook(
        "some-notebook",
        "%matplotlib inline\nword = 'said'\n!echo {word} by a shell\n!pip install -q nothing-of-that-name",
        "lines = !printf 'one\\ntwo\\n'\nprint(lines)",
        "%%writefile module.py\nVALUE = 7",
        "import sys\nsys.path.insert(0, '.')\nimport module\nprint(module.VALUE)\nif False:\n    %unheard of",
        "%unheard of",
    )
    kaggle("kernels", "push", "-p", str(folder))
    log = kaggle.log("some-notebook")
    expected = ["said by a shell", "['one', 'two']", "7"]
    assert [line for line in log if line in expected] == expected
    skipped = (
        "the local Kaggle skips `pip install -q nothing-of-that-name`: a session runs in this machine's own Python"
    )
    assert skipped in log
    assert log[-1].endswith("UsageError: the local Kaggle does not know the magic %unheard")


def test_a_notebook_without_a_kernelspec_fails_as_on_kaggle(kaggle: Program) -> None:
    folder = kaggle.notebook("some-notebook", "print('never')", kernelspec={})
    kaggle("kernels", "push", "-p", str(folder))
    log = kaggle.log("some-notebook")
    assert log[-1] == "ValueError: No kernel name found in notebook and no override provided"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{}", "The notebook has no list of cells"),
        ('{"cells": [{"cell_type": "code"}]}', "Cell 1 of the notebook has no cell_type or no source"),
        ('{"cells": [{"cell_type": "code", "source": 3}]}', "Cell 1 of the notebook has no cell_type or no source"),
    ],
)
def test_what_is_no_notebook_is_a_push_error(kaggle: Program, text: str, why: str) -> None:
    folder = kaggle.notebook("some-notebook", text=text)
    assert f"Kernel push error: {why}" in kaggle("kernels", "push", "-p", str(folder))
    assert "Not found" in kaggle("kernels", "list", "-m")


def test_another_language_than_python_is_refused_in_one_sentence(kaggle: Program) -> None:
    folder = kaggle.kernel(language="r")
    printed = kaggle("kernels", "push", "-p", str(folder), exits=1)
    assert "The local Kaggle runs only Python, not r" in printed


def test_a_plain_script_finds_its_inputs_and_its_output_by_the_variables_or_by_kaggles_own_paths(
    kaggle: Program,
) -> None:
    kaggle("datasets", "create", "-p", str(kaggle.dataset(**{"state.bin": b"12345"})))
    script = (
        "import os, pathlib\n"
        "folder = pathlib.Path('/kaggle') if pathlib.Path('/kaggle/input').is_dir() else None\n"
        "inputs = folder / 'input' if folder else pathlib.Path(os.environ['RELAY_KAGGLE_INPUT'])\n"
        "working = folder / 'working' if folder else pathlib.Path(os.environ['RELAY_KAGGLE_WORKING'])\n"
        "(found,) = inputs.rglob('state.bin')\n"
        "(working / 'out.bin').write_bytes(found.read_bytes()[::-1])\n"
    )
    kaggle("kernels", "push", "-p", str(kaggle.kernel(text=script, dataset_sources=["rehearsal/some-data"])))
    kaggle("kernels", "logs", "-f", "rehearsal/some-kernel")
    kaggle("kernels", "output", "rehearsal/some-kernel", "-p", str(kaggle.home / "output"))
    assert (kaggle.home / "output" / "out.bin").read_bytes() == b"54321"
