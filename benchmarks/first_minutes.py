"""Measure the first minutes with relay: from an empty environment and the wheel alone to a finished rehearsal.

    python -m benchmarks.first_minutes
    python -m benchmarks.first_minutes --wheel dist/relay_kaggle-0.1.0-py3-none-any.whl

The wheel is built from this checkout unless one is named. Two commands are measured, as a user types them: `pip install WHEEL` into
a new virtual environment, and `relay rehearse`, which without the packages for training plays the chain that counts. Printed are
wall and processor seconds of each, and what `relay --version` takes there as a measure of the machine. The exit status is 1 if
both commands together take longer than two minutes. pip takes its packages from the index that it is configured with, or its cache.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 120.0


def measured(*command: str | Path, cwd: Path, environ: Mapping[str, str]) -> tuple[float, float]:
    """Run a command that must succeed; return its wall and its processor seconds, with all of its processes."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with exit status {done.returncode}:\n{done.stderr}")
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begin, used_s


def wheel_of(checkout: Path, into: Path) -> Path:
    """Build the wheel of a checkout."""
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(into), str(checkout)]
    subprocess.run(build, check=True)
    (wheel,) = into.glob("*.whl")
    return wheel


def main() -> int:
    """Run the benchmark. Return exit status 1 if both commands together take longer than two minutes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="wheel to install; default: one built from this checkout")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-first-minutes-") as name:
        folder = Path(name)
        wheel = asked.wheel.resolve() if asked.wheel else wheel_of(ROOT, folder / "wheel")
        subprocess.run([sys.executable, "-m", "venv", folder / "environment"], check=True)
        programs = folder / "environment" / "bin"
        environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "RELAY_HOME": str(folder / "home")}
        environ.pop("PYTHONPATH", None)
        commands = {
            "pip install WHEEL": (programs / "pip", "install", "--quiet", wheel),
            "relay rehearse": (programs / "relay", "rehearse"),
        }
        found = {said: measured(*command, cwd=folder, environ=environ) for said, command in commands.items()}
        found["relay --version"] = measured(programs / "relay", "--version", cwd=folder, environ=environ)
    for said, (wall_s, used_s) in found.items():
        print(f"{said:18} {wall_s:6.1f} s, {used_s:6.1f} s of processor time")
    total_s = sum(found[said][0] for said in commands)
    print(f"two commands       {total_s:6.1f} s")
    return 0 if total_s <= LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
