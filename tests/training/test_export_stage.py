"""The stage `export` leaves a model in the session's output, passes the weights on, and says the same however a run was cut."""

import json
from pathlib import Path

import numpy as np
import pytest

from stages.formats.export_manifest import ExportManifest
from stages.stage import StageFailed
from stages.training import checkpoints
from stages.training.model import arrays_of
from tests.training.harness import SMALL, TINY, Chain, shared_inputs, spec
from tests.training.models import loaded

pytestmark = pytest.mark.slow

SFT = {"data": ["gsm8k"], "batch": 2, "max_seq_length": 64, "mode": "lora", "lora_rank": 2}


def chain(*exports: str, **changes: object) -> Chain:
    stages = [spec("sft", "sft", 2, **{**SFT, **changes})]
    stages += [spec(f"out-{layout}", "export", 1, format=layout) for layout in exports]
    return Chain(tuple(stages))


def test_an_export_is_in_the_output_and_its_digest_in_the_checkpoint(tmp_path: Path) -> None:
    record = chain("safetensors", "peft").run(tmp_path)
    manifest = ExportManifest.from_json((tmp_path / "exports" / "out-safetensors" / "export.json").read_bytes())
    assert (manifest.run, manifest.cursor.stage, manifest.cursor.step) == ("small-0001", "sft", 2)
    state = checkpoints.read(tmp_path / "out-peft-1")
    about = json.loads(state.artifacts["export-out-safetensors.json"])
    folder = tmp_path / "exports" / "out-safetensors"
    read = loaded({"kind": "gemma2", "source": str(folder)})
    assert about["weights_sha256"] == manifest.weights_sha256 == checkpoints.tree_digest(arrays_of(read.model))
    assert (tmp_path / "exports" / "out-peft" / "adapter_model.safetensors").is_file()
    assert "export-out-peft.json" in state.artifacts
    kept = {"weights", "adapter", "data"}
    digests = [{name: record.digests[place][name] for name in kept} for place in ("sft-2", "out-peft-1")]
    assert digests[0] == digests[1], "the model is passed on unchanged"


def test_the_artifact_is_the_same_however_the_run_was_cut(tmp_path: Path) -> None:
    whole = chain("tunix").run(tmp_path / "whole")
    cut = chain("tunix").run(tmp_path / "cut", {"sft": (1,)})
    assert cut.digests["out-tunix-1"] == whole.digests["out-tunix-1"]


def test_an_export_of_the_run_that_trained_all_weights_has_them(tmp_path: Path) -> None:
    chain("safetensors", mode="full").run(tmp_path)
    found = arrays_of(loaded({"kind": "gemma2", "source": str(tmp_path / "exports" / "out-safetensors")}).model)
    wanted = checkpoints.read(tmp_path / "sft-2").weights.base
    assert wanted is not None
    for name, array in wanted.items():
        np.testing.assert_array_equal(np.asarray(found[name]), array, name)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ((spec("out", "export", 1),), "no stage before out has trained anything"),
        (
            (spec("sft", "sft", 1, **{**SFT, "mode": "full"}), spec("out", "export", 1, format="peft")),
            "trained all weights",
        ),
        ((spec("sft", "sft", 1, **SFT), spec("out", "export", 1, format="gguf")), "safetensors, peft or tunix"),
    ],
)
def test_what_cannot_be_exported_ends_the_session_with_the_reason(tmp_path: Path, stages: tuple, said: str) -> None:
    with pytest.raises(StageFailed, match=said):
        Chain(stages).run(tmp_path)
    assert not (tmp_path / "exports").exists() or list((tmp_path / "exports").iterdir()) == []


def test_another_tokenizer_than_the_runs_is_refused(tmp_path: Path) -> None:
    import shutil

    inputs = tmp_path / "inputs"
    shutil.copytree(shared_inputs(), inputs)
    made = chain("safetensors")
    first = Chain(made.stages[:1], inputs=inputs)
    first.run(tmp_path / "root")
    path = inputs / "models" / SMALL["gemma2"] / "tokenizer.model"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"\x12\x00")
    with pytest.raises(StageFailed, match="no longer has the tokenizer"):
        Chain(made.stages, TINY, inputs=inputs).go_on(tmp_path / "root")
