"""Implementation of `relay verify-resume`: from a pipeline and flags to a verdict and an exit status."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from orchestrator.base.errors import BadInput
from orchestrator.pipeline import loader
from orchestrator.pipeline.examples import default_pipeline
from orchestrator.pipeline.rehearsed import rehearsed
from orchestrator.rehearsal.verify import chain, cuts, inputs
from orchestrator.rehearsal.verify.chain import VerifiedChain
from orchestrator.rehearsal.verify.cuts import SessionCut
from orchestrator.rehearsal.verify.view import verdict_document, verdict_view
from orchestrator.views.json_output import print_json
from orchestrator.views.printing import print_view
from stages.contract import Order
from stages.session import packages

INHERITED = ("JAX_PLATFORMS", "JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS")
"""Variables that sessions take over from this process: the bits that they compute depend on them."""
CUTS = 20
"""Default number of random cuts, used when neither `--at` nor `--cuts` is given."""


def verify_resume(
    chosen: Path | None,
    at: Sequence[str],
    count: int | None,
    seed: int,
    steps: int | None,
    keep: Path | None,
    as_json: bool,
) -> int:
    """Verify a pipeline and print the result. Return 0 if no bit differs, otherwise 1. Raises BadInput."""
    path = chosen or default_pipeline()
    pipeline = rehearsed(loader.load(path))
    _require_installed(pipeline.pins, path)
    order = chain.order_of(pipeline, steps)
    places = _cuts(order, at, count, seed)
    with _root(keep) as root:
        mounted = inputs.mounted(pipeline, path, root / "inputs")
        subject = VerifiedChain(order, mounted, _environment(order))
        verdict = chain.verify(subject, places, root / "sessions", _print_progress, keep=keep is not None)
    if as_json:
        print_json(verdict_document(verdict))
    else:
        print_view(verdict_view(verdict))
    return 0 if verdict.equal else 1


def _cuts(order: Order, at: Sequence[str], count: int | None, seed: int) -> tuple[SessionCut, ...]:
    """Return the named cuts plus random ones: by default `CUTS` random cuts if none is named, otherwise none."""
    named = [cuts.named(text, order.stages) for text in at]
    wanted = count if count is not None else 0 if named else CUTS
    places = cuts.in_order([*named, *cuts.random_cuts(order.stages, wanted, seed)], order.stages)
    if not places:
        raise BadInput("there is no place to cut at: the pipeline needs two steps, and --cuts at least 1")
    if len(places) < wanted:
        _print_progress(f"the pipeline has no more than {len(places)} places to cut at")
    return places


def _print_progress(text: str) -> None:
    click.echo(text, err=True)


@contextmanager
def _root(keep: Path | None) -> Iterator[Path]:
    """Open the folder for the sessions' inputs and outputs: `keep`, or a temporary folder."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="relay-verify-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise BadInput(f"--keep {keep} is not an empty folder: name another")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep


def _environment(order: Order) -> dict[str, str]:
    """Select the sessions' environment variables, and emulate as many host devices as the model is sharded over."""
    found = {name: os.environ[name] for name in INHERITED if name in os.environ}
    devices = chain.devices_of(order)
    if devices > 1 and "XLA_FLAGS" not in found:
        found["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    return found


def _require_installed(pins: Sequence[str], path: Path) -> None:
    """Raise BadInput if a pin is not installed: sessions run on this Python and must not install anything into it."""
    if lacking := packages.differing(packages.without_compilers(pins)):
        raise BadInput(
            f"{path} needs {', '.join(lacking)} in this Python to be verified: pip install 'relay-kaggle[train]' (from a "
            "checkout: make rehearse), or verify counting, which needs nothing"
        )
