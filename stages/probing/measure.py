"""Measures each stage of a pipeline on its accelerator: two steps at their real size, and a save.

The stages' own code runs, each from the state that the one before it saved. Nothing of it is left in the output but the
measurements. After a fixed time no further stage begins, and the stage under way ends as soon as Python gets to run:
a program that XLA is compiling is waited for.
"""

import contextlib
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType

from stages import catalog, options
from stages.contract import ARTIFACTS_DIRECTORY, StageSpec
from stages.options import Measure
from stages.probing.findings import ProbeFinding, ProbeReport, StageTiming, found_in, of_machine
from stages.probing.machine import findings_of_machine, notes_on_machine
from stages.probing.short_context import ShortContext
from stages.session import failure_report, packages
from stages.session.compile_timer import Compilations
from stages.session.context import StageContext
from stages.session.peak_memory import peaks
from stages.session.throughput import MEMORY, memory_metrics
from stages.session.time_accounting import TimeClass
from stages.stage import Context, Next, OpenedCheckpoint, StageFailed

IMAGES_LIBTPU = "0.0.17"
"""Version of libtpu in Kaggle's TPU image (Kaggle/docker-python, August 2026)."""
NOT_REACHED = "the time was up before this stage"
SECONDS_MIN = 1.0
"""Shortest rest of the time, in seconds, in which another stage begins."""


class TimeIsUp(BaseException):
    """Raised in the session's thread when the time of the measurement is over. No stage may catch it."""


def train(context: Context) -> None:
    """Run the stage; the protocol is described in `stages.stage`. Each step measures one stage of the plan."""
    try:
        wanted = options.fit(Measure, context.spec.options, f"stages.{context.spec.name}.options")
        plan = tuple(StageSpec.from_dict(stage) for stage in json.loads(wanted.plan))
    except ValueError as error:
        raise StageFailed("bad-options", str(error)) from error
    until_s = time.monotonic() + wanted.seconds
    report = found_in(context.checkpoint)
    if context.start_step:  # an earlier session used up the time
        until_s = time.monotonic()
    else:
        found = [*findings_of_machine(context), *_findings_of_accelerator(wanted.platform)]
        report = report.merged(found, {**notes_on_machine(), **_notes_on_devices()})
    before: OpenedCheckpoint | None = None
    for number in range(context.start_step + 1, context.spec.steps + 1):
        timing, before = _measured(context, plan, number - 1, before, until_s)
        context.say(f"{timing.stage}: {timing.problem or 'measured'}")
        report = replace(report, timings=(*report.timings, timing))
        if isinstance(context, StageContext):
            context.timed(_for_report(report.timings))
        if context.step_done(number, {"measured": float(not timing.problem)}) is Next.STOP:
            until_s = time.monotonic()  # the session has to end: the rest is noted as not reached
        context.save(number, partial(_write, report))  # what was measured is kept, however the session ends


def _for_report(timings: Sequence[StageTiming]) -> dict[str, float]:
    """Return the measurements under the keys of `Report.timings`, as sessions that train report them."""
    found = {}
    for timing in timings:
        for name, seconds in (("first_step_s", timing.first_s), ("step_s", timing.step_s)):
            if seconds is not None and not timing.failed:
                found[f"{timing.stage}.{name}"] = seconds
    saves = [timing.save_s for timing in timings if timing.save_s is not None]
    return {**found, **({"save_s": max(saves)} if saves else {})}


def _write(report: ProbeReport, directory: Path) -> dict[str, str]:
    (directory / ARTIFACTS_DIRECTORY).mkdir()
    for name, text in report.artifact().items():
        (directory / ARTIFACTS_DIRECTORY / name).write_text(text, encoding="utf-8")
    return {}


def _measured(
    context: Context, plan: Sequence[StageSpec], index: int, before: OpenedCheckpoint | None, until_s: float
) -> tuple[StageTiming, OpenedCheckpoint | None]:
    """Measure a stage; returns also the state for the next stage, which is `before` if this stage left none."""
    spec = plan[index]
    nothing = StageTiming(stage=spec.name, kind=spec.kind, problem=NOT_REACHED)
    if until_s - time.monotonic() < SECONDS_MIN:
        return nothing, before
    folder = context.scratch / f"measured-{index}"
    short = ShortContext(context, spec, plan, before, folder)
    problem, failed = "", False
    try:
        with _until(until_s), Compilations(short.account).heard(), short.doing(TimeClass.STEP):
            catalog.find(spec.kind).load()(short)
    except TimeIsUp:
        problem = "the time was up during this stage"
    except Exception as error:  # noqa: BLE001 - a stage that fails is a result, and the others are measured too
        problem, failed = failure_report.of(error, spec.name).headline, True
    timing = replace(_timing_of(short), problem=problem, failed=failed)
    short.clear()
    if short.saved is None:
        shutil.rmtree(folder, ignore_errors=True)
        return timing, before
    if before is not None:
        shutil.rmtree(before.directory, ignore_errors=True)
    return timing, short.saved


def _timing_of(short: ShortContext) -> StageTiming:
    steps = short.steps_s
    saved = short.saved is not None
    return StageTiming(
        stage=short.spec.name,
        kind=short.spec.kind,
        first_s=steps[0] if steps else None,
        compile_s=short.account.seconds().get(TimeClass.COMPILE.value, 0.0) if steps else None,
        step_s=steps[1] if len(steps) > 1 else None,
        hold_s=short.hold_s if saved else None,
        save_s=short.save_s if saved else None,
        checkpoint_bytes=short.checkpoint_bytes if saved else None,
        memory_bytes=memory_metrics(peaks()).get(MEMORY) if steps else None,
    )


@contextlib.contextmanager
def _until(until_s: float, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Raise TimeIsUp within the `with` block at that time; does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def up(_signal: int, _frame: FrameType | None) -> None:
        raise TimeIsUp

    handler = signal.signal(signal.SIGALRM, up)
    signal.setitimer(signal.ITIMER_REAL, max(0.001, until_s - clock()))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, handler)


# --- the accelerator ---------------------------------------------------------


def _findings_of_accelerator(promised: str) -> Iterator[ProbeFinding]:
    """Yield what JAX finds. The runner has compared the devices with the promised ones before this stage began."""
    try:
        import jax

        devices = jax.devices()
    except (ImportError, RuntimeError) as error:
        yield of_machine("accelerator-devices", False, f"JAX finds none: {failure_report.of(error, '').headline}"[:200])
        return
    kinds = " and ".join(sorted({str(device.device_kind) for device in devices}))
    platform = str(devices[0].platform)
    detail = f"{len(devices)} of {platform}: {kinds}"
    yield of_machine("accelerator-devices", platform == promised, detail, {"devices": float(len(devices))})
    if promised == "tpu":
        yield of_machine("tpu-image", platform == "tpu", f"JAX runs on {platform}")
        found = packages.versions(("libtpu",)).get("libtpu")
        yield of_machine(
            "libtpu-replaced",
            None if found is None else found != IMAGES_LIBTPU,
            f"libtpu {found or 'is not installed'}",
        )


def _notes_on_devices() -> dict[str, str]:
    try:
        import jax

        stats = [device.memory_stats() or {} for device in jax.local_devices()]
    except (ImportError, RuntimeError):
        return {}
    limits = sorted({stat["bytes_limit"] for stat in stats if "bytes_limit" in stat})
    return {"device memory": f"{limits[0] / 2**30:,.2f} GiB for each device"} if limits else {}
