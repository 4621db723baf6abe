"""Exports hold the weights that a session computes with, exactly, for each program that reads them; or they are not there at all."""

import ast
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jax
import jinja2
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from tunix.models.gemma import model as gemma2
from tunix.models.gemma import params as gemma2_params
from tunix.models.gemma3 import model as gemma3
from tunix.models.gemma3 import params as gemma3_params

from stages.data import prompt_of
from stages.data.mounted import STAND_IN_MARK
from stages.data.pins import Pins
from stages.formats.card import base_model, load_code
from stages.formats.export_manifest import ExportManifest
from stages.formats.hugging_face import chat_template
from stages.formats.safetensors_files import TensorShape, write_model
from stages.formats.trained_weights import stored_state
from stages.options import Export, Model
from stages.stage import StageFailed
from stages.training import families
from stages.training.checkpoints import TOKENIZER_PIN, tree_digest
from stages.training.model import arrays_of
from tests.training.exports import Trained, trained
from tests.training.models import loaded

pytestmark = pytest.mark.slow

CASES = {
    "gemma2, one adapter": ("gemma2", "flax", {"adapters": 1}),
    "gemma2, two adapters, as many heads for keys": ("gemma2", "transformers", {"adapters": 2, "kv_heads": 2}),
    "gemma3, two adapters": ("gemma3", "transformers", {"adapters": 2}),
    "gemma3, one adapter, as many heads for keys": ("gemma3", "flax", {"adapters": 1, "kv_heads": 2}),
    "gemma2, every weight": ("gemma2", "transformers", {"adapters": 0, "full": True}),
    "gemma3, every weight, then an adapter": ("gemma3", "flax", {"adapters": 1, "full": True}),
}


@pytest.fixture(scope="module", params=CASES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    kind, layout, options = CASES[request.param]
    return trained(tmp_path_factory.mktemp("trained"), kind, layout, **options)


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(wanted[name]), name)


def test_relays_own_loader_reads_the_folder_back_bit_for_bit(model: Trained, tmp_path: Path) -> None:
    manifest = model.exporter().export(Export(), tmp_path / "out")
    found = arrays_of(loaded({**model.values, "source": str(tmp_path / "out")}).model)
    same(found, arrays_of(model.merged.model))
    assert manifest.weights_sha256 == tree_digest(found), "the digest that model.sha256 compares"


def test_tunixs_own_loader_reads_the_checkpoint_back_bit_for_bit(model: Trained, tmp_path: Path) -> None:
    model.exporter().export(Export(format="tunix"), tmp_path / "out")
    (folder,) = (path for path in (tmp_path / "out" / "jax").iterdir() if path.is_dir())
    config = model.merged.model.config
    if model.values["kind"] == "gemma3":
        read = gemma3_params.create_model_from_checkpoint(str(folder), config, dtype=np.float32)
    else:  # what `Gemma.from_params` does for a model whose size it knows
        read = gemma2.module_from_linen_variables(
            module_factory=lambda: families.model_class("gemma2")(config, rngs=nnx.Rngs(0)),
            variables=gemma2_params.load_and_format_params(str(folder))["transformer"],
            map_key_fn=gemma2._map_linen_var_names,
            assign_val_fn=gemma2._assign_linen_params_to_nnx_state,
        )
    same(arrays_of(read), arrays_of(model.merged.model))
    assert (folder.parent / "tokenizer.model").is_file()
    assert sum(path.is_file() for path in folder.rglob("*")) < 20, (
        "a file of its own for each array is too many for Kaggle"
    )


