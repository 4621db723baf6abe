"""Kaggle's own `kaggle` program, and Python code with kagglehub, pointed at a local Kaggle."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.contract.local import PATIENCE_S, Client

KAGGLE = Path(sys.executable).with_name("kaggle")

SCRIPT = """
import os, pathlib
names = sorted(path.name for path in pathlib.Path("../input").rglob("*") if path.is_file())
print("inputs:", *names, flush=True)
pathlib.Path("relay").mkdir()
(state,) = pathlib.Path("../input").rglob("state.bin")
pathlib.Path("relay/state.bin").write_bytes(state.read_bytes()[::-1])
pathlib.Path("report.json").write_text("{}")
"""


EACH = """
import contextlib, io, json, sys
commands = json.load(sys.stdin)
from kaggle.cli import main
printed = {}
for command in commands:
    sys.argv = ["kaggle", *command.split()]
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard), contextlib.suppress(SystemExit):
        main()
    printed[command] = heard.getvalue()
print(json.dumps(printed))
"""
"""Kaggle's program once for each of the commands in a JSON list, and a JSON object of what they printed."""


@dataclass
class Program:
    """Runs `kaggle` with nothing but the variables that the server gives out."""

    client: Client
    home: Path

    def __call__(self, *arguments: str, exits: int = 0) -> str:
        """Run one command; what it printed on both streams."""
        environment = {**self.client.kaggle.environment(), "HOME": str(self.home), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            [KAGGLE, *arguments], cwd=self.home, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
        )
        printed = done.stdout + done.stderr
        assert done.returncode == exits, printed
        return printed

    def each(self, commands: list[str]) -> dict[str, str]:
        """Run many commands in one interpreter, which saves their start; what each printed on both streams."""
        environment = {**self.client.kaggle.environment(), "HOME": str(self.home), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            [sys.executable, "-I", "-c", EACH],
            cwd=self.home,
            env=environment,
            input=json.dumps(commands),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        printed: dict[str, str] = json.loads(done.stdout)
        return printed

    def dataset(self, name: str = "some-data", **files: bytes) -> Path:
        """A folder that `datasets create` takes."""
        folder = self.home / name
        folder.mkdir(exist_ok=True)
        about = {"title": "Some data", "id": f"rehearsal/{name}", "licenses": [{"name": "CC0-1.0"}]}
        (folder / "dataset-metadata.json").write_text(json.dumps(about))
        for path, content in files.items():
            (folder / path).write_bytes(content)
        return folder

    def kernel(self, name: str = "some-kernel", text: str = SCRIPT, **more: object) -> Path:
        """A folder that `kernels push` takes."""
        folder = self.home / name
        folder.mkdir(exist_ok=True)
        about = {"id": f"rehearsal/{name}", "title": name, "code_file": "main.py", "language": "python"}
        (folder / "kernel-metadata.json").write_text(json.dumps({**about, "kernel_type": "script", **more}))
        (folder / "main.py").write_text(text)
        return folder

    def notebook(self, name: str, *cells: str, text: str | None = None, **metadata: object) -> Path:
        """A folder with a notebook for `kernels push`: of these code cells, or of a text that need be none."""
        folder = self.kernel(name, kernel_type="notebook", code_file="main.ipynb")
        code = [{"cell_type": "code", "source": cell.splitlines(keepends=True), "outputs": []} for cell in cells]
        about = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, **metadata}
        whole = {"cells": code, "metadata": about, "nbformat": 4, "nbformat_minor": 4}
        (folder / "main.ipynb").write_text(json.dumps(whole) if text is None else text)
        return folder

    def log(self, slug: str) -> list[str]:
        """The lines of a session's log once it is over, both streams."""
        self("kernels", "logs", "-f", f"rehearsal/{slug}")
        return [entry["data"].rstrip("\n") for entry in json.loads(self("kernels", "logs", f"rehearsal/{slug}"))]

    def hub(self, code: str) -> str:
        """Run Python code that has imported kagglehub; what it printed on its standard output."""
        own = {"HOME": str(self.home), "PATH": os.environ["PATH"], "KAGGLEHUB_VERBOSITY": "error"}
        environment = {**self.client.kaggle.environment(), **own}
        done = subprocess.run(
            [sys.executable, "-I", "-c", f"import kagglehub\n{code}"],
            cwd=self.home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.rstrip("\n")
