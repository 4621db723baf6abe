"""What a session installs and fetches: pins against what relay is tested with, and what needs the internet."""

import platform
from collections.abc import Iterator
from importlib import metadata

from orchestrator import brought
from orchestrator.check.findings import Finding, Subject, note, ok, problem, warning
from orchestrator.environments import ENVIRONMENTS
from stages.data.sets import KNOWN


def versions(subject: Subject) -> Iterator[Finding]:
    """relay and Python here; the pins there."""
    yield ok("versions", f"relay {metadata.version('relay-kaggle')} on Python {platform.python_version()}")
    pipeline = subject.pipeline
    if not pipeline.pins:
        return
    tested = next((name for name, pins in ENVIRONMENTS.items() if _plain(pins) == _plain(pipeline.pins)), None)
    if tested is not None:
        yield ok("versions", f"a session installs what it lacks of {tested}, which relay is tested with")
    elif not pipeline.needs_jax:
        yield ok("versions", f"a session installs what it lacks of {', '.join(pipeline.pins)}")
    else:
        yield warning(
            "versions",
            "environment has other versions than those that bit-for-bit resume was tested with",
            f"leave environment out or write {' or '.join(ENVIRONMENTS)}, or prove yours with relay verify-resume",
        )


def _plain(pins: tuple[str, ...]) -> frozenset[str]:
    """The pins without what they ask for beside a version."""
    return frozenset(f"{pin.partition('[')[0].partition('=')[0]}=={pin.partition('==')[2]}" for pin in pins)


def sets(subject: Subject) -> Iterator[Finding]:
    """The sets that are read from what the pipeline itself brings."""
    pipeline = subject.pipeline
    for name in brought.sets_used(pipeline):
        if files := brought.files_of(name, pipeline):
            yield ok("data", f"{name} is read from your own {' and '.join(files)}, called as its files are")
        elif halves := brought.halves_of(name, pipeline):
            splits = " and ".join((KNOWN[name].train[0], *KNOWN[name].held_out[:1]))
            yield problem(
                "data",
                f"{' and '.join(halves)} of inputs.files names a split of {name}, and its other split is not there in the same format",
                f"add it, so that there are {splits}, or give the file another name",
            )
        elif unsplit := brought.unsplit_of(name, pipeline):
            yield warning(
                "data",
                f"{' and '.join(unsplit)} of inputs.files is called after {name} and after none of its splits: a session that "
                "finds rows of the set in there refuses them",
                "call the files as the hub does, or give them another name",
            )
        elif refs := brought.datasets_called(name, pipeline):
            yield note(
                "data",
                f"{name} is looked for in {' and '.join(refs)} because of the name: only a session can tell whether it is in there",
            )


def internet(subject: Subject) -> Iterator[Finding]:
    """What has to be fetched while a session runs."""
    pipeline = subject.pipeline
    fetched = [
        name
        for name in brought.sets_used(pipeline)
        if not brought.files_of(name, pipeline) and not brought.datasets_called(name, pipeline)
    ]
    model = pipeline.loaded_model
    hub = model.source if model and not model.kaggle_model and not model.source.startswith(("/", ".")) else ""
    needs = [*fetched, *([f"the model {hub}"] if hub else [])]
    if needs and not pipeline.internet:
        yield problem(
            "internet",
            f"{', '.join(needs)} would be fetched from the Hugging Face hub, and internet is false",
            "list Kaggle's copies under inputs.datasets, or write internet: true",
        )
    elif needs:
        yield note("internet", f"sessions fetch {', '.join(needs)} from the Hugging Face hub")
    if hub.startswith("google/"):
        yield warning(
            "internet",
            f"{hub} can be fetched from Hugging Face only by who has accepted its licence there, and a session has no token",
            "mount it from Kaggle: write model.source as owner/model/framework/variation/version",
            f"https://huggingface.co/{hub}",
        )
    if pipeline.inputs.wheels and not pipeline.pins:
        yield warning(
            "wheels",
            f"inputs.wheels names {pipeline.inputs.wheels}, and sessions install nothing",
            "leave inputs.wheels out",
        )
    elif pipeline.inputs.wheels:
        yield ok("wheels", f"sessions install what they lack from {pipeline.inputs.wheels}")
    elif pipeline.pins and not pipeline.internet:
        yield warning(
            "internet",
            "with internet: false no session can install its pins, so each must be in Kaggle's image as it is",
            "write internet: true, or environment: [] to take what the image has, or type relay environment publish",
        )


def folder(subject: Subject) -> Iterator[Finding]:
    """A model in a folder, which has to be one that a session on Kaggle has."""
    model = subject.pipeline.loaded_model
    if model is not None and model.source.startswith(("/", ".")) and not model.source.startswith("/kaggle/"):
        yield warning(
            "model",
            f"model.source {model.source} is a folder, and a session on Kaggle has none of this machine's",
            "write a model of Kaggle's as owner/model/framework/variation/version; for a rehearsal it is right as it is",
        )