def test_peft_over_the_base_gives_the_merged_weights(model: Trained, tmp_path: Path) -> None:
    if model.state.weights.base is not None or not model.state.weights.adapters:
        with pytest.raises(StageFailed, match=r"trained all weights.*export safetensors"):
            model.exporter().export(Export(format="peft"), tmp_path / "peft")
        assert list(tmp_path.iterdir()) == []
        return
    model.exporter().export(Export(format="peft"), tmp_path / "peft")
    model.exporter().export(Export(), tmp_path / "merged")
    about = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    factors = safetensors.numpy.load_file(tmp_path / "peft" / "adapter_model.safetensors")
    merged = safetensors.numpy.load_file(tmp_path / "merged" / "model.safetensors")
    base = hugging_face_base(model, tmp_path)
    changed = 0
    for name, weight in base.items():
        path = f"base_model.model.{name.removesuffix('.weight')}"
        product = np.zeros(weight.shape, np.float64)
        if f"{path}.lora_A.weight" in factors:
            first, second = (factors[f"{path}.lora_{letter}.weight"].astype(np.float64) for letter in "AB")
            product = about["lora_alpha"] / about["r"] * second @ first
            changed += 1
            assert path.rpartition(".")[2] in about["target_modules"]
        np.testing.assert_allclose(merged[name], weight.astype(np.float64) + product, rtol=0, atol=3e-7, err_msg=name)
    assert changed == len(factors) // 2 == 7 * 2, "seven matrices in each of two layers"


def hugging_face_base(model: Trained, tmp_path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The base model's tensors at Hugging Face, as another writer wrote them."""
    from orchestrator.rehearsal.local_kaggle.stand_ins.model import write_model
    from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import VOCABULARY
    from tests.training.models import SMALL

    heads = {"kv_heads": model.merged.model.config.num_kv_heads}
    write_model(
        tmp_path / "base", model.values["kind"], "transformers", vocabulary=len(VOCABULARY), **{**SMALL, **heads}
    )
    return safetensors.numpy.load_file(tmp_path / "base" / "model.safetensors")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("small"), "gemma2", "transformers", targets="layers/1/.*(q|kv)_einsum")


def test_an_adapter_of_some_layers_names_each_of_its_modules(small: Trained, tmp_path: Path) -> None:
    small.exporter().export(Export(format="peft"), tmp_path / "peft")
    about = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert about["target_modules"] == [f"model.layers.1.self_attn.{name}_proj" for name in "kqv"]


def test_every_file_is_listed_with_its_hash_and_two_exports_are_equal(small: Trained, tmp_path: Path) -> None:
    for name in ("a", "b"):
        small.exporter().export(Export(dtype="bfloat16"), tmp_path / name)
    manifest = ExportManifest.from_json((tmp_path / "a" / "export.json").read_bytes())
    found = {path.relative_to(tmp_path / "a").as_posix(): path.read_bytes() for path in (tmp_path / "a").rglob("*")}
    listed = {entry.path: (entry.size_bytes, entry.sha256) for entry in manifest.files}
    assert listed == {n: (len(d), hashlib.sha256(d).hexdigest()) for n, d in found.items() if n != "export.json"}
    assert (manifest.checkpoint, manifest.contents, manifest.dtype) == ("c" * 64, {"weights": "d" * 64}, "bfloat16")
    assert (tmp_path / "b" / "export.json").read_bytes() == found["export.json"]


def test_bfloat16_is_the_merged_sum_rounded_once(small: Trained, tmp_path: Path) -> None:
    small.exporter().export(Export(dtype="bfloat16"), tmp_path / "out")
    found = arrays_of(loaded({**small.values, "source": str(tmp_path / "out")}, dtype="bfloat16").model)
    wanted = {name: array.astype("bfloat16") for name, array in arrays_of(small.merged.model).items()}
    same(found, jax.device_get(wanted))


def test_stop_tokens_and_config_are_those_of_the_tokenizer_and_the_model(small: Trained, tmp_path: Path) -> None:
    small.exporter().export(Export(), tmp_path / "out")
    rule, config = (
        json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("generation_config", "config")
    )
    pieces = small.merged.tokenizer
    assert rule == {"bos_token_id": 2, "pad_token_id": 0, "eos_token_id": [1, pieces.piece_id("<end_of_turn>")]}
    wanted = {
        "model_type": "gemma2",
        "architectures": ["Gemma2ForCausalLM"],
        "vocab_size": small.merged.model.config.num_embed,
        "head_dim": 8,
        "num_key_value_heads": 1,
        "query_pre_attn_scalar": 8,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "layer_types": ["sliding_attention", "full_attention"],
        "torch_dtype": "float32",
    }
    assert {name: config[name] for name in wanted} == wanted


