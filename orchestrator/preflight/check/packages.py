"""Checks of what a session installs and downloads: its pins against the tested ones, and its need for the internet."""

import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from orchestrator.pipeline import own_data
from orchestrator.pipeline.environments import ENVIRONMENTS, PYTHON, pins_of
from orchestrator.pipeline.locking import PLATFORM
from orchestrator.pipeline.model import Pipeline
from orchestrator.preflight.check.findings import CheckSubject, Finding, note, ok, problem, warning
from stages.data.registry import KNOWN
from stages.session.package_lock import PackageLock

KAGGLE_PLATFORM = "x86_64-manylinux"
"""Beginning of the name of each platform whose packages Kaggle's machines can install."""


def versions(subject: CheckSubject) -> Iterator[Finding]:
    """Report the local versions of relay and Python, and the session's pins."""
    yield ok("versions", f"relay {metadata.version('relay-kaggle')} on Python {platform.python_version()}")
    pipeline = subject.pipeline
    if not pipeline.pins:
        return
    platform_name = pipeline.hardware.promise.platform
    tested = next(
        (name for name in ENVIRONMENTS if _plain(pins_of(name, platform_name)) == _plain(pipeline.pins)), None
    )
    yield from _lock(pipeline)
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


def _lock(pipeline: Pipeline) -> Iterator[Finding]:
    """Compare the Python and the platform of the pipeline's own lock with those of Kaggle's sessions."""
    if not pipeline.own_lock:
        return
    lock = PackageLock.parse(pipeline.own_lock)
    remedy = "write the list of pins in environment and type relay environment lock"
    if lock.python != PYTHON:
        yield warning(
            "versions",
            f"{pipeline.environment} is for Python {lock.python}, and Kaggle's is {PYTHON}: sessions will install the "
            "pins without the lock",
            remedy,
        )
    elif not lock.platform.startswith(KAGGLE_PLATFORM):
        yield warning(
            "versions",
            f"{pipeline.environment} is for {lock.platform}, and Kaggle's machines are {PLATFORM}: pip may refuse the "
            "files that sessions find",
            remedy,
        )


def _plain(pins: tuple[str, ...]) -> frozenset[str]:
    """Return the pins without extras."""
    return frozenset(f"{pin.partition('[')[0].partition('=')[0]}=={pin.partition('==')[2]}" for pin in pins)


def sets(subject: CheckSubject) -> Iterator[Finding]:
    """Report the data sets that are read from the pipeline's own inputs."""
    for name in own_data.sets_used(subject.pipeline):
        yield from _set(name, subject)


def _set(name: str, subject: CheckSubject) -> Iterator[Finding]:
    pipeline = subject.pipeline
    own, refs = _own(name, subject), own_data.datasets_called(name, pipeline)
    if halves := own_data.halves_of(name, pipeline):
        splits = " and ".join((KNOWN[name].train[0], *KNOWN[name].held_out[:1]))
        yield problem(
            "data",
            f"{' and '.join(halves)} of inputs.files names a split of {name}, and its other split is not there in the same format",
            f"add it, so that there are {splits}, or give the file another name",
        )
    elif own.refused:
        sentence, _, remedy = own.refused.rpartition(": ")
        if own.named or not pipeline.inputs.datasets:
            yield problem("data", f"a session will refuse what is there: {sentence}", remedy)
        else:
            yield warning(
                "data", f"unless a dataset has {name}, a session will refuse what is there: {sentence}", remedy
            )
    elif own.files and own.named:
        yield ok("data", f"{name} is read from your own {' and '.join(own.files)}, named like the files of the set")
    elif refs:
        yield note(
            "data",
            f"{name} is expected in {' and '.join(refs)} because of the name: only a session can tell whether it is "
            "there",
        )
    elif own.files:
        yield ok("data", f"{name} is read from your own {' and '.join(own.files)}, whose rows are those of the set")


def _own(name: str, subject: CheckSubject) -> own_data.OwnCopy:
    return own_data.own_copy(name, subject.pipeline, subject.path.parent)


def _fetched(subject: CheckSubject) -> tuple[list[str], list[str]]:
    """Return the data sets that a session downloads, and sentences on those that it may find in its inputs."""
    sure, unsure = [], []
    for name in own_data.sets_used(subject.pipeline):
        own = _own(name, subject)
        if own.files or own.refused or own_data.datasets_called(name, subject.pipeline):
            continue
        unknown = [*subject.pipeline.inputs.datasets, *own_data.unopened_of(name, subject.pipeline)]
        if unknown:
            unsure.append(f"{name} would be fetched from the Hugging Face hub, unless it is in {' or '.join(unknown)}")
        else:
            sure.append(name)
    return sure, unsure


def internet(subject: CheckSubject) -> Iterator[Finding]:
    """Check everything that a session has to download."""
    pipeline = subject.pipeline
    fetched, unsure = _fetched(subject)
    for sentence in unsure:
        off = "" if pipeline.internet else ", and internet is false"
        yield note("internet", f"{sentence}, which only a session can tell{off}")
    model = pipeline.loaded_model
    hub = model.source if model and not model.kaggle_model and not model.is_folder else ""
    needs = [*fetched, *([f"the model {hub}"] if hub else [])]
    if needs and not pipeline.internet:
        yield problem(
            "internet",
            f"{', '.join(needs)} would be fetched from the Hugging Face hub, and internet is false",
            "list Kaggle's copies under inputs.datasets, or write internet: true",
        )
    elif needs:
        yield note("internet", f"sessions fetch {', '.join(needs)} from the Hugging Face hub")
    if hub.startswith(("google/", "meta-llama/")):
        yield warning(
            "internet",
            f"{hub} can be fetched from Hugging Face only by users who have accepted its licence there, and a session has "
            "no token",
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


def folder(subject: CheckSubject) -> Iterator[Finding]:
    """Check a model in a folder, which must exist in a session on Kaggle."""
    model = subject.pipeline.loaded_model
    if model is None or not model.is_folder or model.source.startswith("/kaggle/"):
        return
    if not Path(model.source).is_dir():
        yield warning(
            "model",
            f"model.source {model.source} is no folder on this machine, and a session on Kaggle has none of this machine's",
            "correct the path for a rehearsal, or write a model of Kaggle's as owner/model/framework/variation/version",
        )
    else:
        yield warning(
            "model",
            f"model.source {model.source} is a folder, and a session on Kaggle has none of this machine's",
            "write a model of Kaggle's as owner/model/framework/variation/version; for a rehearsal it is right as it is",
        )
