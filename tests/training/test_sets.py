"""The stand-ins have the real sets' columns and files, and make a world that a tiny model with a small tokenizer can learn."""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from orchestrator.pipeline import loader
from orchestrator.rehearsal.local_kaggle.stand_ins.install import SETS as SETS_FOLDER
from orchestrator.rehearsal.local_kaggle.stand_ins.sets import MBPP_ROWS, write_sets
from orchestrator.rehearsal.local_kaggle.stand_ins.tokenizer import VOCABULARY, write_tokenizer
from orchestrator.rehearsal.verify.inputs import mounted
from stages.data import Example, Source, open_source, prompt_of
from stages.data.mounted import STAND_IN_MARK
from stages.data.registry import KNOWN
from stages.evaluate import hard_ones
from stages.options.model import SYSTEM
from stages.options.training import SETS
from stages.rewards import answer_of, structure_reward

MAGPIE = "Magpie-Reasoning-V2-250K-CoT-Deepseek-R1-Llama-70B"
TEXT, NUMBER = "string", "double"
MESSAGES = "list<element: struct<content: string, role: string>>"
COLUMNS = {
    "gsm8k/main/train": {"question": TEXT, "answer": TEXT},
    "mbpp/full/train": {
        "task_id": "int32",
        "text": TEXT,
        "code": TEXT,
        "test_list": "list<element: string>",
        "test_setup_code": TEXT,
        "challenge_test_list": "list<element: string>",
    },
    "ultrafeedback_binarized/data/train_prefs": {
        "prompt": TEXT,
        "prompt_id": TEXT,
        "chosen": MESSAGES,
        "rejected": MESSAGES,
        "messages": MESSAGES,
        "score_chosen": NUMBER,
        "score_rejected": NUMBER,
    },
    f"{MAGPIE}/data/train": {
        "conversation_id": TEXT,
        "instruction": TEXT,
        "response": TEXT,
        "conversations": "list<element: struct<from: string, value: string>>",
        "gen_input_configs": "struct<temperature: double, top_p: double, input_generator: string, seed: null, "
        "pre_query_template: string>",
        **dict.fromkeys(("intent", "knowledge", "difficulty", "difficulty_generator", "input_quality"), TEXT),
        **dict.fromkeys(("quality_explanation", "quality_generator", "task_category"), TEXT),
        "other_task_category": "list<element: string>",
        **dict.fromkeys(("task_category_generator", "language"), TEXT),
    },
}


def written(folder: Path, name: str) -> pyarrow.Table:
    return parquet.read_table(folder / f"{name}-00000-of-00001.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sets")
    write_sets(place)
    return place


@pytest.fixture(scope="module")
def sources(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Source]:
    scratch = tmp_path_factory.mktemp("scratch")
    return {
        name: open_source([name], folder, seed=0, wants=lambda e: "", apart_from=["gsm8k", "mbpp"], scratch=scratch)
        for name in SETS
    }


@lru_cache
def tokenizer(path: Path) -> Any:
    found = sentencepiece.SentencePieceProcessor()
    assert found.Load(str(path))
    return found


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    write_tokenizer(path)
    return tokenizer(path)


def test_every_set_that_a_pipeline_may_name_is_known() -> None:
    assert tuple(KNOWN) == SETS


@pytest.mark.parametrize("name", COLUMNS)
def test_the_columns_are_those_of_the_real_set(folder: Path, name: str) -> None:
    schema = written(folder, name).schema
    found = {column: str(schema.field(column).type) for column in schema.names}
    more = {"gen_response_configs"} if name.startswith(MAGPIE) else set()
    assert {column: kind for column, kind in found.items() if column not in more} == COLUMNS[name]