def test_the_card_has_the_runs_numbers_data_licences_and_digests(small: Trained, tmp_path: Path) -> None:
    manifest = small.exporter().export(Export(), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for text in (
        'license: "gemma"',
        '- "openai/gsm8k"',
        '- "google-research-datasets/mbpp"',
        "| sft | sft | 5 | gsm8k:100, mine.jsonl | mode lora |",
        "| after | 8 | 25.0% (12.5%–50.0%) | 75.0% | 0.0% |",
        "google-research-datasets/mbpp: cc-by-4.0",
        "mine.jsonl: a file of the run's owner",
        "ai.google.dev/gemma/terms",
        "> Think.",
        "c" * 64,
        manifest.weights_sha256,
    ):
        assert text in card


@pytest.mark.parametrize(
    ("layout", "library", "says", "is_silent_about"),
    [
        (
            "safetensors",
            "transformers",
            ["AutoTokenizer.from_pretrained(folder)", "The chat template renders"],
            ["tunix.m"],
        ),
        ("peft", "peft", ["PeftModel.from_pretrained(base, folder)", "The chat template renders"], ["tunix.m"]),
        (
            "tunix",
            "tunix",
            ["load_and_format_params(weights)", "    <start_of_turn>user"],
            ["transformers", "chat template"],
        ),
    ],
)
def test_the_card_says_how_its_own_format_is_loaded_and_asked(
    small: Trained, tmp_path: Path, layout: str, library: str, says: list[str], is_silent_about: list[str]
) -> None:
    small.exporter().export(Export(format=layout), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f'library_name: "{library}"' in card
    assert [text for text in says if text not in card] == []
    assert [text for text in is_silent_about if text in card] == []


@pytest.mark.parametrize("kind", ["gemma2", "gemma2-9b", "gemma3", "gemma3-270m"])
@pytest.mark.parametrize("layout", ["safetensors", "peft", "tunix"])
def test_the_code_that_loads_an_export_is_python_and_names_what_tunix_has(kind: str, layout: str) -> None:
    text = load_code(layout, "google/gemma-2-2b-it", kind)
    ast.parse(text)
    if layout == "tunix" and kind.startswith("gemma3"):
        (method,) = re.findall(r"ModelConfig\.(\w+)\(", text)
        assert hasattr(gemma3.ModelConfig, method)
    elif layout == "tunix":
        (version,) = re.findall(r'version = "(.*?)"', text)
        assert hasattr(gemma2.ModelConfig, version.replace("2-", "gemma2_"))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("google/gemma-2/flax/gemma2-2b-it/1", "google/gemma-2-2b-it"),
        ("google/gemma-3/flax/gemma3-1b-it/1", "google/gemma-3-1b-it"),
        ("google/gemma-3-270m", "google/gemma-3-270m"),
        ("somebody/gemma-2/flax/gemma2-2b-it/1", "somebody/gemma-2/flax/gemma2-2b-it/1"),
        ("/home/me/models/mine", "mine"),
    ],
)
def test_the_base_model_has_its_name_at_hugging_face(source: str, name: str) -> None:
    assert base_model(Model(source=source)) == name


