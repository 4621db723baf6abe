"""Looks at a session as Kaggle gives it: machine, folders, mounts and models. A first session leaves a checkpoint, a
second one compares what it mounts."""

import hashlib
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from stages import options
from stages.contract import ARTIFACTS_DIRECTORY
from stages.options import Probe
from stages.probing.findings import ProbeFinding, ProbeReport, found_in, of_machine, stands_in
from stages.probing.mounts import findings_of_mounts, notes_on_trial
from stages.session import packages
from stages.session.session_report import PACKAGES
from stages.stage import Context, StageFailed

PAYLOAD_NAME = "payload.bin"
PAYLOAD_BYTES = 1 << 18
PYTHON = (3, 12)
"""Python version of Kaggle's images (Kaggle/docker-python, August 2026)."""
WORKING_BYTES = 20e9
SCRATCH_BYTES = 20e9
HOSTS = ("huggingface.co", "www.kaggle.com")
"""Hosts whose HTTPS port is tried."""
CONNECT_S = 10.0


def train(context: Context) -> None:
    """Run the stage; the protocol is described in `stages.stage`."""
    try:
        wanted = options.fit(Probe, context.spec.options, f"stages.{context.spec.name}.options")
    except ValueError as error:
        raise StageFailed("bad-options", str(error)) from error
    report = found_in(context.checkpoint)
    if wanted.part == "write":
        found = [*findings_of_machine(context), finding_of_internet(wanted.internet)]
        report = report.merged(found, notes_on_machine())
    else:
        found = findings_of_mounts(context.inputs, wanted)
        report = report.merged(found, notes_on_trial(context.inputs, wanted))
    for finding in found:
        context.say(f"{finding.key}: {finding.verdict}: {finding.detail}")
    for step in range(context.start_step + 1, context.spec.steps + 1):
        context.step_done(step, {"findings": float(len(report.findings))})
        context.save(step, partial(_write, report, context.seed))


def _write(report: ProbeReport, seed: int, directory: Path) -> dict[str, str]:
    payload = hashlib.shake_256(f"relay probe {seed}".encode()).digest(PAYLOAD_BYTES)
    (directory / PAYLOAD_NAME).write_bytes(payload)
    (directory / ARTIFACTS_DIRECTORY).mkdir()
    for name, text in report.artifact().items():
        (directory / ARTIFACTS_DIRECTORY / name).write_text(text, encoding="utf-8")
    return {"payload": hashlib.sha256(payload).hexdigest()}


def findings_of_machine(context: Context) -> Iterator[ProbeFinding]:
    """Yield what this machine shows: folders, disks and Python."""
    working, top = context.exports.parents[1], context.inputs.parent
    yield _finding_of_script(top / "src", working)
    version = sys.version_info
    yield of_machine(
        "python-version",
        version[:2] == PYTHON,
        f"Python {platform.python_version()}",
        {"major": float(version.major), "minor": float(version.minor)},
    )
    for key, folder, least in (
        ("output-size", working, WORKING_BYTES),
        ("scratch-space", context.scratch, SCRATCH_BYTES),
    ):
        free_bytes = shutil.disk_usage(folder).free
        yield of_machine(key, free_bytes >= least, f"{free_bytes:,} bytes are free", {"free_bytes": float(free_bytes)})


def _finding_of_script(source: Path, working: Path) -> ProbeFinding:
    scripts = list(source.glob("*.py")) if source.is_dir() else []
    there = "/kaggle/src has the script" if scripts else "/kaggle/src has no script"
    if scripts:
        there += " and is writable" if os.access(source, os.W_OK) else " and is read-only"
    here = Path.cwd().resolve() == working.resolve()
    where = f"the working folder is {'' if here else 'not '}/kaggle/working"
    return of_machine("script-path-read-only", bool(scripts) and here, f"{there}; {where}")


def finding_of_internet(asked: bool) -> ProbeFinding:
    """Return whether a session reaches the internet. In a rehearsal nothing is tried."""
    if not asked:
        return of_machine("internet", None, "the pipeline asks for none")
    if stands_in():
        return of_machine("internet", None, "nothing was tried")
    missed = [host for host in HOSTS if not _reaches(host)]
    detail = f"not reached: {', '.join(missed)}" if missed else f"reached {' and '.join(HOSTS)}"
    return of_machine("internet", not missed, detail)


def _reaches(host: str) -> bool:
    try:
        socket.create_connection((host, 443), timeout=CONNECT_S).close()
    except OSError:
        return False
    return True


def notes_on_machine() -> dict[str, str]:
    """Return versions, processors and memory."""
    found = packages.versions(PACKAGES)
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "packages": ", ".join(f"{name} {version}" for name, version in found.items()) or "none of those that train",
        "machine": f"{os.cpu_count()} processors, {memory_bytes / 2**30:,.0f} GiB of memory, {platform.platform()}",
    }
