"""What a notebook must be to be pushed, and how the lines that only IPython reads become Python."""

import json
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.rehearsal.local_kaggle.notebook_program import INSTALLS, python_of
from orchestrator.rehearsal.local_kaggle.notebooks import problem_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["cells", "cell_type", "source", "metadata"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"cells": []}', ""),
        ('{"cells": [{"cell_type": "code", "source": ["a\\n", "b"]}, {"cell_type": "markdown", "source": "# x"}]}', ""),
        ("print('a script')", "The notebook is not valid JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[]", "The notebook has no list of cells; only the format 4 of Jupyter notebooks is accepted"),
        ('{"worksheets": []}', "The notebook has no list of cells; only the format 4 of Jupyter notebooks is accepted"),
        ('{"cells": [7]}', "Cell 1 of the notebook has no cell_type or no source"),
        (
            '{"cells": [{"cell_type": "raw", "source": ""}, {"cell_type": "code"}]}',
            "Cell 2 of the notebook has no cell_type or no source",
        ),
        ('{"cells": [{"cell_type": "code", "source": [1]}]}', "Cell 1 of the notebook has no cell_type or no source"),
    ],
)
def test_a_problem_of_a_notebook_is_one_sentence(text: str, problem: str) -> None:
    assert problem_of(text) == problem


@pytest.mark.slow
@given(JSON)
def test_whatever_is_taken_for_a_notebook_has_cells_with_sources(value: object) -> None:
    if problem_of(json.dumps(value)) == "":
        assert isinstance(value, dict)
        for cell in value["cells"]:
            assert cell["cell_type"] in ("code", "markdown", "raw")
            assert isinstance("".join(cell["source"]), str)


@pytest.mark.parametrize(
    ("cell", "python"),
    [
        ("x = 5 % 3\ny = '''\n%d\n!no\n'''", "x = 5 % 3\ny = '''\n%d\n!no\n'''"),
        ("!ls -l", "get_ipython().system('ls -l')"),
        ("if x:\n    !rm a\nelse:\n    pass", "if x:\n    get_ipython().system('rm a')\nelse:\n    pass"),
        ("names = !ls\nprint(names)", "names = get_ipython().getoutput('ls')\nprint(names)"),
        ("%matplotlib inline\nimport os", "get_ipython().run_line_magic('matplotlib', 'inline')\nimport os"),
        ("!pip install \\\n  a \\\n  b\nz = 1", "get_ipython().system('pip install a b')\n\n\nz = 1"),
        ("!echo it's (open", 'get_ipython().system("echo it\'s (open")'),
        ("def broken(:\n    pass", "def broken(:\n    pass"),
    ],
)
def test_only_lines_that_python_cannot_read_are_rewritten(cell: str, python: str) -> None:
    assert python_of(textwrap.dedent(cell)) == python + "\n"


@pytest.mark.parametrize(
    ("command", "skipped"),
    [
        ("pip install x", True),
        (" pip3 install -q x", True),
        ("python -m pip install x", True),
        ("/usr/bin/python3.12 -m pip uninstall -y x", True),
        ("uv pip install --system x", True),
        ("pip list", False),
        ("echo pip install", False),
        ("pipx install", False),
    ],
)
def test_an_installation_is_known_by_its_words(command: str, skipped: bool) -> None:
    assert bool(INSTALLS.match(command)) is skipped