def test_the_splits_are_those_of_the_real_sets_in_their_files(folder: Path) -> None:
    files = {
        path.relative_to(folder).as_posix().removesuffix("-00000-of-00001.parquet") for path in folder.rglob("*.*")
    }
    others = {"gsm8k/main/test", "ultrafeedback_binarized/data/test_prefs"}
    assert files == {STAND_IN_MARK, *COLUMNS, *others, *(f"mbpp/full/{split}" for split in MBPP_ROWS)}
    assert {split: written(folder, f"mbpp/full/{split}").num_rows for split in MBPP_ROWS} == MBPP_ROWS


@pytest.mark.slow
def test_the_same_seed_writes_the_same_bytes_and_another_one_others(folder: Path, tmp_path: Path) -> None:
    def content(place: Path) -> dict[str, bytes]:
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*.parquet")}

    write_sets(tmp_path / "same")
    write_sets(tmp_path / "other", seed=1)
    assert content(tmp_path / "same") == content(folder)
    assert content(tmp_path / "other") != content(folder)


@pytest.mark.slow
def test_a_set_that_the_pipeline_brings_has_no_stand_in_beside_it_and_the_others_say_what_they_are(
    tmp_path: Path,
) -> None:
    for name in ("gsm8k_train.jsonl", "gsm8k_test.jsonl"):
        (tmp_path / name).write_text("{}\n", encoding="utf-8")
    text = "name: own\ninputs: {files: [gsm8k_train.jsonl, gsm8k_test.jsonl]}\n"
    text += f"model: {{source: {tmp_path}}}\nstages: [{{name: sft, kind: sft, steps: 1, options: {{data: [gsm8k, mbpp]}}}}]\n"
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    own, made_up = mounted(loader.load(path), path, tmp_path / "inputs")
    assert sorted(own.files) == ["gsm8k_test.jsonl", "gsm8k_train.jsonl"]
    assert f"{SETS_FOLDER}/{STAND_IN_MARK}" in made_up.files
    names = " ".join(made_up.files)
    assert "gsm8k" not in names
    assert all(name in names for name in ("mbpp", "ultrafeedback", "Magpie"))


@pytest.mark.slow
def test_no_sum_is_trained_on_that_is_evaluated_the_other_way_round(sources: dict[str, Source]) -> None:
    def operands(example: Example) -> tuple[int, ...]:
        return tuple(sorted(int(number) for number in re.findall(r"\d+", example.question)))

    sums = [example for name in ("gsm8k", "magpie") for example in sources[name].train if example.domain == "math"]
    asked = {operands(example) for example in sources["gsm8k"].held_out}
    assert not asked & {operands(example) for example in sums}
    assert 0.15 < len(sources["gsm8k"].held_out) / 2500 < 0.25


def test_gsm8k_and_mbpp_are_right(sources: dict[str, Source]) -> None:
    for example in (*sources["gsm8k"].train, *sources["gsm8k"].held_out):
        assert int(example.answer) == sum(int(number) for number in re.findall(r"\d+", example.question))
        assert answer_of(example.completion) == example.answer
    for example in (*sources["mbpp"].train, *sources["mbpp"].held_out):
        names: dict[str, Any] = {}
        exec(answer_of(example.completion) or "", names)  # our own two lines
        for test in json.loads(example.answer)["tests"]:
            exec(test, names)


def is_right(example: Example) -> bool:
    return int(example.answer) == sum(int(number) for number in re.findall(r"\d+", example.question))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "wrong_carry", "wrong_long"), [(0.5, 0.9, 0.7), (0.0, 0.0, 0.0), (0.2, 1.0, 0.0), (0.2, 0.6, 1.0)]
)
def test_the_synthetic_set_is_wrong_as_often_as_it_should_be(
    tmp_path: Path, wrong: float, wrong_carry: float, wrong_long: float
) -> None:
    write_sets(tmp_path, wrong=wrong, wrong_carry=wrong_carry, wrong_long=wrong_long)
    train = open_source(["magpie"], tmp_path, seed=0, wants=lambda e: "").train
    for domain, right, wrong_hard in (("math", is_right, wrong_carry), ("chat", passes, wrong_long)):
        for share, is_hard in ((wrong, False), (wrong_hard, True)):
            some = [each for each in train if each.domain == domain and (each.difficulty == "hard") == is_hard]
            assert sum(not right(each) for each in some) / len(some) == pytest.approx(share, abs=0.08)
    functions = [example for example in train if example.domain == "chat"]
    assert len(functions) / len(train) == pytest.approx(0.25, abs=0.02)


