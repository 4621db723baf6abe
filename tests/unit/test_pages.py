"""README and docs say what is true: commands exist, links lead somewhere, the example pipelines are accepted."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from orchestrator.cli import main
from orchestrator.pipeline.loader import load
from orchestrator.pipeline.model import AccountOptions, Inputs, Pipeline, SessionLimits

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


def anchors(page: Path) -> set[str]:
    """What a link can lead to on a page, as GitHub names headings: small letters, no marks, hyphens for blanks."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_place_on_a_page_finds_it(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        other = page.parent / target if target else page
        assert other.suffix != ".md" or anchor in anchors(other), f"{page.name}: {target}#{anchor}"


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in main.commands if f"relay {name}" not in text] == []


def test_the_reference_names_every_key_of_a_pipeline() -> None:
    text = (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8")
    keys = [key for key in Pipeline.model_fields if key not in ("session", "account", "inputs", "expect")]
    keys += [f"session.{key}" for key in SessionLimits.model_fields] + [f"inputs.{key}" for key in Inputs.model_fields]
    keys += [f"account.{key}" for key in AccountOptions.model_fields]
    assert [key for key in keys if f"`{key}`" not in text] == []


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_accepted(path: Path) -> None:
    if path.name.endswith(".faults.yaml"):
        from orchestrator.rehearsal.local_kaggle.faults import FaultPlan

        assert FaultPlan.read(path).sessions
    else:
        assert load(path).stages


def every_command(group: click.Group, name: str = "relay") -> Iterator[tuple[str, click.Command]]:
    """Each command with the words that call it, those of groups too."""
    for word, command in group.commands.items():
        yield f"{name} {word}", command
        if isinstance(command, click.Group):
            yield from every_command(command, f"{name} {word}")


@pytest.mark.parametrize(("name", "command"), [pytest.param(*found, id=found[0]) for found in every_command(main)])
def test_every_commands_help_ends_with_an_example(name: str, command: click.Command) -> None:
    last = (command.help or "").strip().splitlines()[-1].strip()
    assert last.startswith(f"Example: {name}"), name
