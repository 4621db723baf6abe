"""Qwen and Llama go through the same code as Gemma: files, prompts, training, resume and export."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pytest

from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import write_tokenizer_of
from stages.data import prompt_of
from stages.formats.hugging_face import chat_template
from stages.options import Export, Model
from stages.options.families import FAMILIES, FULL_SIZE, Sizes, family_name, sizes_of
from stages.stage import StageFailed
from stages.training import model_files
from stages.training.checkpoints import tree_digest
from stages.training.families import config_of, port_of
from stages.training.llama import frequencies
from stages.training.model import arrays_of
from stages.training.tokenizer import JsonTokenizer, read
from tests.training.exports import trained
from tests.training.harness import ANSWERS, ROLLOUTS, SMALL, Chain, spec
from tests.training.models import loaded, logits, written
from tests.training.test_exact_resume import assert_same

NEW = ("qwen2.5", "qwen3", "llama3.2")
LONG = {**ANSWERS, "max_prompt_length": 160}
SFT = {"data": ["magpie"], "batch": 4, "max_seq_length": 320, "warmup_steps": 2, "mode": "lora", "lora_rank": 2}
BY_HASH = {"tests.training.odd_rewards:by_hash": 1.0}


# --- training -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", [NEW[0], *(pytest.param(kind, marks=pytest.mark.nightly) for kind in NEW[1:])])
def test_a_run_that_is_cut_computes_what_the_uncut_one_computes(kind: str, tmp_path: Path) -> None:
    """An adapter by SFT and greedy answers; for one family GRPO too, whose loss knows padding by another token than 0."""
    rollouts = {**ROLLOUTS, "max_prompt_length": 160, "rewards": BY_HASH}
    after = spec("grpo", "grpo", 2, **rollouts) if kind == "qwen2.5" else spec("ask", "evaluate", 1, **LONG, batch=2)
    stages = [spec("sft", "sft", 2, **SFT), after]
    chain = Chain(tuple(stages), model={"kind": kind, "source": SMALL[kind], "system": ""})
    whole = chain.run(tmp_path / "whole")
    parts = chain.run(tmp_path / "parts", {"sft": (1,), "grpo": (1,)} if kind == "qwen2.5" else {"sft": (1,)})
    assert_same(parts, whole)
    losses = [whole.value("sft", step, "loss") for step in (1, 2)]
    assert len(set(losses)) == 2 and all(0 < loss < 10 for loss in losses)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NEW)
def test_an_export_is_read_back_as_the_trained_model(kind: str, tmp_path: Path) -> None:
    model = trained(tmp_path, kind, "transformers", adapters=1)
    model.exporter().export(Export(), tmp_path / "out")
    again = loaded({"kind": kind, "source": str(tmp_path / "out")})
    assert tree_digest(arrays_of(again.model)) == tree_digest(arrays_of(model.merged.model))
    assert again.instruct, "the export names the end of a turn among its end tokens"
    model.exporter().export(Export(format="peft"), tmp_path / "peft")
    about = json.loads((tmp_path / "peft/adapter_config.json").read_text())
    assert about["target_modules"] == sorted(FAMILIES[kind].matrices)
    with pytest.raises(StageFailed, match="export with format safetensors"):
        model.exporter().export(Export(format="tunix"), tmp_path / "tunix")
    assert not (tmp_path / "tunix").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", NEW)
def test_a_rounded_model_that_saves_memory_computes_about_the_same(kind: str, tmp_path: Path) -> None:
    values = written(tmp_path, kind, "transformers")
    rounded = loaded(values, dtype="bfloat16", remat="block")
    assert {array.dtype.name for array in arrays_of(rounded.model).values()} == {"bfloat16"}
    np.testing.assert_allclose(logits(rounded.model).astype(np.float32), logits(loaded(values).model), atol=0.1)


# --- files ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", FULL_SIZE)
def test_sizes_of_a_kind_are_those_of_tunixs_own_configuration(kind: str) -> None:
    sizes = sizes_of(kind)
    config = config_of(kind, sizes, Model(kind=kind, remat="block", dtype="bfloat16"))
    assert config.remat_config.name == "BLOCK"
    name = kind.replace("qwen2.5", "qwen2p5").replace("llama3.2", "llama3p2").replace("-", "_")
    name = "_".join([name.partition("_")[0], name.partition("_")[2].replace(".", "p")])
    configs = type(config)
    preset = next(getattr(configs, n)() for n in (name, f"{name}_it", f"_{name}") if hasattr(configs, n))
    for field in dataclasses.fields(config):
        if field.name not in ("remat_config", "dtype", "param_dtype", "shd_config"):
            assert getattr(config, field.name) == getattr(preset, field.name), field.name


def cause(values: dict[str, Any], **options: Any) -> StageFailed:
    with pytest.raises(StageFailed) as failed:
        loaded(values, **options)
    assert "\n" not in failed.value.reason
    return failed.value


@pytest.mark.parametrize(
    ("kind", "wrong", "found"),
    [
        ("qwen2.5", "gemma2", "holds a Qwen 2.5 model of 2 layers and model.kind says gemma2: write kind: qwen2.5"),
        ("qwen3", "qwen2.5-0.5b", "holds a Qwen 3 model of 2 layers"),
        ("llama3.2", "gemma3", "write kind: llama3.2"),
        ("gemma3", "qwen3", "holds a Gemma 3 model of 2 layers and model.kind says qwen3: write kind: gemma3"),
    ],
)
@pytest.mark.parametrize("declared", [True, False])
def test_a_model_of_another_family_is_known_by_its_files(
    kind: str, wrong: str, found: str, declared: bool, tmp_path: Path
) -> None:
    values = written(tmp_path, kind, "transformers")
    for name in ("tokenizer.model", "tokenizer.json"):
        (tmp_path / name).touch()
    if not declared:
        change(tmp_path, model_type=None)
    failed = cause({**values, "kind": wrong})
    assert failed.cause == "model-mismatch"
    assert found in failed.reason


def change(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("kind", "values", "found"),
    [
        ("qwen3", {"rope_theta": 5e6}, "declares rope_theta 5000000.0"),
        ("qwen2.5", {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "declares rope_type yarn"),
        ("llama3.2", {"rope_scaling": None}, "declares rope_type default"),
        ("llama3.2", {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "declares factor 8.0"),
        ("qwen3", {"model_type": "qwen3_moe"}, "of type qwen3_moe, which relay does not train (the closest is Qwen 3)"),
    ],
)
def test_what_tunix_would_compute_otherwise_is_refused(
    kind: str, values: dict[str, Any], found: str, tmp_path: Path
) -> None:
    written(tmp_path, kind, "transformers")
    change(tmp_path, **values)
    failed = cause({"kind": kind, "source": str(tmp_path)})
    assert failed.cause == "model-mismatch"
    assert found in failed.reason


def test_a_near_miss_among_folders_and_files_is_named(tmp_path: Path) -> None:
    values = written(tmp_path / "gemma", "qwen3", "transformers")
    assert f"did you mean {tmp_path / 'gemma'}?" in cause({**values, "source": str(tmp_path / "gema")}).reason
    (tmp_path / "gemma/tokenizer.json").rename(tmp_path / "gemma/tokenizer.jsn")
    assert "(did you mean " in cause(values).reason
    (tmp_path / "gemma/model.safetensors").rename(tmp_path / "gemma/model.safetensor")
    assert f"did you mean {tmp_path / 'gemma/model.safetensor'}?" in cause(values).reason


@pytest.mark.slow
def test_a_tied_model_whose_files_hold_the_output_matrix_too_is_tied(tmp_path: Path) -> None:
    """As Qwen 3 0.6B's own files do."""
    from safetensors.numpy import load_file, save_file

    values = written(tmp_path, "qwen3", "transformers")
    wanted = tree_digest(arrays_of(loaded(values).model))
    arrays = load_file(tmp_path / "model.safetensors")
    save_file({**arrays, "lm_head.weight": arrays["model.embed_tokens.weight"]}, tmp_path / "model.safetensors")
    assert tree_digest(arrays_of(loaded(values).model)) == wanted
    change(tmp_path, tie_word_embeddings=False)
    assert "lm_head.w" in arrays_of(loaded(values).model)


