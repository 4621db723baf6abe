"""Run a TPU pipeline's kernel in an environment like Kaggle's TPU image: what does it install, and does it go on?

    python -m benchmarks.kaggle_image --python python3.12
    python -m benchmarks.kaggle_image --python python3.12 --from network

Makes a Python with the packages of the image (2 GB below --folder), publishes the wheels of the default environment on a
local Kaggle, mounts that dataset, and runs the kernel of examples/tiny.yaml, a TPU pipeline, with pip cut off from every
package index; with `--from network` the same lock is installed from the index. A CPU stands in for the TPU, and each
stage has one step. It fails unless the session finishes with the versions of the lock and with libtpu replaced.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from kaggle_kernels import build
from orchestrator.app.app import App, Settings
from orchestrator.base.clock import SystemClock
from orchestrator.engine import wheels
from orchestrator.pipeline import loader
from orchestrator.pipeline.model import Pipeline
from orchestrator.rehearsal.local_kaggle.faults import FaultPlan
from orchestrator.rehearsal.local_kaggle.processes import ProcessSandbox
from orchestrator.rehearsal.local_kaggle.rules import Rules
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from orchestrator.rehearsal.local_kaggle.stand_ins import install
from orchestrator.rehearsal.verify.chain import order_of
from stages.contract import Report
from stages.session.package_lock import PackageLock
from stages.session.wheels import BLOB_NAME, LIST_NAME

IMAGE = (
    "jax==0.10.2", "jaxlib==0.10.2", "numpy==2.5.0", "flax==0.12.7", "orbax-checkpoint==0.12.1", "libtpu==0.0.17",
    "optax", "grain",
)  # fmt: skip
"""Packages of Kaggle's TPU image (github.com/Kaggle/docker-python, tpu/, August 2026) that matter here."""
NOWHERE = "http://127.0.0.1:9/simple"
"""Package index that cannot be reached."""
TINY = Path(__file__).parents[1] / "examples" / "tiny.yaml"


def image(python: str, folder: Path) -> Path:
    """Make an environment with the image's packages, and return its Python."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    found = folder / "bin" / "python"
    subprocess.run([str(found), "-m", "pip", "install", "--quiet", *IMAGE], check=True)
    return found


def version_of(python: Path, package: str) -> str:
    """Return the version of a package in that environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def kaggle(root: Path) -> Iterator[LocalKaggle]:
    """Run a local Kaggle below `root`."""
    clock = SystemClock()
    with LocalKaggle(
        root / "kaggle", clock, Rules.brisk(60.0), FaultPlan(), ProcessSandbox(root / "s", clock)
    ) as found:
        yield found


def publish(pipeline: Pipeline, root: Path, inputs: Path) -> str:
    """Publish the pipeline's wheels on a local Kaggle and mount the dataset; returns its `owner/slug`."""
    with kaggle(root) as local:
        app = App(Settings(root / "home", {**os.environ, **local.environment()}))
        began_s = time.monotonic()
        found = wheels.publish(pipeline, app.gateway, app.clock, print)
        print(
            f"published {len(found.wheels.files)} wheels, {found.wheels.size_bytes / 2**20:,.0f} MiB, of which "
            f"{len(found.wheels.built)} built here, in {time.monotonic() - began_s:.0f} s"
        )
        owner, slug = found.ref.split("/")
        with local.world.at_now() as now:
            files = local.world.datasets.find(owner, slug).current(now).files
            (mounted := inputs / "datasets" / owner / slug).mkdir(parents=True)
            for name in (LIST_NAME, BLOB_NAME):
                files[name].copy_to(mounted / name)
    return found.ref


def run(python: Path, pipeline: Pipeline, world: Path, ref: str) -> Report:
    """Run the first session's kernel with this Python; without a dataset of wheels, it installs from the network."""
    working, inputs = world / "working", world / "input"
    working.mkdir()
    (world / "tmp").mkdir()
    order = replace(order_of(pipeline), wheels=ref, lock=pipeline.lock)
    (script := world / "script.py").write_text(build.script(order))
    print(f"the kernel has {script.stat().st_size:,} bytes, {len(order.lock):,} of them the lock")
    environment = {
        **os.environ, "JAX_PLATFORMS": "cpu", "RELAY_STAND_IN": "1", "RELAY_INSTALL_AS_ON_KAGGLE": "1",
        "TMPDIR": str(world / "tmp"), "RELAY_KAGGLE_INPUT": str(inputs), "RELAY_KAGGLE_WORKING": str(working),
    }  # fmt: skip
    if ref:
        environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": NOWHERE, "PIP_FIND_LINKS": ""}
    subprocess.run([str(python), "-I", str(script)], cwd=working, env=environment, check=False)
    return Report.from_json((working / "relay" / "report.json").read_text())


def main() -> int:
    """Run the benchmark; returns 1 if the session differs from the lock."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--python", default="python3.12", help="a Python 3.12")
    ask.add_argument("--from", dest="source", choices=("wheels", "network"), default="wheels")
    ask.add_argument("--folder", type=Path, help="a folder for everything; by default a temporary one")
    asked = ask.parse_args()
    pipeline = loader.load(TINY).shortened()
    root = (asked.folder or Path(tempfile.mkdtemp(prefix="relay-image-"))).resolve()
    (world := root / "world").mkdir(parents=True)
    (inputs := world / "input").mkdir()
    try:
        python = image(asked.python, root / "image")
        print(f"before: libtpu {version_of(python, 'libtpu')}, numpy {version_of(python, 'numpy')}")
        install.write(inputs, pipeline.model)
        ref = publish(pipeline, root, inputs) if asked.source == "wheels" else ""
        report = run(python, pipeline, world, ref)
        print(f"after: libtpu {version_of(python, 'libtpu')}, numpy {version_of(python, 'numpy')}")
        print(f"{report.outcome} at {report.reached.stage}:{report.reached.step}; {report.environment} {report.reason}")
        print(f"installed in {report.seconds.get('environment_install', 0.0):.0f} s")
        locked = {package.name: package.version for package in PackageLock.parse(pipeline.lock).packages}
        wrong = {name for name in locked if version_of(python, name) != locked[name]}
        print(f"{len(locked) - len(wrong)} of {len(locked)} packages are those of the lock")
        return int(bool(wrong) or report.outcome != "finished")
    finally:
        if asked.folder is None:
            shutil.rmtree(root)


if __name__ == "__main__":
    sys.exit(main())
