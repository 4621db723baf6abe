"""README and docs say what is true: commands exist, links lead somewhere, the example pipelines are accepted."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from orchestrator.cli import main
from orchestrator.pipeline.loader import load
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import AccountOptions, Inputs, SessionLimits

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
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


def definition(place: str) -> ast.AST | Path | None:
    """What `package/module.function` on the page about the architecture stands for; None where the tree has no such thing."""
    top = ROOT if place.split("/")[0] in ("stages", "state", "kaggle_kernels", "tests") else ROOT / "orchestrator"
    if place.endswith((".py", "/")):
        return top / place if (top / place).exists() else None
    module, _, names = place.partition(".")
    path = top / f"{module}.py"
    found: ast.AST | None = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else None
    for name in names.split("."):
        found = next((node for node in getattr(found, "body", []) if getattr(node, "name", None) == name), None)
    return found


@pytest.mark.slow
def test_every_place_that_the_architecture_names_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    places = set(re.findall(r"`((?:[a-z_]+/)+(?:\w+(?:\.\w+)+)?)`", text)) - {"package/module.function"}
    tables = text.partition("## Five journeys")[0]
    places -= set(re.findall(r"`(\w+/)`", tables))  # packages, each named below the one that holds it
    assert len(places) > 80
    assert [place for place in sorted(places) if definition(place) is None] == []


def test_every_constant_that_the_architecture_names_is_in_its_module() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([A-Z_]+)`(?: and `([A-Z_]+)`)? in `([\w/]+\.py)`", text)
    assert len(named) >= 10
    for *constants, place in named:
        module = definition(place)
        assert isinstance(module, Path), place
        source = module.read_text(encoding="utf-8")
        for name in filter(None, constants):
            assert re.search(rf"^{name}\b", source, re.MULTILINE), f"{name} is not in {place}"


def test_every_page_has_a_place_in_the_sites_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    listed = set(re.findall(r"(\S+\.md)$", navigation, re.MULTILINE))
    made_of_the_root = {"index.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}  # by mkdocs_hooks.py
    assert listed - made_of_the_root == {page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:]}


def test_the_index_of_decisions_lists_every_record_under_its_title() -> None:
    folder = ROOT / "docs" / "adr"
    listed = re.findall(
        r"^\| \[(\d{4})\]\(([^)]+)\) \| (.+?) \|", (folder / "index.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    records = sorted(folder.glob("[0-9]*.md"))
    titles = [page.read_text(encoding="utf-8").splitlines()[0] for page in records]
    assert [(name, f"# {number}. {title}") for number, name, title in listed] == [
        (page.name, title) for page, title in zip(records, titles, strict=True)
    ]


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in main.commands if f"relay {name}" not in text] == []


def test_the_reference_names_every_key_of_a_pipeline() -> None:
    text = (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8")
    keys = [key for key in Pipeline.model_fields if key not in ("session", "account", "inputs", "expect", "own_lock")]
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
