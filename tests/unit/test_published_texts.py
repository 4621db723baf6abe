"""Names of what is published: the default variation of each format, and where the weights lie."""

import pytest

from orchestrator.app.publish.documents import is_usual_variation, manifest_of_version, variation_of
from orchestrator.app.publish.kaggle_destination import usual_layout
from orchestrator.pipeline.loader import check
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


@pytest.mark.parametrize(
    ("layout", "files", "exported", "published"),
    [
        ("tunix", ("jax/2b/_METADATA", "jax/2b/d/0a1b", "jax/tokenizer.model", "README.md"), "jax/2b", "mine"),
        ("safetensors", ("model.safetensors", "config.json"), ".", "."),
    ],
)
def test_the_weights_are_found_in_an_export_and_in_its_published_version(
    layout: str, files: tuple[str, ...], exported: str, published: str
) -> None:
    made = manifest(layout, "google/gemma-2-2b-it", *files)
    assert made.weights_folder == exported
    assert manifest_of_version(made, "mine", ()).weights_folder == published


@pytest.mark.parametrize(
    ("kind", "layout"),
    [("gemma2-2b", "tunix"), ("gemma3-270m", "tunix"), ("qwen3-0.6b", "safetensors"), ("llama3.2-1b", "safetensors")],
)
def test_on_kaggle_a_model_has_the_layout_that_tunix_reads(kind: str, layout: str) -> None:
    stages = [{"name": "sft", "kind": "sft", "steps": 1}]
    pipeline = check({"name": "p", "model": {"kind": kind, "source": "a/b/c/d/1"}, "stages": stages}, "p.yaml")
    assert usual_layout(pipeline) == layout
