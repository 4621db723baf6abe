"""Step between the bootloader and the runner: installs the order's pins, then runs the order in a clean interpreter."""

import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from stages.contract import Order
from stages.session import accelerator, packages, packing, runner, user_code, wheels
from stages.stage import StageFailed

ORDER_NAME = "order.json"
"""File beside the unpacked `stages` in which the bootloader leaves the order."""
INSTALL_S_MAX = 1_800.0
"""Longest installation, in seconds."""
AGAIN = "import sys; sys.path.insert(0, sys.argv[1]); from stages.session import bootstrap; sys.exit(bootstrap.again(sys.argv[1:]))"
"""Python code with which the process replaces itself after an installation, so that no module
imported earlier remains."""


@dataclass(frozen=True)
class Places:
    """Directories and start times. `sources` holds the unpacked `stages` and the order; it is removed at the end."""

    sources: Path
    working: Path
    inputs: Path
    started_s: float
    """Value of time.monotonic() when the machine began to work on the session."""
    installed_s: float = 0.0
    """Duration of installations in seconds, including what was prepared before the kernel's process started."""


def main(places: Places) -> int:
    """Install packages that differ from the order's lock or pins, then run the order; returns the exit status."""
    order = _order(places)
    try:
        wanted = packages.wanted(order)
    except StageFailed as unreadable:
        return _run(order, places, unreadable)
    wrong = packages.differing(wanted.pins)
    began_s = time.monotonic()
    problem = _install(order, places, wanted, wrong) if wrong else None
    places = replace(places, installed_s=places.installed_s + (time.monotonic() - began_s if wrong else 0.0))
    if wrong and problem is None:
        _start_over(places)
    return _run(order, places, problem)


def again(arguments: Sequence[str]) -> int:
    """Entry point after the restart that follows an installation; the runner checks the pins itself."""
    sources, working, inputs, started_s, installed_s = arguments
    places = Places(Path(sources), Path(working), Path(inputs), float(started_s), float(installed_s))
    return _run(_order(places), places)


def _install(order: Order, places: Places, wanted: packages.Wanted, wrong: Sequence[str]) -> StageFailed | None:
    """Install the packages; returns the error, or None."""
    print(packages.announcement(wrong, wanted.pins), flush=True)
    print(f"held to: {wanted.description}", flush=True)
    if order.wheels:
        try:
            _install_from_wheels(order, places, wanted, wrong)
        except (wheels.NoWheels, packing.CorruptCheckpoint, StageFailed, OSError) as why:
            print(f"installing from the network after all: {why}", flush=True)
        else:
            return None
    try:
        packages.install(wrong, _left_s(order, places), wanted.lock)
    except StageFailed as problem:
        return problem
    return None


def _install_from_wheels(order: Order, places: Places, wanted: packages.Wanted, wrong: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="relay-wheels-") as name:
        folder = Path(name) / "wheels"
        listed = wheels.unpacked(places.inputs, order.wheels, folder, packages.python_version())
        lock = wheels.lock_for(listed, wanted.lock, order.wheels) if wanted.lock else None
        packages.install(wrong, _left_s(order, places), lock, folder)
    print(f"installed from {order.wheels}, without the network", flush=True)


def _left_s(order: Order, places: Places) -> float:
    return max(1.0, min(INSTALL_S_MAX, order.budget_s - (time.monotonic() - places.started_s)))


def _start_over(places: Places) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    seconds = [repr(places.started_s), repr(places.installed_s)]
    where = [str(places.sources), str(places.working), str(places.inputs), *seconds]
    os.execv(sys.executable, [sys.executable, "-I", "-c", AGAIN, *where])


def _unpack(order: Order, places: Places) -> StageFailed | None:
    """Write the user's own modules beside `stages`, the first entry of the import path; returns the error, or None."""
    try:
        user_code.unpack(order.sources, places.sources)
    except StageFailed as problem:
        return problem
    return None


def _order(places: Places) -> Order:
    return Order.from_json((places.sources / ORDER_NAME).read_text())


def _run(order: Order, places: Places, broken: StageFailed | None = None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an unencodable character must not end the training
    accelerator.prepare(order.accelerator.platform, os.environ)
    try:
        problem = broken or _unpack(order, places)
        return runner.main(
            order,
            working=places.working,
            inputs=places.inputs,
            started_s=places.started_s,
            ready=runner.Ready(places.installed_s, problem),
            leave=os._exit,
        )
    finally:
        shutil.rmtree(places.sources, ignore_errors=True)
