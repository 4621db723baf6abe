"""A resumed session finds the programs that the session before it compiled, and computes the same without them."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import compile_cache
from stages.contract import COMPILED_NAME, Order, Report

COUNTING = """
def train(context):
    from jax import monitoring
    found = {"hits": 0, "misses": 0}
    def heard(event, **_):
        for name in found:
            found[name] += event == f"/jax/compilation_cache/cache_{name}"
    monitoring.register_event_listener(heard)
    begin_training(context)
    (context.scratch.parent.parent / "heard.json").write_text(__import__("json").dumps(found))
"""


def counted(layers: int) -> Order:
    """A session that leaves behind how many programs it found and how many it had to compile."""
    asked = compile_cache.order(layers)
    text = compile_cache.STAGE.replace("def train(context)", "def begin_training(context)") + COUNTING
    return replace(asked, sources={"stack.py": text})


def heard(root: Path) -> tuple[int, int]:
    """(programs found, programs compiled)."""
    import json

    found = json.loads((root / "tmp" / "heard.json").read_text())
    return found["hits"], found["misses"]


@pytest.mark.slow
def test_the_next_session_compiles_nothing_again(tmp_path: Path) -> None:
    asked = counted(layers=6)
    first, _, checkpoint = compile_cache.session(asked, tmp_path / "one")
    hits, misses = heard(tmp_path / "one")
    assert hits == 0 and misses > 2
    second, _, later = compile_cache.session(compile_cache.following(asked, first), tmp_path / "two", checkpoint)
    hits, again = heard(tmp_path / "two")
    assert hits >= misses - 1 and again <= 1  # what puts the state back on the device is new
    third, _, _ = compile_cache.session(compile_cache.following(asked, second), tmp_path / "three", later)
    assert heard(tmp_path / "three")[1] == 0
    assert [entry.path for entry in _files(third)] == ["state.bin", COMPILED_NAME]


@pytest.mark.slow
def test_digests_say_nothing_of_programs_and_are_the_same_without_them(tmp_path: Path) -> None:
    asked = compile_cache.order(layers=6)
    first, _, checkpoint = compile_cache.session(asked, tmp_path / "one")
    with_them, _, _ = compile_cache.session(compile_cache.following(asked, first), tmp_path / "with", checkpoint)
    (checkpoint / COMPILED_NAME).unlink()
    without, _, _ = compile_cache.session(compile_cache.following(asked, first), tmp_path / "without", checkpoint)
    assert with_them.checkpoint is not None and without.checkpoint is not None
    assert with_them.checkpoint.digests == without.checkpoint.digests
    assert list(with_them.checkpoint.digests) == ["state"]


def _files(report: Report) -> tuple[object, ...]:
    assert report.checkpoint is not None
    return report.checkpoint.files