def test_an_export_of_another_base_model_is_refused_and_leaves_nothing(small: Trained, tmp_path: Path) -> None:
    other = trained(tmp_path / "other", "gemma2", "transformers", layers=2, hidden=32)
    path = other.root / "tiny-it" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    for layout in ("safetensors", "tunix"):
        with pytest.raises(StageFailed, match="has not the weights that the run started from"):
            other.exporter().export(Export(format=layout), tmp_path / "out")
    path.write_bytes(data[:-100])
    with pytest.raises(StageFailed, match="cannot be read"):
        other.exporter().export(Export(), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize("full", [False, True])
def test_another_tokenizer_than_the_runs_is_refused_also_after_all_weights_were_trained(
    full: bool, tmp_path: Path
) -> None:
    model = trained(tmp_path / "model", "gemma2", "transformers", adapters=0 if full else 1, full=full)
    pins = Pins()
    assert pins.same(TOKENIZER_PIN, "a" * 64)
    state = json.loads((model.checkpoint / "state.json").read_text())
    (model.checkpoint / "state.json").write_text(json.dumps({**state, "data": pins.described()}))
    for layout in ("safetensors", "tunix"):
        with pytest.raises(StageFailed, match="is not the tokenizer that the run started with"):
            model.exporter().export(Export(format=layout), tmp_path / "out")


@pytest.mark.parametrize("layout", ["safetensors", "peft", "tunix"])
@pytest.mark.parametrize("made_up", [False, True])
def test_the_run_and_not_the_folder_of_the_base_decides_whether_a_model_is_made_up(
    layout: str, made_up: bool, tmp_path: Path
) -> None:
    model = trained(tmp_path / "model", "gemma2", "transformers")
    if not made_up:
        (model.root / "tiny-it" / STAND_IN_MARK).write_text("")
    manifest = model.exporter(made_up=made_up).export(Export(format=layout), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert ("stand-in that was made up for a rehearsal" in card) is made_up
    assert ("Gemma Terms of Use" in manifest.licences[manifest.base_model]) is not made_up


def test_an_existing_folder_is_refused_and_left_alone(small: Trained, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(StageFailed, match="exists already"):
        small.exporter().export(Export(), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_large_model_is_split_into_files_that_the_safetensors_library_reads(tmp_path: Path) -> None:
    arrays = {f"a{number}": np.full((4, 8), number, np.float32) for number in range(5)}
    shapes = [TensorShape(name, array.shape) for name, array in arrays.items()]
    halves = (half for array in arrays.values() for half in (array[:3], array[3:]))
    write_model(tmp_path, shapes, np.dtype(np.float32), halves, shard_bytes_max=2 * 4 * 8 * 4)
    names = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == names
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_parameters": 160, "total_size": 640}
    assert index["weight_map"] == {"a0": names[0], "a1": names[0], "a2": names[1], "a3": names[1], "a4": names[2]}
    for name, file in index["weight_map"].items():
        np.testing.assert_array_equal(safetensors.numpy.load_file(tmp_path / file)[name], arrays[name])


@pytest.mark.parametrize("system", ["", 'Think.\nThen "answer" {{ it\'s }}.', "Ünïcode \\ 日本"])
@pytest.mark.parametrize("question", ["What is 1 + 2?", "  spaces \n"])
def test_the_chat_template_renders_a_question_as_the_run_did(system: str, question: str) -> None:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # as transformers has it
    template = environment.from_string(chat_template(Model(system=system)))
    said = [{"role": "user", "content": question}]
    wanted = f"<bos>{prompt_of(question, system)}"
    assert template.render(bos_token="<bos>", messages=said, add_generation_prompt=True) == wanted
    longer = [*said, {"role": "assistant", "content": "3"}, {"role": "user", "content": "And 4?"}]
    found = template.render(bos_token="<bos>", messages=longer, add_generation_prompt=True)
    assert found == f"{wanted}3<end_of_turn>\n{prompt_of('And 4?', '')}"
    other = [{"role": "system", "content": "Be brief."}, *said]
    assert template.render(bos_token="<bos>", messages=other) == "<bos>" + prompt_of(
        question, "Be brief."
    ).removesuffix("<start_of_turn>model\n")


@pytest.mark.parametrize("text", [None, "[]", "{}", '{"format": 1}', "not JSON"])
def test_a_checkpoint_of_a_stage_of_the_users_own_holds_nothing_to_export(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "state.json").write_text(text)
    with pytest.raises(StageFailed, match="holds no model that relay's own stages trained"):
        stored_state(tmp_path)
