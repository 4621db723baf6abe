"""`relay rehearse`: the ordinary daemon and the real Kaggle client against a local Kaggle."""

import contextlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from orchestrator.app.app import App
from orchestrator.app.settings import Settings
from orchestrator.base.clock import Stop, SystemClock
from orchestrator.base.disk import disk_errors
from orchestrator.base.errors import BadInput
from orchestrator.base.humanize import duration
from orchestrator.base.systems import require_posix
from orchestrator.pipeline import loader
from orchestrator.pipeline import model as pipelines
from orchestrator.pipeline.examples import default_pipeline, without_training
from orchestrator.pipeline.own_data import sets_in_files
from orchestrator.pipeline.rehearsed import rehearsed
from orchestrator.rehearsal import machine_speed
from orchestrator.rehearsal.local_kaggle.datasets import Describe
from orchestrator.rehearsal.local_kaggle.differences import DIFFERENCES, differing, known
from orchestrator.rehearsal.local_kaggle.faults import FaultPlan
from orchestrator.rehearsal.local_kaggle.processes import ProcessSandbox, compile_cache, shows_kaggle
from orchestrator.rehearsal.local_kaggle.rules import Rules
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from orchestrator.rehearsal.local_kaggle.stand_ins import install as stand_ins
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from orchestrator.views.document import status_document
from orchestrator.views.json_output import print_json
from orchestrator.views.live import display
from orchestrator.views.moment import moment_of
from orchestrator.views.printing import console, print_view
from orchestrator.views.summary import summary_view
from stages.data.mounted import STAND_IN_MARK
from stages.session import packages

QUICK_COMPILE = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
QUICK_FLAG = "--xla_cpu_use_fusion_emitters=false"
"""JAX setting and XLA flag that each halve compile time but slow programs down: right for programs that run once (`--short`)."""

MARKER = ".rehearsal"
"""Name of the file that marks a folder as a rehearsal, which the next rehearsal may clear."""


def rehearse(
    chosen: Path | None,
    home: Path,
    port: int,
    faults: FaultPlan,
    stop: Stop,
    *,
    short: bool = False,
    as_json: bool = False,
) -> int:
    """Run a pipeline, or its `shortened` form, to its end. Return the exit status: 0 if it finished.

    With `as_json` standard output contains only the status document. Raises BadInput, with nothing created.
    """
    for line in _differences(faults):
        click.echo(line, err=True)
    path = chosen or _default()
    pipeline = _at_this_machines_speed(rehearsed(loader.load(path)), path)
    with prepare_rehearsal(pipeline, path, home, port, faults, hasty=short) as app:
        stop.tell(app.stop.set)
        run = app.begin(pipeline.shortened() if short else pipeline, path)
        with display(app.store, run.id, app.clock, console(sys.stderr) if as_json else None) as show:
            app.work(show, lambda: app.is_settled(run.id))
        with moment_of(app.store, app.clock.now) as (reader, now):
            document = status_document(reader, app.home.path, now, run.id)
    if as_json:
        print_json(document)
    else:
        print_view(summary_view(document["runs"][0], home))
    return 0 if document["runs"][0]["state"] == "finished" else 1


def _default() -> Path:
    """Return the tiny Gemma's pipeline; without the packages for training the counting one, and say what is missing."""
    path = default_pipeline()
    if not packages.differing(packages.without_compilers(rehearsed(loader.load(path)).pins)):
        return path
    click.echo(
        "this Python lacks the packages for training, so this rehearsal counts instead: the same sessions, checkpoints and "
        "resumes, and nothing is learnt. pip install 'relay-kaggle[train]' adds JAX and Tunix, and with them "
        "the training of a tiny Gemma.",
        err=True,
    )
    return without_training()


def _at_this_machines_speed(pipeline: pipelines.Pipeline, path: Path) -> pipelines.Pipeline:
    """Return the pipeline with longer sessions, and say so, if this machine is too slow or busy for those of the file."""
    if pipeline.loaded_model is None:  # nothing to compile
        return pipeline
    _require_packages(pipeline.pins, path)
    fitting = machine_speed.fitted(pipeline, machine_speed.start_s())
    if fitting.limit_s > pipeline.limit_s:
        click.echo(
            f"this machine is busy or slow: sessions end after {duration(fitting.limit_s)} instead of {duration(pipeline.limit_s)}",
            err=True,
        )
    return fitting


@contextlib.contextmanager
def prepare_rehearsal(
    pipeline: pipelines.Pipeline, path: Path, home: Path, port: int, faults: FaultPlan, *, hasty: bool = False
) -> Iterator[App]:
    """Start a local Kaggle that has what the pipeline mounts: real files, or tiny stand-ins for large ones."""
    _require_packages(pipeline.pins, path)
    with local_kaggle(home, port, faults, pipeline.limit_s, devices_of(pipeline), hasty=hasty) as kaggle:
        _add_stand_ins(pipeline, kaggle, home / "stand-ins")
        yield App(Settings(home, {**_without_credentials(), **kaggle.environment()}))


def serve(
    chosen: Path | None,
    home: Path,
    port: int,
    faults: Path | None,
    stop: Stop,
    *,
    differs: tuple[str, ...] = (),
    as_json: bool = False,
) -> None:
    """Run only the local Kaggle until told to stop, and print how to point a client at it.

    It has stand-ins for what `chosen`, if given, mounts. `differs` adds to the differences of the fault plan.
    """
    plan = differing_too(FaultPlan.read(faults) if faults else FaultPlan(), differs)
    differences = _differences(plan)
    pipeline = loader.load(chosen) if chosen else None
    if pipeline is not None and chosen is not None:
        _require_packages(pipeline.pins, chosen)
    with local_kaggle(home / "serve", port, plan, None, devices_of(pipeline) if pipeline else 1) as kaggle:
        if pipeline is not None:
            _add_stand_ins(pipeline, kaggle, home / "serve" / "stand-ins")
        if as_json:
            told = {"url": kaggle.url, "environment": kaggle.environment(), "kaggle_folder": shows_kaggle()}
            told |= {"differs": list(known(plan.differs))}
            click.echo(json.dumps({"format": 1, **told}))
        for line in () if as_json else _export_lines(kaggle):
            click.echo(line)
        for line in () if as_json else differences:
            click.echo(f"# {line}")
        sys.stdout.flush()
        clock = SystemClock()
        stop.tell(clock.wake)
        while not stop.is_set():
            clock.sleep(3600.0)


