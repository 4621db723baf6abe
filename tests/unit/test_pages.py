"""README and docs say what is true: commands exist, links lead somewhere, the example pipelines are accepted."""

import re
from pathlib import Path

import click
import pytest

from orchestrator.cli import main
from orchestrator.pipeline import Account, Inputs, Pipeline, SessionLimits
from orchestrator.pipeline_file import load

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"`(?:\$ )?relay (?:--home \S+ )?([a-z]+(?:-[a-z]+)*)((?: +--?[a-z-]+)*)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_flag_on_a_page_exists(page: Path) -> None:
    for name, flags in COMMAND.findall(page.read_text(encoding="utf-8")):
        command = main.commands.get(name)
        assert isinstance(command, click.Command), f"{page.name} speaks of relay {name}"
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(flags.split()) <= known, f"{page.name}: relay {name}{flags}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_on_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in main.commands if f"relay {name}" not in text] == []


def test_the_reference_names_every_key_of_a_pipeline() -> None:
    text = (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8")
    keys = [key for key in Pipeline.model_fields if key not in ("session", "account", "inputs", "expect")]
    keys += [f"session.{key}" for key in SessionLimits.model_fields] + [f"inputs.{key}" for key in Inputs.model_fields]
    keys += [f"account.{key}" for key in Account.model_fields]
    assert [key for key in keys if f"`{key}`" not in text] == []


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_accepted(path: Path) -> None:
    if path.name.endswith(".faults.yaml"):
        from orchestrator.rehearsal.faults import FaultPlan

        assert FaultPlan.read(path).sessions
    else:
        assert load(path).stages


def test_every_commands_help_ends_with_an_example() -> None:
    for name, command in main.commands.items():
        assert command.help is not None
        assert "Example: relay" in command.help.strip().splitlines()[-1], name
