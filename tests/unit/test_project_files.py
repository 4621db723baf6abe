"""What contributors and users are told of the project is true: commands, options, groups, versions, licence."""

import re
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from orchestrator.cli import THEMES, main

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob(".github/**/*.md"),
        *ROOT.glob(".github/**/*.yml"),
        ROOT / ".ci/run",
    ]
)
ABOUT = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
ROW = re.compile(r"^\| (`relay .*?) \| (.*) \|$", re.MULTILINE)


def groups(page: str) -> dict[str, str]:
    """Tables of docs/commands.md by their titles, as text."""
    parts = re.split(r"^\| ([a-z ]+) \| \|$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def targets() -> set[str]:
    declared = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert declared is not None
    return set(declared[1].split())


# --- commands ----------------------------------------------------------------


def test_the_page_of_commands_has_the_groups_of_help_in_their_order_and_words() -> None:
    described: dict[str, list[tuple[str, str]]] = {}
    for title, table in groups(ABOUT["docs/commands.md"]).items():
        rows = described.setdefault(title, [])
        for usage, text in ROW.findall(table):
            name = usage.strip("`").split()[1]
            if name not in [known for known, _ in rows]:  # further rows of a command are about its options
                rows.append((name, text))
    assert list(described) == [title.lower() for title in THEMES]
    for (title, commands), rows in zip(THEMES.items(), described.values(), strict=True):
        assert [name for name, _ in rows] == [command.name for command in commands], title
        for line, (name, text) in zip(commands.values(), rows, strict=True):
            assert text.startswith(line.removesuffix(".")), f"relay {name}"


def test_the_readme_lists_the_commands_in_the_groups_of_help() -> None:
    section = ABOUT["README.md"].partition("## All commands")[2].partition("\n## ")[0]
    listed = {
        title: re.findall(r"`relay ([a-z-]+)`", text)
        for title, text in re.findall(r"^\| ([a-z ]+) \| (.+) \|$", section, re.MULTILINE)
    }
    assert listed == {title.lower(): [command.name for command in commands] for title, commands in THEMES.items()}


@pytest.mark.parametrize("page", [name for name in ABOUT if not name.startswith("docs/") and name != "CHANGELOG.md"])
def test_every_relay_command_that_contributors_are_told_to_run_exists_with_its_options(page: str) -> None:
    for usage in re.findall(r"\brelay ((?:[a-z-]+ )?(?:[A-Z]+ )?--[a-z-]+)", ABOUT[page]):
        name, option = usage.split()[0], usage.split()[-1]
        command = main if name.startswith("--") else main.commands[name]
        with click.Context(command) as context:
            options = {opt for parameter in command.get_params(context) for opt in parameter.opts}
        assert option in options, f"relay {usage}"


# --- make --------------------------------------------------------------------


def test_every_target_of_make_that_a_page_names_exists_and_is_described() -> None:
    for page, text in ABOUT.items():
        assert set(re.findall(r"(?:^|`|\sexec )make ([a-z][a-z-]*)", text, re.MULTILINE)) <= targets(), page
    described = set(re.findall(r"^\| `make ([a-z-]+)` \|", ABOUT["docs/development.md"], re.MULTILINE))
    assert described == targets()


def test_what_runs_before_a_commit_is_what_make_check_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    entries = {re.sub(r" --fix$", "", hook["entry"]) for hook in hooks}
    recipe = MAKEFILE[MAKEFILE.index("\ncheck: ") :].split("\n\n")[0]
    checked = {re.sub(r" (--check )?\.$", "", line) for line in re.findall(r"\$\(BIN\)/(.*)", recipe)}
    assert entries == {f".venv/bin/{command}" for command in checked}


@pytest.mark.parametrize(("name", "command"), [("ci", ".ci/run"), ("nightly", ".ci/run nightly")])
def test_the_workflows_run_what_ci_run_runs_with_the_python_of_the_metadata(name: str, command: str) -> None:
    workflow = yaml.safe_load(ABOUT[f".github/workflows/{name}.yml"])
    steps = workflow["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [command]
    (python,) = [step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", "")]
    assert PROJECT["requires-python"] == f">={python}"
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]


# --- metadata ----------------------------------------------------------------


def test_the_licence_of_the_metadata_is_that_of_the_file() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0" and PROJECT["license-files"] == ["LICENSE"]
    assert "Apache License" in text and "Version 2.0, January 2004" in text


def test_every_package_that_is_asked_for_is_pinned() -> None:
    wanted = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)

    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    names = {plain(re.split(r"[\[<>=! ;]", requirement)[0]) for requirement in wanted}
    assert names - {plain(name) for name in pinned} == set()


def test_the_changelog_keeps_its_form() -> None:
    sections = re.findall(r"^## (.+)$", ABOUT["CHANGELOG.md"], re.MULTILINE)
    assert sections[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", title) for title in sections[1:])
    kinds = set(re.findall(r"^### (.+)$", ABOUT["CHANGELOG.md"], re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_measurement_is_described_and_every_described_one_exists() -> None:
    runnable = {
        file.stem
        for file in ROOT.glob("benchmarks/*.py")
        if re.search(r"^    python -m benchmarks", file.read_text(), re.M)
    }
    assert set(re.findall(r"python -m benchmarks\.(\w+)", "".join(ABOUT.values()))) == runnable
