"""Runs a pushed notebook inside a session: its code cells in order, in one Python process.

It is copied into the session, so it imports the standard library only. Of IPython's syntax it supports what notebooks
on Kaggle use most: `!command`, `name = !command`, `%%bash`, `%%sh`, `%%writefile`, `%time`, `%%time`, and magics that
only affect the display. Installing packages is skipped with a warning, since the session runs in this machine's own
Python. Every other magic fails the session.
"""

import ast
import functools
import json
import linecache
import re
import subprocess
import sys
import traceback
import types
from pathlib import Path

SILENT = ("autoreload", "capture", "config", "load_ext", "matplotlib", "reload_ext", "time")
"""Magics that do not change what a cell computes, and are ignored."""

MAGIC = re.compile(r"^(?P<indent>\s*)(?:(?P<names>[\w, ]+?)\s*=\s*)?(?P<kind>[!%])(?P<rest>[^%].*)$")
INSTALLS = re.compile(
    r"\s*(?:\S*python[\d.]*\s+-m\s+)?(?:pip[\d.]*|conda|mamba|uv\s+pip)\s+(?:install|uninstall|sync)\b"
)


class UsageError(Exception):
    """Raised for a magic that the local Kaggle does not support."""


class Shell:
    """Result of `get_ipython()` in a cell: the methods that rewritten lines call, under IPython's names."""

    def __init__(self, names: dict[str, object]) -> None:
        self._names = names

    def system(self, command: str) -> None:
        """Run `!command`: its output goes to the log, its exit status to `_exit_code`."""
        self._names["_exit_code"] = self._run(command)[0]

    def getoutput(self, command: str) -> list[str]:
        """Run `name = !command`, and return the lines that it prints."""
        return self._run(command, kept=True)[1].splitlines()

    def run_line_magic(self, name: str, line: str) -> None:
        """Run `%name line`. Raises UsageError for an unsupported magic."""
        if name in ("pip", "conda", "mamba"):
            self.system(f"{name} {line}")
        elif name == "time" and line:
            exec(compile(line, "<time>", "exec"), self._names)
        elif name not in SILENT:
            raise UsageError(f"the local Kaggle does not know the magic %{name}")

    def run_cell_magic(self, name: str, line: str, cell: str) -> None:
        """Run `%%name line` on the rest of a cell. Raises UsageError, or CalledProcessError if a shell fails."""
        if name == "writefile":
            append = line.startswith("-a ")
            with Path(line.removeprefix("-a ").strip()).open("a" if append else "w", encoding="utf-8") as file:
                file.write(cell)
        elif name in ("bash", "sh"):
            sys.stdout.flush()
            subprocess.run([name, "-c", cell], check=True)
        else:
            raise UsageError(f"the local Kaggle does not know the magic %%{name}")

    def _run(self, command: str, kept: bool = False) -> tuple[int, str]:
        if INSTALLS.match(command):
            text = f"the local Kaggle skips `{command.strip()}`: a session runs in this machine's own Python\n"
            sys.stderr.write(text)
            return 0, ""
        sys.stdout.flush()
        expanded = re.sub(r"\{(\w+)\}|\$(\w+)", self._value, command)
        done = subprocess.run(expanded, shell=True, check=False, text=True, stdout=subprocess.PIPE if kept else None)
        return done.returncode, done.stdout or ""

    def _value(self, found: re.Match[str]) -> str:
        name = found[1] or found[2]
        return str(self._names[name]) if name in self._names else found[0]


def main(path: Path) -> int:
    """Run the notebook, and return the exit status of the session."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    if not notebook.get("metadata", {}).get("kernelspec", {}).get("name"):
        raise ValueError("No kernel name found in notebook and no override provided")
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    names = vars(module)
    shell = Shell(names)
    names["get_ipython"] = lambda: shell
    codes = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, source in enumerate(codes, start=1):
        text = source if isinstance(source, str) else "".join(source)
        sys.excepthook = functools.partial(_explain, number)
        run(text, f"<cell {number}>", names, shell)
        sys.stdout.flush()
    return 0


def run(text: str, name: str, names: dict[str, object], shell: Shell) -> None:
    """Run one cell. The value of a final expression is printed, unless a semicolon follows."""
    first, _, rest = text.lstrip().partition("\n")
    if first.startswith("%%"):
        magic, _, line = first[2:].partition(" ")
        if magic not in SILENT:
            return shell.run_cell_magic(magic, line.strip(), rest)
        text = f"\n{rest}"
    code = python_of(text)
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    tree = ast.parse(code, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)
    if isinstance(last, ast.Expr):
        silent = code.rstrip().endswith(";")
        shown = ast.Module([last], []) if silent else ast.Interactive([last])
        exec(compile(shown, name, "exec" if silent else "single"), names)
    return None


def python_of(text: str) -> str:
    """Return the cell with its magics rewritten as calls. Only lines that Python cannot parse are treated as magics."""
    lines = text.splitlines()
    while True:
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            at = (error.lineno or 0) - 1
            found = MAGIC.match(lines[at]) if 0 <= at < len(lines) else None
            if found is None:
                return "\n".join(lines) + "\n"
            end = at
            while lines[end].endswith("\\") and end + 1 < len(lines):
                end += 1
            joined = " ".join(line.removesuffix("\\").strip() for line in [found["rest"], *lines[at + 1 : end + 1]])
            lines[at : end + 1] = [_call(found, joined), *[""] * (end - at)]
        else:
            return "\n".join(lines) + "\n"


def _explain(number: int, kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
    """Print in which cell the notebook failed, and the traceback."""
    sys.stdout.flush()
    sys.stderr.write(f'Exception encountered at "In [{number}]":\n')
    traceback.print_exception(kind, error, _from_the_cell(trace))


def _from_the_cell(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Return the traceback without this program's own frames at its start."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def _call(found: re.Match[str], rest: str) -> str:
    given = f"{found['names']} = " if found["names"] else ""
    if found["kind"] == "!":
        called = f"get_ipython().{'getoutput' if given else 'system'}({rest!r})"
    else:
        name, _, line = rest.partition(" ")
        called = f"get_ipython().run_line_magic({name!r}, {line.strip()!r})"
    return f"{found['indent']}{given}{called}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
