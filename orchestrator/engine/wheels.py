"""Publishes a dataset of the wheels that a pipeline's sessions install, once: `relay environment publish`."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.base.clock import Clock
from orchestrator.base.disk import shortage_message
from orchestrator.base.errors import BadInput, Permanent
from orchestrator.kaggle.gateway import DatasetSeen, Gateway
from orchestrator.pipeline.model import Pipeline
from stages.session import packing
from stages.session.wheels import BLOB_NAME, LIST_NAME, WheelList

PYTHON = "3.12"
"""Python version of Kaggle's TPU image (github.com/Kaggle/docker-python, tpu/, August 2026)."""
PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(35, 16, -1)),
    "manylinux2014_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
    "linux_x86_64",
)
"""Platform tags that a recent x86-64 Linux accepts, newest first."""
POLL_S = 15.0
WAIT_S_MAX = 3600.0
MESSAGE_CHARS_MAX = 300

Download = Callable[[Sequence[str], str, Path], None]
"""Function that downloads the wheels of pins and their dependencies into a folder, for a Python version.

Raises BadInput.
"""


@dataclass(frozen=True)
class Published:
    """Published dataset, and whether it existed before."""

    ref: str
    wheels: WheelList
    there_before: bool


def download(pins: Sequence[str], python: str, into: Path) -> None:
    """Download wheels with pip, which inherits this process's environment and settings."""
    where = [option for platform in PLATFORMS for option in ("--platform", platform)]
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
        "--only-binary=:all:", "--implementation", "cp", "--python-version", python, *where, "--dest", str(into), *pins,
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR")] or done.stdout.splitlines()[
            -1:
        ]
        detail = " ".join(errors)[:MESSAGE_CHARS_MAX] or f"exit status {done.returncode}"
        raise BadInput(
            f"pip has no wheels of {', '.join(pins)} for Python {python} on Linux ({detail}): correct environment, or "
            "check the network"
        )


def publish(
    pipeline: Pipeline,
    gateway: Gateway,
    clock: Clock,
    say: Callable[[str], None],
    *,
    python: str = PYTHON,
    get: Download = download,
) -> Published:
    """Download, pack and publish the wheels; a dataset with the same bytes is reused without an upload.

    Raises BadInput if the pipeline installs nothing or a wheel is missing, Permanent if Kaggle has something else under
    that name. Before the upload, nothing is created except a temporary folder, which is removed.
    """
    if not pipeline.pins:
        raise BadInput(f"{pipeline.name} installs nothing, so there are no wheels to publish: environment is empty")
    with tempfile.TemporaryDirectory(prefix="relay-wheels-") as name:
        folder = Path(name)
        say(f"downloading wheels of {', '.join(pipeline.pins)} for Python {python}")
        (downloaded := folder / "wheels").mkdir()
        get(pipeline.pins, python, downloaded)
        if full := shortage_message(folder):
            raise BadInput(full)
        wheels = packed(pipeline.pins, python, downloaded, folder)
        owner, slug = gateway.owner(), wheels.slug
        found = gateway.find_dataset(slug)
        if found is None:
            say(f"uploading {len(wheels.files)} wheels, {wheels.size_bytes / 2**20:,.0f} MiB, as {owner}/{slug}")
            gateway.create_dataset(slug, [folder / LIST_NAME, folder / BLOB_NAME])
        _await(slug, wheels, gateway, clock)
        return Published(f"{owner}/{slug}", wheels, there_before=found is not None)


def packed(pins: Sequence[str], python: str, downloaded: Path, folder: Path) -> WheelList:
    """Write the two files of the dataset, from the wheels in `downloaded`, into `folder`."""
    files = {path.name: packing.sha256_of(path) for path in sorted(downloaded.iterdir())}
    for path in downloaded.iterdir():
        path.chmod(0o644)  # the archive must not depend on this machine's umask
    blob = packing.pack(downloaded, folder / BLOB_NAME)
    wheels = WheelList(python, tuple(pins), files, blob.size_bytes, blob.sha256)
    (folder / LIST_NAME).write_text(wheels.to_json(), encoding="utf-8")
    return wheels


def _await(slug: str, wheels: WheelList, gateway: Gateway, clock: Clock) -> None:
    """Wait until Kaggle lists both files in full."""
    waited_s = 0.0
    while not _whole(gateway.find_dataset(slug), wheels):
        if waited_s >= WAIT_S_MAX:
            raise Permanent(
                f"Kaggle has not processed the dataset {slug} within an hour: look at its page, then publish again"
            )
        clock.sleep(POLL_S)
        waited_s += POLL_S


def _whole(seen: DatasetSeen | None, wheels: WheelList) -> bool:
    if seen is None or seen.status not in ("ready", "failed"):
        return False
    listed = {file.name: file.size_bytes for file in seen.files}
    if seen.status == "ready" and not seen.private:
        raise Permanent(f"the dataset {seen.ref} is public: make it private on Kaggle, then publish again")
    if seen.status == "failed" or (listed and listed.get(BLOB_NAME) != wheels.size_bytes):
        raise Permanent(f"the dataset {seen.ref} is not what was uploaded: delete it on Kaggle, then publish again")
    return LIST_NAME in listed and BLOB_NAME in listed
