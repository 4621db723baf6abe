"""`relay publish` without an export at hand: it exports, publishes, and leaves a model that loads with the same weights."""

from pathlib import Path

import pytest

from orchestrator.base.clock import SystemClock
from orchestrator.engine.home import HomeLayout
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS
from orchestrator.rehearsal.local_kaggle.sandbox import Played, ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from stages.formats.export_manifest import ExportManifest
from stages.session import packing
from stages.training import checkpoints
from stages.training.model import arrays_of
from tests.contract.local import AT_ONCE, Client
from tests.contract.program import Program
from tests.contract.test_commands import relay
from tests.training.models import loaded
from tests.training.test_export_command import RUN, laptop

pytestmark = pytest.mark.slow

BASE = "google/gemma-2/flax/tiny-it/1"


def test_the_trained_weights_come_back_from_kaggle(tmp_path: Path) -> None:
    desk = laptop(tmp_path, source=BASE)
    sandbox = ScriptedSandbox(lambda *_: Played(ends_after_s=1.0))
    with LocalKaggle(tmp_path / "kaggle", SystemClock(), AT_ONCE, NO_FAULTS, sandbox, owner="alice") as kaggle:
        with kaggle.world.at_now() as now:
            model = desk.model.root / "tiny-it"
            kaggle.world.offer_model(BASE, {p.name: Content.of_bytes(p.read_bytes(), now) for p in model.iterdir()})
        done = relay("publish", "tiny", "--model", "alice/tiny", home=desk.home, environ=kaggle.environment())
        assert done.returncode == 0, done.stderr
        again = relay("publish", "tiny", "--model", "alice/tiny", home=desk.home, environ=kaggle.environment())
        assert (again.returncode, again.stdout) == (0, done.stdout), again.stderr
        assert "the same weights were published before: nothing is exported or sent" in again.stderr
        ref = done.stdout.splitlines()[0].removeprefix("Model ID  ")
        assert ref.startswith("alice/tiny/jax/")
        fetched = Path(
            Program(Client(kaggle, SystemClock()), tmp_path).hub(f"print(kagglehub.model_download('{ref}'))")
        )
    asked = relay("ask", "--export", str(fetched), "2+3?", "--json", "--max-new-tokens", "3", home=desk.home)
    assert asked.returncode == 0, asked.stderr
    manifest = ExportManifest.from_json((fetched / "export.json").read_bytes())
    packing.verify_files(fetched, manifest.files)
    found = arrays_of(loaded({"kind": "gemma2", "source": str(fetched)}).model)
    assert checkpoints.tree_digest(found) == checkpoints.tree_digest(arrays_of(desk.model.merged.model))
    assert list(HomeLayout(desk.home).exports(RUN).iterdir()) == []
