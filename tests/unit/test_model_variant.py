"""Whether a model is instruction-tuned, which decides how its answers end: from its name, its files, or what the pipeline says."""

from pathlib import Path

import pytest

from stages.options import Model
from stages.training.model_files import CHAT_TEMPLATE_NAME, ModelFiles, is_instruct

NAMES = [
    # Kaggle: owner/model/framework/variation/version
    ("google/gemma-2/flax/gemma2-2b-it/1", True),
    ("google/gemma-2/flax/gemma2-2b/1", False),
    ("google/gemma-3/flax/gemma3-1b-it/1", True),
    ("google/gemma-3/flax/gemma3-1b/1", False),
    # Hugging Face: owner/name
    ("google/gemma-2-2b-it", True),
    ("google/gemma-2-2b", False),
    ("google/gemma-3-1b-it", True),
    ("google/gemma-3-1b-pt", False),
    ("google/gemma-3-270m", False),
    ("google/gemma-3-270m-it", True),
    ("somebody/gemma-2-2b-it-german", True),
    ("it/model", False),
    ("somebody/italian", False),
    ("somebody/gemma-2-2b-instruct", True),
    # a folder
    ("/models/gemma2-2b-it/", True),
    ("/it/mine", False),
    ("./mine", False),
]


def files(folder: Path) -> ModelFiles:
    return ModelFiles(folder, "transformers", folder / "tokenizer.model")


@pytest.mark.parametrize(("source", "instruct"), NAMES)
def test_a_name_says_what_a_model_was_taught(source: str, instruct: bool, tmp_path: Path) -> None:
    assert is_instruct(Model(source=source), files(tmp_path / "x")) is instruct


@pytest.mark.parametrize(
    ("name", "text", "instruct"),
    [
        (CHAT_TEMPLATE_NAME, "{{ bos_token }}", True),
        ("tokenizer_config.json", '{"chat_template": "{{ bos_token }}"}', True),
        ("tokenizer_config.json", '{"chat_template": null}', False),
        ("tokenizer_config.json", "[]", False),
        ("tokenizer_config.json", "{", False),
    ],
)
def test_of_a_model_with_a_name_of_its_own_a_chat_template_decides(
    name: str, text: str, instruct: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    assert is_instruct(Model(source="somebody/mine"), files(tmp_path)) is instruct
    assert not is_instruct(Model(source="google/gemma-3-1b-pt"), files(tmp_path)), "Google's names are known"


@pytest.mark.parametrize("source", [source for source, _ in NAMES])
def test_what_the_pipeline_says_holds_whatever_the_name(source: str, tmp_path: Path) -> None:
    assert is_instruct(Model(source=source, variant="instruct"), files(tmp_path))
    assert not is_instruct(Model(source=source, variant="base"), files(tmp_path))
