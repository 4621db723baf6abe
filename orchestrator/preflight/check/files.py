"""Checks of the pipeline's own files: data, modules, the kernel's size and the names on Kaggle."""

from collections.abc import Iterator

from kaggle_kernels import build
from orchestrator.base.humanize import counted
from orchestrator.core.plan import checkpoint_of, inputs_of, slug_of
from orchestrator.pipeline.summary import outline
from orchestrator.preflight.check.findings import CheckSubject, Finding, ok, problem
from stages.catalog import KINDS
from stages.data.problems import read_problems
from stages.data.questions import read_questions

NAME_CHARACTERS_MAX = 50
"""Length limit of the name and title of a kernel or dataset on Kaggle, in characters."""


def written(subject: CheckSubject) -> Iterator[Finding]:
    """Report the pipeline file, which was validated before the checks."""
    pipeline = subject.pipeline
    stages = len(pipeline.stages)
    yield ok(
        "file",
        f"{subject.path} is a pipeline of {stages} stage{'s' if stages > 1 else ''} and {counted(pipeline.total_steps, 'step')}, and "
        "every option is one that relay knows",
    )


def modules(subject: CheckSubject) -> Iterator[Finding]:
    """Report the user's own modules, which ship inside the kernel."""
    if sources := subject.pipeline.sources:
        yield ok("code", f"your own {', '.join(sorted(sources))} can be read and ship with the kernel")


def data(subject: CheckSubject) -> Iterator[Finding]:
    """Check each of the user's own data files, line by line."""
    used = {str(entry).partition(":")[0] for stage in subject.pipeline.stages for entry in _data(stage.options)}
    asked = {KINDS["answer"].fit(s.options, s.name).questions for s in subject.pipeline.stages if s.kind == "answer"}
    for name in subject.pipeline.inputs.files:
        path = subject.path.parent / name
        if path.name in asked and path.name not in used:
            yield ok("data", f"{name} has {counted(len(read_questions(path)), 'question')}")
            continue
        if path.name not in used or path.suffix != ".jsonl":
            yield ok("data", f"{name} is there, {path.stat().st_size:,} bytes")
            continue
        try:
            train, held_out = read_problems(path)
        except (OSError, ValueError) as error:
            yield problem(
                "data",
                str(error).removeprefix("data: "),
                f"fix {path}: docs/pipeline.md describes the format of a line",
            )
        else:
            yield ok(
                "data",
                f"{name} has {counted(len(train), 'problem')} to train on and {len(held_out):,} that are held out",
            )


def kernel(subject: CheckSubject) -> Iterator[Finding]:
    """Check the size of the kernel script, with the longest possible names in it."""
    size = outline(subject.pipeline)["kernel"]["bytes"]
    text = f"the kernel has {size:,} of less than {build.SIZE_BYTES_MAX:,} bytes"
    if size < build.SIZE_BYTES_MAX:
        yield ok("kernel", text)
    else:
        yield problem(
            "kernel",
            f"{text}, and Kaggle takes no more",
            "make your own modules smaller, or list data under inputs.files",
        )


def names(subject: CheckSubject) -> Iterator[Finding]:
    """Check the length of the run's names on Kaggle, at their longest."""
    name = subject.pipeline.name
    run = f"{name}-0000"
    longest = max(slug_of(run, 9999, 99), checkpoint_of(run, 9999, 99), inputs_of(run), key=len)
    if len(longest) <= NAME_CHARACTERS_MAX:
        yield ok("names", f"kernels will be called {name}-…-s0001, checkpoints {name}-…-c0001: valid names on Kaggle")
    else:
        yield problem(
            "names",
            f"{longest} would be longer than the {NAME_CHARACTERS_MAX} characters that Kaggle allows",
            "choose a shorter name",
        )


def _data(options: dict[str, object]) -> list[object]:
    found = options.get("data")
    return list(found) if isinstance(found, (list, tuple)) else [found]
