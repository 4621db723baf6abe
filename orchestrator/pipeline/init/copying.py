"""Implements `relay init --from EXAMPLE`: copy one of relay's examples, with the files beside it that it needs."""

from collections.abc import Mapping
from pathlib import Path

import click

from orchestrator.base.disk import write_whole
from orchestrator.base.errors import BadInput
from orchestrator.pipeline import loader
from orchestrator.pipeline.examples import FAULTS, SUFFIX, example, example_names, near_miss
from orchestrator.pipeline.init.free_path import require_free
from orchestrator.pipeline.init.yaml_edit import commented_text, read_commented, scalar, set_value
from stages.catalog import KINDS


def copy_example(name: str, file: Path | None, pipeline_name: str | None, *, force: bool) -> None:
    """Write an example to `file` [default: its own name, here], and what it needs beside it; print what to type next.

    Raises BadInput, with nothing written, if there is no such example, or a file is there already and not `force`.
    """
    stem = name.removesuffix(SUFFIX)
    if stem not in example_names():
        near = near_miss(Path(stem))
        meant = f"did you mean {near}? All of them" if near else "they"
        raise BadInput(f"{name!r} is none of relay's examples; {meant} are {', '.join(example_names())}")
    path = file or Path(stem + SUFFIX)
    written = {path: _text(stem, pipeline_name), **{path.with_name(to): text for to, text in _beside(stem, path)}}
    for each in written:
        require_free(each, force)
    _write(written)
    click.echo(f"{path} is written: relay's example {stem}")
    for each in list(written)[1:]:
        click.echo(f"{each} is written: {path.name} needs it")
    click.echo("next:")
    for command in ("check", "plan", "rehearse"):
        click.echo(f"  relay {command} {path}")


def _text(stem: str, pipeline_name: str | None) -> str:
    text = example(stem + SUFFIX).read_text(encoding="utf-8")
    if pipeline_name is None:
        return text
    if problem := loader.name_problem(pipeline_name):
        raise BadInput(problem)
    made = read_commented(text)
    set_value(made, "name", scalar(pipeline_name))
    return commented_text(made)


def _beside(stem: str, path: Path) -> list[tuple[str, str]]:
    """Return (name, text) of the files that an example needs beside it: its fault plan, its modules and its data."""
    source = example(stem + SUFFIX)
    pipeline = loader.load(source)
    modules = {f"{stage.kind.partition(':')[0]}.py" for stage in pipeline.stages if stage.kind not in KINDS}
    names = {name: name for name in (*modules, *pipeline.inputs.files)}
    names[f"{stem}{FAULTS}{SUFFIX}"] = f"{path.stem}{FAULTS}{SUFFIX}"
    return [
        (names[name], source.with_name(name).read_text(encoding="utf-8"))
        for name in sorted(names)
        if source.with_name(name).exists()
    ]


def _write(texts: Mapping[Path, str]) -> None:
    for path, text in texts.items():
        try:
            write_whole(path, text.encode())
        except OSError as error:
            raise BadInput(f"{path} cannot be written ({error.strerror or error}): name another file") from error
