"""A pipeline that exports: what the loader takes and refuses, and what an export costs no memory on the accelerator."""

from typing import Any

import pytest

from orchestrator.base.errors import BadInput
from orchestrator.pipeline.loader import check
from orchestrator.preflight.memory.programs import needs_of
from stages.session import packing

SFT = {"name": "sft", "kind": "sft", "steps": 3}
OUT = {"name": "out", "kind": "export", "steps": 1}


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([SFT, {**OUT, "steps": 2}], "stages[1].steps is 2, and an export has one step: write steps: 1"),
        ([OUT, SFT], "stages[0]: no stage before this export trains a model: put one there"),
        ([{**SFT, "kind": "counting"}, OUT], "stages[1]: no stage before this export trains a model"),
        (
            [SFT, OUT, {**OUT, "name": "two", "options": {"format": "gguf"}}],
            "stages[2].options.format should be safetensors",
        ),
        (
            [SFT, {**OUT, "options": {"dtype": "float16"}}],
            "stages[1].options.dtype should be auto, bfloat16 or float32",
        ),
    ],
)
def test_an_export_that_no_session_could_carry_out_is_refused(stages: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(BadInput) as refused:
        check({"name": "gsm", "stages": stages}, "gsm.yaml")
    assert str(refused.value).startswith(f"gsm.yaml: {said}")


def test_an_export_needs_no_memory_of_the_accelerator_and_keeps_the_adapters_that_were_there() -> None:
    first, more = {**SFT, "options": {"mode": "lora"}}, {**SFT, "name": "more", "options": {"mode": "lora"}}
    model = {"dtype": "bfloat16"}
    exported = check({"name": "gsm", "model": model, "stages": [first, OUT, more]}, "gsm.yaml")
    plain = check({"name": "gsm", "model": model, "stages": [first, more]}, "gsm.yaml")
    assert needs_of(exported) == needs_of(plain)


def test_only_the_wanted_members_of_a_packed_state_are_unpacked(tmp_path: Any) -> None:
    for name in ("state.json", "arrays/base/d/1", "arrays/optimizer/d/2"):
        path = tmp_path / "state" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    packing.pack(tmp_path / "state", tmp_path / "state.bin")
    packing.unpack(
        tmp_path / "state.bin", tmp_path / "out", size_bytes_max=10**6, wanted=lambda name: "optimizer" not in name
    )
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"state.json", "arrays/base/d/1"}