def _export_lines(kaggle: LocalKaggle) -> Iterator[str]:
    yield f"# a local Kaggle listens at {kaggle.url}; in another shell:"
    for name, value in kaggle.environment().items():
        yield f"export {name}={value}"
    if shows_kaggle():
        yield "# a session sees its folders as /kaggle/input and /kaggle/working"
    else:
        yield "# this system gives a session no /kaggle: its folders are $RELAY_KAGGLE_INPUT and $RELAY_KAGGLE_WORKING"
    yield "# then: relay up PIPELINE, or Kaggle's own program: kaggle kernels list -m. Ctrl-C ends it."


def _add_stand_ins(pipeline: pipelines.Pipeline, kaggle: LocalKaggle, folder: Path) -> None:
    """Add a small stand-in to the local Kaggle for each large resource that relay's own stages read."""
    if pipeline.loaded_model is not None:
        stand_ins.write(folder, pipeline.model, own=sets_in_files(pipeline))
        stand_ins.offer(kaggle.world, folder)
    with kaggle.world.at_now() as now:
        for ref in pipeline.dataset_sources:  # their contents are unknown, but a session without them is refused
            owner, slug, *_ = ref.split("/")
            if not kaggle.world.datasets.exists(owner, slug):
                files = {STAND_IN_MARK: Content.of_bytes(b"a stand-in", now)}
                kaggle.world.datasets.create(owner, slug, Describe(title=slug), files, now)


def differing_too(plan: FaultPlan, differs: tuple[str, ...]) -> FaultPlan:
    """Return a fault plan with more differences from what relay assumes of Kaggle."""
    return replace(plan, differs=plan.differs + differs)


def _differences(plan: FaultPlan) -> list[str]:
    """Return a sentence for each difference of a plan. Raises BadInput if one is unknown."""
    return [f"this Kaggle differs from {key}: {DIFFERENCES[key].says}" for key in known(plan.differs)]


def faults_for(pipeline: Path | None, faults: Path | None, calm: bool) -> FaultPlan:
    """Return the named fault plan, else the one beside the pipeline (`tiny.faults.yaml`), else an empty one."""
    if calm:
        return FaultPlan()
    if faults is not None:
        return FaultPlan.read(faults)
    beside = (pipeline or default_pipeline()).with_suffix(".faults.yaml")
    return FaultPlan.read(beside) if beside.exists() else FaultPlan()


def devices_of(pipeline: pipelines.Pipeline) -> int:
    """Return the number of devices in the pipeline's mesh, which JAX emulates on this machine's CPU."""
    model = pipeline.loaded_model
    return model.mesh_fsdp * model.mesh_tp if model else 1


@contextlib.contextmanager
def local_kaggle(
    home: Path, port: int, faults: FaultPlan, limit_s: float | None, devices: int = 1, *, hasty: bool = False
) -> Iterator[LocalKaggle]:
    """Run a local Kaggle below `home`, which is cleared if an earlier rehearsal left it. `hasty`: see `QUICK_COMPILE`."""
    require_posix(
        "a rehearsal with real processes", "relay rehearse PIPELINE --simulate 100 plays chains in memory here"
    )
    _check_port(port)
    _clear(home)
    clock = SystemClock()
    rules = Rules() if limit_s is None else Rules.brisk(limit_s, faults.seed)
    if limit_s is None:
        rules = Rules.brisk(rules.session_limit_s.tpu)
    shared = compile_cache(home / "compile-cache")
    flags = [f"--xla_force_host_platform_device_count={devices}"] if devices > 1 else []
    if hasty:
        shared |= QUICK_COMPILE
        flags.append(QUICK_FLAG)
    if flags:
        shared["XLA_FLAGS"] = " ".join(flags)
    found = differing(rules, faults)
    sandbox = ProcessSandbox(home.resolve() / "kaggle", clock, shared | dict(found.environment))
    with LocalKaggle(home / "kaggle", clock, found.rules, found.faults, sandbox, port=port) as kaggle:
        yield kaggle


def _require_packages(pins: tuple[str, ...], path: Path) -> None:
    """Raise BadInput if packages are missing: a rehearsed session must not install anything into this Python."""
    if lacking := packages.differing(packages.without_compilers(pins)):
        raise BadInput(
            f"{path} needs {', '.join(lacking)} in this Python to be rehearsed: pip install 'relay-kaggle[train]' (from a "
            "checkout: make rehearse), or rehearse counting, which needs nothing"
        )


def _check_port(port: int) -> None:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise BadInput(f"--port {port} cannot be used ({error.strerror}): choose another, or leave it out") from error


def _clear(home: Path) -> None:
    if home.exists() and any(home.iterdir()) and not (home / MARKER).exists():
        raise BadInput(f"{home} holds something that is not a rehearsal: name another folder with --home")
    with disk_errors(home):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True, mode=0o700)
        (home / MARKER).write_text("relay rehearse clears this folder when it begins\n", encoding="utf-8")


def _without_credentials() -> dict[str, str]:
    """Return this process's environment without variables that lead to the real Kaggle."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_")}