@pytest.mark.slow
def test_of_a_multimodal_gemma_the_text_part_is_read(tmp_path: Path) -> None:
    """As Gemma 3 4B is stored: names with a prefix, sizes in `text_config`, and a part for pictures."""
    from safetensors.numpy import load_file, save_file

    values = written(tmp_path, "gemma3", "transformers")
    wanted = tree_digest(arrays_of(loaded(values).model))
    arrays = {f"language_model.{name}": array for name, array in load_file(tmp_path / "model.safetensors").items()}
    eye = {"vision_tower.vision_model.post_layernorm.weight": np.ones(4, np.float32)}
    save_file({**arrays, **eye}, tmp_path / "model.safetensors")
    text = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    assert tree_digest(arrays_of(loaded(values).model)) == wanted
    text["rope_scaling"] = {"factor": 8.0, "rope_type": "linear"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    assert "declares factor 8, and Tunix computes a model of this size with 1" in cause(values).reason


@pytest.mark.parametrize(
    ("source", "ends", "instruct"),
    [
        ("Qwen2.5-0.5B", [256], False),
        ("Qwen3-0.6B", [258, 256], True),
        ("Qwen3-0.6B-Base", [258], False),
        ("a-instruct", [], True),
    ],
)
def test_an_instruct_model_is_known_by_its_name_or_its_end_tokens(
    source: str, ends: list[int], instruct: bool, tmp_path: Path
) -> None:
    folder = tmp_path / source
    folder.mkdir()
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    (folder / "tokenizer_config.json").write_text('{"chat_template": "base models of Qwen have one too"}')
    files = model_files.ModelFiles(folder, "transformers", folder)
    assert model_files.is_instruct(Model(kind="qwen3", source=str(folder)), files, 258) == instruct


# --- text -----------------------------------------------------------------------

OFFICIAL = {
    "qwen2.5": (
        "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
        "{%- else %}{{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
        "<|im_end|>\n' }}{%- endif %}{%- for message in messages %}{%- if message.role == 'user' or message.role == "
        "'assistant' %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}{%- endif %}"
        "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
    ),
    "qwen3": (
        "{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}"
        "{%- endif %}{%- for message in messages %}{%- if message.role == 'user' %}{{- '<|im_start|>' + message.role + "
        "'\n' + message.content + '<|im_end|>' + '\n' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}"
        "{{- '<|im_start|>assistant\n' }}{%- endif %}"
    ),
    "llama3.2": (
        "{{- bos_token }}{%- set date_string = '26 Jul 2024' %}{%- if messages[0]['role'] == 'system' %}{%- set "
        "system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}{%- else %}{%- set "
        "system_message = '' %}{%- endif %}{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}{{- 'Cutting Knowledge "
        "Date: December 2023\n' }}{{- 'Today Date: ' + date_string + '\n\n' }}{{- system_message }}{{- '<|eot_id|>' }}"
        "{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ "
        "message['content'] | trim + '<|eot_id|>' }}{%- endfor %}{%- if add_generation_prompt %}"
        "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
    ),
}
"""The makers' templates, without their branches for tools, thoughts and today's date."""


@pytest.mark.parametrize("kind", NEW)
@pytest.mark.parametrize("system", ["", "Think."])
def test_prompts_are_those_of_the_makers_template_and_of_the_exports(kind: str, system: str) -> None:
    question = [{"role": "user", "content": "What is 2 + 3?"}]
    messages = [{"role": "system", "content": system}, *question] if system else question
    begin = FAMILIES[kind].tokens.begin
    render = jinja2.Environment(autoescape=False).from_string
    official = render(OFFICIAL[kind]).render(messages=messages, bos_token=begin, add_generation_prompt=True)
    ours = render(chat_template(Model(kind=kind, system=system)))
    assert official == begin + prompt_of("What is 2 + 3?", system, kind)
    assert ours.render(messages=question, bos_token=begin, add_generation_prompt=True) == official
    assert ours.render(messages=messages, bos_token=begin, add_generation_prompt=True) == official


@pytest.mark.parametrize("kind", NEW)
def test_a_tokenizer_json_adds_nothing_and_no_text_can_end_itself(kind: str, tmp_path: Path) -> None:
    write_tokenizer_of(kind, tmp_path)
    tokenizer, tokens = read(tmp_path / "tokenizer.json", kind), FAMILIES[kind].tokens
    text = "naïve €5: {x} !!\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("!")[0] == 0 != tokenizer.pad_id(), "token 0 is a letter here"
    assert len(tokenizer.begin) == bool(tokens.begin)
    assert tokenizer.stops[0] == tokenizer.piece_id(tokens.end)
    assert tokenizer.stops[-1] == tokenizer.piece_id(tokens.turns[1])
    asked = tokenizer.encode(prompt_of(f"1{tokens.turns[1]}{tokens.end}", "", kind))
    fair = tokenizer.encode(prompt_of("1", "", kind))
    assert [asked.count(number) for number in tokenizer.stops] == [fair.count(number) for number in tokenizer.stops]


def test_a_tokenizer_of_another_family_is_refused(tmp_path: Path) -> None:
    write_tokenizer_of("llama3.2", tmp_path)
    with pytest.raises(StageFailed, match="not a tokenizer that a Qwen 3 model can use"):
        read(tmp_path / "tokenizer.json", "qwen3")
    with pytest.raises(ValueError, match="not a tokenizer"):
        JsonTokenizer(b"{}", FAMILIES["qwen3"].tokens)


def test_llamas_frequencies_are_scaled_where_the_context_is_longer_than_they_were_trained_for() -> None:
    """At a head width of 64 (Llama 3.2 1B): the first are kept, the last divided by 32, as transformers computes them."""
    found, exact = frequencies(64), 500_000.0 ** -(np.arange(0, 64, 2) / 64)
    assert np.allclose(found[:14], exact[:14], rtol=1e-6)
    assert np.allclose(found[-12:], exact[-12:] / 32, rtol=1e-6)
    between = found[15:18] / exact[15:18]
    assert (np.diff(between) < 0).all() and (between > 1 / 32).all() and (between < 1).all()


def test_every_kind_has_a_port_and_a_family_knows_its_own_sizes() -> None:
    assert {family_name(kind) for kind in FULL_SIZE} == set(FAMILIES)
    assert all(isinstance(size, Sizes) and port_of(kind) for kind in FULL_SIZE for size in [sizes_of(kind)])
