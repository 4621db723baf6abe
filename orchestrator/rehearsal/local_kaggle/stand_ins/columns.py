"""Columns of the four data sets in their Hugging Face repositories, and functions that write such Parquet files."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

_TEXT = pyarrow.string()
_TEXTS = pyarrow.list_(_TEXT)
_NUMBER = pyarrow.float64()
_MESSAGES = pyarrow.list_(pyarrow.struct({"content": _TEXT, "role": _TEXT}))


def write(path: Path, rows: Sequence[Mapping[str, Any]], schema: pyarrow.Schema) -> None:
    """Write rows as Parquet. The same rows and the same pyarrow version give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema=schema), path)


def gsm8k() -> pyarrow.Schema:
    """Return the schema of openai/gsm8k, configuration `main`."""
    return pyarrow.schema({"question": _TEXT, "answer": _TEXT})


def mbpp() -> pyarrow.Schema:
    """Return the schema of google-research-datasets/mbpp, configuration `full`."""
    return pyarrow.schema(
        {
            "task_id": pyarrow.int32(),
            "text": _TEXT,
            "code": _TEXT,
            "test_list": _TEXTS,
            "test_setup_code": _TEXT,
            "challenge_test_list": _TEXTS,
        }
    )


def ultrafeedback() -> pyarrow.Schema:
    """Return the schema of HuggingFaceH4/ultrafeedback_binarized, splits `train_prefs` and `test_prefs`."""
    return pyarrow.schema(
        {
            "prompt": _TEXT,
            "prompt_id": _TEXT,
            "chosen": _MESSAGES,
            "rejected": _MESSAGES,
            "messages": _MESSAGES,
            "score_chosen": _NUMBER,
            "score_rejected": _NUMBER,
        }
    )


def ultrafeedback_row(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    """Return a row of two answers, of which `chosen` was judged to be better."""
    conversation = _conversation(prompt, chosen)
    return {
        "prompt": prompt,
        "prompt_id": hashlib.sha256(prompt.encode()).hexdigest(),
        "chosen": conversation,
        "rejected": _conversation(prompt, rejected),
        "messages": conversation,
        "score_chosen": 9.0,
        "score_rejected": 5.0,
    }


def magpie() -> pyarrow.Schema:
    """Return the schema of Magpie-Align/Magpie-Reasoning-V2-250K-CoT-Deepseek-R1-Llama-70B."""
    text_columns = ("intent", "knowledge", "difficulty", "difficulty_generator", "input_quality", "quality_explanation")
    asking = {"temperature": _NUMBER, "top_p": _NUMBER, "input_generator": _TEXT, "seed": pyarrow.null()}
    answering = {"temperature": _NUMBER, "top_p": _NUMBER, "repetition_penalty": _NUMBER, "max_tokens": pyarrow.int64()}
    return pyarrow.schema(
        {
            "conversation_id": _TEXT,
            "instruction": _TEXT,
            "response": _TEXT,
            "conversations": pyarrow.list_(pyarrow.struct({"from": _TEXT, "value": _TEXT})),
            "gen_input_configs": pyarrow.struct({**asking, "pre_query_template": _TEXT}),
            "gen_response_configs": pyarrow.struct(
                {"prompt": _TEXT, **answering, "stop_tokens": _TEXTS, "output_generator": _TEXT, "engine": _TEXT}
            ),
            **dict.fromkeys(text_columns, _TEXT),
            "quality_generator": _TEXT,
            "task_category": _TEXT,
            "other_task_category": _TEXTS,
            "task_category_generator": _TEXT,
            "language": _TEXT,
        }
    )


def magpie_row(instruction: str, response: str, *, difficulty: str, category: str) -> dict[str, Any]:
    """Return a row whose generator columns name the stand-in instead of the models that generated the real rows."""
    maker = "stand-in"
    digest = hashlib.sha256(f"{instruction}\0{response}".encode()).hexdigest()
    return {
        "conversation_id": digest[:32],
        "instruction": instruction,
        "response": response,
        "conversations": [{"from": "human", "value": instruction}, {"from": "gpt", "value": response}],
        "gen_input_configs": {
            "temperature": 1.0,
            "top_p": 1.0,
            "input_generator": maker,
            "seed": None,
            "pre_query_template": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
        },
        "gen_response_configs": {
            "prompt": instruction,
            "temperature": 0.6,
            "top_p": 1.0,
            "repetition_penalty": 1.0,
            "max_tokens": 8192,
            "stop_tokens": [],
            "output_generator": maker,
            "engine": maker,
        },
        "intent": "The user wants a problem solved.",
        "knowledge": "Arithmetic.",
        "difficulty": difficulty,
        "difficulty_generator": maker,
        "input_quality": "good",
        "quality_explanation": "The problem is clear.",
        "quality_generator": maker,
        "task_category": category,
        "other_task_category": [],
        "task_category_generator": maker,
        "language": "EN",
    }


def _conversation(prompt: str, answer: str) -> list[dict[str, str]]:
    return [{"content": prompt, "role": "user"}, {"content": answer, "role": "assistant"}]