def test_hard_functions_are_few_and_those_with_the_longest_solutions(sources: dict[str, Source]) -> None:
    for example in sources["magpie"].train:
        if example.domain == "chat" and "function" in example.question:
            constant = re.search(r"(\d+)\.", example.question)
            assert constant is not None
            assert (example.difficulty == "hard") == (len(constant[1]) == 3)
    hard = hard_ones(sources["mbpp"].held_out)
    assert 0.25 < len(hard) / len(sources["mbpp"].held_out) < 0.5
    assert all(re.search(r"\d{3}\.", each.question) for each in sources["mbpp"].held_out if each.key in hard)


def passes(example: Example) -> bool:
    names: dict[str, Any] = {}
    exec(answer_of(example.completion) or "", names)  # our own two lines
    try:
        for test in re.findall(r"assert .*", example.question):
            exec(test, names)
    except AssertionError:
        return False
    return True


def test_hard_sums_are_those_with_a_carry(sources: dict[str, Source]) -> None:
    for example in sources["magpie"].train:
        if example.domain == "math":
            first, second = (int(number) for number in re.findall(r"\d+", example.question))
            assert (example.difficulty == "hard") == (first % 10 + second % 10 >= 10)


def test_magpie_asks_in_the_words_of_the_sets_that_judge(sources: dict[str, Source]) -> None:
    magpie = {example.question for example in sources["magpie"].train}
    for name in ("gsm8k", "mbpp"):
        known = {example.question for example in sources[name].train}
        assert len(magpie & known) > len(known) / 2


def test_every_completion_has_the_shape_that_is_rewarded(sources: dict[str, Source]) -> None:
    completions = [example.completion for source in sources.values() for example in source.train]
    assert set(structure_reward(completions, completions)) == {1.0}


def test_prompts_and_completions_are_few_tokens_and_all_known(sources: dict[str, Source], tokens: Any) -> None:
    for source in sources.values():
        for example in (*source.train, *source.held_out):
            prompt, completion = tokens.encode(prompt_of(example.question, "")), tokens.encode(example.completion)
            assert len(prompt) <= (24 if example.domain == "math" else 64)
            assert len(completion) <= 32
            assert tokens.unk_id() not in (*prompt, *completion)


def test_the_tokenizer_is_written_the_same_each_time_with_gemmas_special_ids(tokens: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tokenizer(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tokens.pad_id(), tokens.eos_id(), tokens.bos_id(), tokens.unk_id()) == (0, 1, 2, 3)
    assert [tokens.id_to_piece(number) for number in range(tokens.vocab_size())] == list(VOCABULARY)
    assert len(VOCABULARY) <= 250


def test_turns_tags_and_words_are_one_token_each_and_control_pieces_cannot_be_written(tokens: Any) -> None:
    for piece in ("<start_of_turn>", "<end_of_turn>", "<reasoning>", "</reasoning>", "<answer>", "</answer>", "\n"):
        assert len(tokens.encode(piece)) == 1
    assert len(tokens.encode(SYSTEM)) < 35
    assert not {0, 1, 2} & set(tokens.encode("<pad><eos><bos>"))


@pytest.mark.slow
@settings(deadline=None)
@given(text=st.text(st.sampled_from([*map(chr, range(32, 127)), "\n", "\t"]) | st.sampled_from("  \n<>answer")))
def test_any_ascii_text_survives_encoding(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "ascii.model"
    if not path.exists():
        write_tokenizer(path)
    known = tokenizer(path)
    assert known.decode(known.encode(text)) == text
