"""Measure how much faster a resumed session starts if its checkpoint includes compiled programs.

    python -m benchmarks.compile_cache
    python -m benchmarks.compile_cache --layers 48 --repeats 3

A first session trains a stack of layers and stops itself. Then every round runs the second session twice from the same
checkpoint: once with its compiled programs, once without. Each session is a process of its own that runs the script
that would be pushed. Printed are the seconds from a session's start to the end of its first step, which is what a
resumed session pays before it trains. The two kinds alternate, so that temporary load on the machine affects both. The
benchmark also checks that both sessions end with equal digests.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from kaggle_kernels import build
from stages.contract import COMPILED_NAME, Cursor, Order, Parent, Progress, Report, StageSpec

STAGE = """
import jax, jax.numpy as jnp
from stages.training.state_io import carry_on

def train(context):
    width, layers = 32, context.spec.options["layers"]
    keys = jax.random.split(jax.random.key(context.seed), layers)
    begin = {f"layer{n}": jax.random.normal(key, (width, width), jnp.float32) / width for n, key in enumerate(keys)}
    carry_on(context, begin, one_step)

def loss_of(layers, x):
    y = x
    for name in sorted(layers):  # unrolled, as the layers of a model are, so that there is something to compile
        weights = jax.nn.softmax(y @ layers[name] @ y.T)
        y = y + jnp.tanh(weights @ y @ layers[name])
    return jnp.mean((y - x[::-1]) ** 2)

@jax.jit
def one_step(layers, step, seed):
    x = jax.random.normal(jax.random.fold_in(jax.random.key(seed), step), (16, 32))
    loss, slope = jax.value_and_grad(loss_of)(layers, x)
    return jax.tree.map(lambda a, b: a - 0.01 * b, layers, slope), {"loss": loss}
"""


def order(layers: int) -> Order:
    """Return the order of the first session, which stops after three steps."""
    begin = Cursor(stage="stack", step=0)
    return Order(
        run="bench-0001",
        session=1,
        attempt=1,
        token="0123abcd",
        slug="bench-0001-s0001",
        pipeline_digest="f" * 64,
        seed=0,
        model={},
        stages=(StageSpec(name="stack", kind="stack:train", steps=100, options={"layers": layers}),),
        start=begin,
        parent=None,
        budget_s=600.0,
        limit_s=700.0,
        save_interval_s=600.0,
        sources={"stack.py": STAGE},
        stop_at=replace(begin, step=3),
    )


def session(
    asked: Order, root: Path, parent: Path | None = None, inputs: Path | None = None
) -> tuple[Report, list[Progress], Path]:
    """Run a session's script in a folder laid out like `/kaggle`. Return its report, its events and its checkpoint.

    The checkpoint `parent` and the content of `inputs`, if given, are mounted.
    """
    for folder in ("working", "input", "tmp"):
        (root / folder).mkdir(parents=True)
    if parent is not None:
        shutil.copytree(parent, root / "input" / "parent")
    if inputs is not None:
        shutil.copytree(inputs, root / "input", dirs_exist_ok=True)
    (root / "script.py").write_text(build.script(asked), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-I", str(root / "script.py")],
        cwd=root / "working",
        env={**environment, "JAX_PLATFORMS": "cpu", "TMPDIR": str(root / "tmp")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"the session failed:\n{done.stdout}{done.stderr}")
    report = Report.from_json((root / "working" / "relay" / "report.json").read_text(encoding="utf-8"))
    events = [event for line in done.stdout.splitlines() if (event := Progress.from_line(line)) is not None]
    folders = sorted((root / "working" / "relay" / "checkpoints").glob("*"))
    return report, events, folders[-1]


def following(asked: Order, report: Report) -> Order:
    """Return the order of the next session, which stops three steps later."""
    assert report.checkpoint is not None
    here = report.checkpoint.cursor
    parent = Parent(name="bench-0001-c0001", digest=report.checkpoint.digest)
    return replace(asked, session=2, start=here, parent=parent, stop_at=replace(here, step=here.step + 3))


def start_s(events: list[Progress]) -> float:
    """Return the seconds from the session's start to the end of its first step."""
    return next(event.at_s for event in events if event.event == "step")


def main() -> int:
    """Print the results. Return 1 if the programs changed the results or were not in the checkpoint."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--layers", type=int, default=32)
    arguments.add_argument("--repeats", type=int, default=2)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        return measure(chosen.layers, chosen.repeats, Path(name))


def measure(layers: int, repeats: int, root: Path) -> int:
    """Run the sessions below `root` and print their start-up times."""
    first, events, checkpoint = session(order(layers), root / "first")
    print(f"first session, nothing compiled yet: {start_s(events):6.1f} s to the end of its first step")
    if not (checkpoint / COMPILED_NAME).exists():
        print("the checkpoint has no compiled programs")
        return 1
    sizes = {path.name: path.stat().st_size for path in sorted(checkpoint.iterdir())}
    print("its checkpoint: " + ", ".join(f"{name} {size:,} bytes" for name, size in sizes.items()))
    without = root / "without"
    shutil.copytree(checkpoint, without)
    (without / COMPILED_NAME).unlink()
    taken: dict[str, list[float]] = {"with": [], "without": []}
    digests = set()
    for number in range(repeats):
        for kind, parent in (("with", checkpoint), ("without", without)):
            report, events, _ = session(following(order(layers), first), root / f"{kind}-{number}", parent)
            assert report.checkpoint is not None
            digests.add(report.checkpoint.digests["state"])
            taken[kind].append(start_s(events))
            print(
                f"second session {kind:7} its parent's programs: {taken[kind][-1]:6.1f} s to the end of its first step"
            )
    ratio = statistics.median(taken["without"]) / statistics.median(taken["with"])
    print(f"without / with: {ratio:.2f}; digests {'equal' if len(digests) == 1 else 'DIFFER'}")
    return 0 if len(digests) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
