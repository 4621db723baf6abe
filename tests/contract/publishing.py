"""A run with a made-up export, and a local Kaggle to publish it to."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result

from orchestrator.base.clock import SystemClock
from orchestrator.cli import main
from orchestrator.pipeline.loader import check
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS, FaultPlan
from orchestrator.rehearsal.local_kaggle.rules import Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played, ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from stages.contract import Cursor
from stages.formats.export_manifest import EXPORT_NAME, ExportManifest, file_entries
from stages.options.families import GEMMA_TERMS as GEMMA_NOTICE
from state.facts.run import RunStarted
from state.store import Store
from tests.contract.local import AT_ONCE

RUN = "gsm-1a2b"
BASE = "google/gemma-2/flax/gemma2-2b-it/1"
LICENCES = {
    "google/gemma-2-2b-it": GEMMA_NOTICE,
    "Magpie-Align/Magpie-Reasoning-V2-250K-CoT-Deepseek-R1-Llama-70B": "llama3.3",
    "openai/gsm8k": "mit",
}
CARD = '---\nbase_model: "google/gemma-2-2b-it"\n---\n\n# gsm-1a2b\n\nA model card.\n'
WEIGHTS = bytes(range(256)) * 500
FILES = {
    "tunix": {
        "jax/2b/_METADATA": b"{}",
        "jax/2b/d/0a1b": WEIGHTS,
        "jax/2b/ocdbt.process_0/d/0a1b": WEIGHTS[::-1],
        "jax/2b/commit_success.txt": b"",
        "jax/tokenizer.model": b"pieces",
    },
    "safetensors": {"model-00001-of-00001.safetensors": WEIGHTS, "config.json": b"{}"},
    "peft": {"adapter_model.safetensors": WEIGHTS, "adapter_config.json": b"{}"},
}
PLACES = {
    "tunix": "rehearsal/gsm/jax/2b",
    "safetensors": "rehearsal/gsm/transformers/gemma-2-2b-it",
    "peft": "rehearsal/gsm/other/gemma-2-2b-it-lora",
}


def made_up(folder: Path, layout: str = "tunix", licences: Mapping[str, str] = LICENCES, **changes: object) -> Path:
    """Write a folder that looks like an export, in place of an earlier one."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in {"README.md": CARD.encode(), **FILES[layout]}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    about = {
        "layout": layout,
        "dtype": "bfloat16",
        "run": RUN,
        "cursor": Cursor(stage="grpo", step=400),
        "checkpoint": "c" * 64,
        "base_model": "google/gemma-2-2b-it",
        "model_kind": "gemma2",
        "system": "",
        "base_sha256": "b" * 64,
        "weights_sha256": "e" * 64,
        "licences": dict(licences),
        "files": file_entries(folder),
        **changes,
    }
    (folder / EXPORT_NAME).write_text(ExportManifest(**about).to_json())  # type: ignore[arg-type]
    return folder


_PIPELINE = check(
    {"name": "gsm", "model": {"source": BASE}, "stages": [{"name": "grpo", "kind": "grpo", "steps": 400}]}, "gsm.yaml"
)
STARTED = RunStarted(
    run=RUN,
    pipeline_name="gsm",
    owner="rehearsal",
    accelerator="tpu",
    pipeline=_PIPELINE.canonical(),
    pipeline_path="gsm.yaml",
    pipeline_digest=_PIPELINE.digest,
)


IDLE = Played(ends_after_s=0.0)


@dataclass
class Desk:
    """A home folder with one run, an export of it, and the account."""

    kaggle: LocalKaggle
    root: Path
    export: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    def relay(self, *arguments: str) -> Result:
        """The program in this process, without a terminal."""
        environ = {**self.kaggle.environment(), "HOME": str(self.root)}
        return CliRunner().invoke(main, ["--home", str(self.home), *arguments], env=environ)

    def publish(self, *arguments: str, folder: Path | None = None) -> Result:
        where = () if any(one.startswith("--hub") for one in arguments) else ("--model", "rehearsal/gsm")
        return self.relay("publish", RUN, *where, "--from-export", str(folder or self.export), *arguments)

    def versions(self, place: str = PLACES["tunix"]) -> list[int]:
        """The numbers of the versions on Kaggle; none if there is no such variation."""
        parts = place.split("/")
        with self.kaggle.world.at_now():
            mine = [model for model in self.kaggle.world.models.all() if model.owner == "rehearsal"]
            found = [variation for model in mine if (variation := model.find(parts[2], parts[3])) is not None]
            return [version.number for variation in found for version in variation.versions]

    def made(self) -> list[str]:
        """The models of the account, and all that was uploaded."""
        with self.kaggle.world.at_now():
            models = [model.ref for model in self.kaggle.world.models.all() if model.owner == "rehearsal"]
            return [*models, *(blob.name for blob in self.kaggle.world.blobs.all())]


@contextmanager
def desk(
    root: Path,
    *,
    faults: FaultPlan = NO_FAULTS,
    rules: Rules = AT_ONCE,
    accepted: bool = True,
    layout: str = "tunix",
    played: Played = IDLE,
) -> Iterator[Desk]:
    clock = SystemClock()
    Store.at(root / "home").begin_run(STARTED, clock.now())
    sandbox = ScriptedSandbox(lambda *_: played)
    with LocalKaggle(root / "kaggle", clock, rules, faults, sandbox) as kaggle:
        content = {"gemma2-2b-it/_METADATA": Content.of_bytes(b"{}", clock.now())}
        kaggle.world.offer_model(BASE, content, accepted=accepted)
        yield Desk(kaggle, root, made_up(root / "export", layout))
