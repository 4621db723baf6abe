"""`make mutants`: changes the code in one place at a time, and fails for a change that no quick test notices.

mutmut makes the mutants and runs, for each, the tests that call the mutated function. `[tool.mutmut]` in pyproject.toml
names the modules and the tests. Survivors must be listed with a reason in `tests/mutants_accepted.toml`.
docs/development.md has more.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

ROOT = Path(__file__).parents[1]
MUTANTS = ROOT / "mutants"
ACCEPTED = Path(__file__).with_name("mutants_accepted.toml")
SAMPLE = 300
"""Number of mutants that are tested by default: a few minutes on two cores."""
STRICT = ("orchestrator.core.", "state.machine", "state.session_changes", "state.transitions")
"""Modules of which every survivor must be listed. Of the others, `FLOOR` of the mutants must be noticed."""
FLOOR = 0.8
NOTICED = ("killed", "timeout", "segfault")
"""Results of a mutant that the tests noticed: a failed test, an endless loop, a crash."""


@dataclass(frozen=True)
class Survivor:
    """A change that no test notices: the function and the lines before and after it. Names no module: code moves."""

    function: str
    before: str
    after: str

    @classmethod
    def of(cls, mutant: str) -> "Survivor":
        """Describe a mutant by its diff."""
        path = Path(*module_of(mutant).split(".")).with_suffix(".py")
        lines = get_diff_for_mutant(mutant, path=path).splitlines()[3:]
        name, of = orig_function_and_class_names_from_key(mutant)
        removed, added = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in ("-", "+"))
        return cls(f"{of}.{name.rpartition('.')[2]}" if of else name.rpartition(".")[2], removed, added)


def accepted() -> dict[Survivor, str]:
    """Return the survivors that are no gap in the tests, with the reason of each."""
    listed = tomllib.loads(ACCEPTED.read_text(encoding="utf-8"))["survivor"]
    return {Survivor(one["function"], one["before"], one["after"]): one["why"] for one in listed}


def mutmut(*mutants: str) -> int:
    """Run mutmut, which makes the mutants first if they are missing; return its exit status."""
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", str(os.cpu_count() or 2)]
    return subprocess.run([*command, *mutants], cwd=ROOT, check=False).returncode


def results() -> dict[str, str]:
    """Return the result of every mutant by its name."""
    found: dict[str, str] = {}
    for path in sorted(MUTANTS.rglob("*.py.meta")):
        codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        found |= {name: status_by_exit_code[code] for name, code in codes.items()}
    return found


def module_of(mutant: str) -> str:
    """Return the module of a mutant, by its name."""
    return mutant.rpartition(".")[0]


def sampled(names: list[str], count: str, seed: str) -> list[str]:
    """Return the mutants to test: `all`, or that many of each module's share, drawn by the seed."""
    if count == "all" or int(count) >= len(names):
        return names
    return sorted(random.Random(f"mutants {seed}").sample(sorted(names), int(count)))


def scores(tested: dict[str, str]) -> dict[str, float]:
    """Print for each module how many of its mutants the tests noticed, and return these shares."""
    total = Counter(map(module_of, tested))
    noticed = Counter(module_of(name) for name, result in tested.items() if result in NOTICED)
    for module in sorted(total):
        print(f"{100 * noticed[module] / total[module]:6.1f} %  {noticed[module]:5} of {total[module]:5}  {module}")
    every = max(1, total.total())
    print(f"{100 * noticed.total() / every:6.1f} %  {noticed.total():5} of {total.total():5}  in all")
    return {module: noticed[module] / total[module] for module in total}


def verdict(tested: dict[str, str], *, complete: bool) -> int:
    """Print scores and survivors; return 1 if one survived that must be listed and is not, or too many of a module."""
    found, known = scores(tested), accepted()
    alive = {name: Survivor.of(name) for name, result in tested.items() if result not in NOTICED}
    new = {name: survivor for name, survivor in alive.items() if survivor not in known}
    print(f"{len(alive)} survived, {len(alive) - len(new)} of them listed with a reason in {ACCEPTED.name}")
    for name, survivor in sorted(new.items()):
        print(f"\n{name} ({tested[name]})\n  - {survivor.before}\n  + {survivor.after}")
    gone = set(known) - set(alive.values()) if complete else set()
    for survivor in sorted(gone, key=lambda one: one.function):
        print(f"\n{ACCEPTED.name} lists a survivor that does not survive any more:\n  {survivor}")
    weak = [module for module, share in found.items() if complete and share < FLOOR and not module.startswith(STRICT)]
    for module in weak:
        print(f"\n{module}: fewer than {FLOOR:.0%} of the mutants are noticed")
    return 1 if gone or weak or any(name.startswith(STRICT) for name in new) else 0


def main() -> int:
    """Test mutants as the environment asks for: MUTANTS (`all` or a number), MUTANTS_SEED, MUTANTS_OF (a module)."""
    count, seed = os.environ.get("MUTANTS", str(SAMPLE)), os.environ.get("MUTANTS_SEED", "0")
    only = os.environ.get("MUTANTS_OF", "")
    os.chdir(ROOT)
    shutil.rmtree(MUTANTS, ignore_errors=True)
    mutmut("none")  # makes all mutants and measures which test calls what; then it finds none of this name
    names = [name for name in results() if module_of(name).startswith(only)]
    if not names:
        print("mutmut made no mutants: see its message above", file=sys.stderr)
        return 2
    chosen = sampled(names, count, seed)
    mutmut(*chosen)
    found = results()
    tested = {name: found[name] for name in chosen}
    if untested := [name for name, result in tested.items() if result == "not checked"]:
        print(f"mutmut did not test {len(untested)} mutants: see its message above", file=sys.stderr)
        return 2
    return verdict(tested, complete=len(chosen) == len(names) and not only)


if __name__ == "__main__":
    sys.exit(main())
