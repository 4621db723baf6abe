"""Names of what is published: the default variation of each format, and which ones can have been chosen by default."""

import pytest

from orchestrator.app.publish.documents import is_usual_variation, variation_of
from stages.contract import Cursor, FileEntry
from stages.formats.export_manifest import ExportManifest


def manifest(layout: str, base: str, *files: str) -> ExportManifest:
    return ExportManifest(
        layout=layout,
        dtype="float32",
        run="r-1",
        cursor=Cursor(stage="sft", step=1),
        checkpoint="c",
        base_model=base,
        model_kind="gemma2",
        system="",
        base_sha256="b",
        weights_sha256="w",
        files=tuple(FileEntry(path=path, size_bytes=1, sha256="0" * 64) for path in files),
    )


@pytest.mark.parametrize(
    ("layout", "base", "name"),
    [
        ("safetensors", "google/gemma-2-2b-it", "gemma-2-2b-it"),
        ("safetensors", "me/mine/flax/small-it/3", "small-it"),
        ("peft", "me/mine/flax/Small_It/3", "small-it-lora"),
        ("peft", "google/gemma-3-1b-it", "gemma-3-1b-it-lora"),
        ("tunix", "me/mine/flax/small-it/3", "2b"),
    ],
)
def test_a_variation_is_named_after_the_base_model_and_not_after_its_version(layout: str, base: str, name: str) -> None:
    exported = manifest(layout, base, "jax/2b/_METADATA", "jax/tokenizer.model")
    assert variation_of(exported) == name
    assert is_usual_variation(name, layout, base) and not is_usual_variation("mine", layout, base)
