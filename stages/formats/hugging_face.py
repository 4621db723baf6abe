"""Describes a model to Hugging Face's libraries: config.json, stop tokens, tokenizer files and the chat template."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.formats.tokenizer_json import pieces_of, tokenizer_json
from stages.formats.trained_weights import TrainedWeights
from stages.options import Model
from stages.options.families import LLAMA_ROPE, SENTENCEPIECE, TOKENIZER_JSON, Family, family_name
from stages.training.model_files import CHAT_TEMPLATE_NAME, ModelFiles
from stages.training.tokenizer import Tokenizer

TOKENIZER_FILES = (TOKENIZER_JSON, "special_tokens_map.json", "added_tokens.json")
"""Tokenizer files that are copied from the base model, if it has them, besides the one that relay reads."""
ROTARY = ("rope_type", *LLAMA_ROPE)
"""Keys of config.json that describe how rotary frequencies are scaled."""
LOCAL_LAYERS = 6
"""Every sixth layer of Gemma 3 attends to the whole text, the others to a window."""


def chat_template(options: Model) -> str:
    """Return the Jinja template that renders a question as the run's prompts were: `stages.data.prompts.prompt_of`.

    The pipeline's system prompt is written unless the conversation begins with another one.
    """
    return options.family.chat.as_jinja(options.system)


def config(weights: TrainedWeights, dtype: str, stops: tuple[int, ...], tokenizer: Tokenizer) -> dict[str, Any]:
    """Return config.json, in the spelling that transformers 4 and 5 both read.

    All keys are written: where `sliding_window` or `query_pre_attn_scalar` is missing, transformers computes other
    numbers without an error.
    """
    sizes, family = weights.sizes, weights.options.family
    begin = {} if tokenizer.bos_id() is None else {"bos_token_id": tokenizer.bos_id()}
    common = {
        "architectures": [family.architecture],
        "model_type": family.model_types[0],
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.width,
        "intermediate_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_width,
        "attention_dropout": 0.0,
        "tie_word_embeddings": sizes.tied,
        "max_position_embeddings": family.tokens_max,
        "initializer_range": 0.02,
        "use_cache": True,
        "torch_dtype": dtype,
        "pad_token_id": tokenizer.pad_id(),
        "eos_token_id": list(stops),
        **begin,
    }
    match family_name(weights.options.kind):
        case "gemma2":
            return common | _gemma(weights) | _gemma2(weights)
        case "gemma3":
            return common | _gemma(weights) | _gemma3(weights)
        case _:
            return common | _declared(family)


def _declared(family: Family) -> dict[str, Any]:
    """Return the rest of config.json of Qwen and Llama: what Tunix's models compute with."""
    rotary = {key: value for key, value in family.computed.items() if key in ROTARY}
    others = {key: value for key, value in family.computed.items() if key not in ROTARY}
    scaled = rotary["rope_type"] != "default" if "rope_type" in rotary else False
    return {"hidden_act": "silu", **others, "rope_scaling": rotary if scaled else None}


def _gemma(weights: TrainedWeights) -> dict[str, Any]:
    return {
        "query_pre_attn_scalar": _query_scalar(weights),
        "sliding_window": weights.config.sliding_window_size,
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
    }


def _gemma2(weights: TrainedWeights) -> dict[str, Any]:
    kinds = ("sliding_attention", "full_attention")
    return {
        "layer_types": [kinds[layer % 2] for layer in range(weights.sizes.layers)],
        "attn_logit_softcapping": weights.config.attn_logits_soft_cap,
        "final_logit_softcapping": weights.config.final_logit_softcap,
        "rope_theta": 10_000.0,
    }


def _gemma3(weights: TrainedWeights) -> dict[str, Any]:
    config, layers = weights.config, weights.sizes.layers
    scale = float(config.global_scale_factor)
    return {
        "layer_types": [
            "sliding_attention" if (layer + 1) % LOCAL_LAYERS else "full_attention" for layer in range(layers)
        ],
        "sliding_window_pattern": LOCAL_LAYERS,
        "rope_theta": float(config.global_base_frequency),
        "rope_local_base_freq": float(config.local_base_frequency),
        "rope_scaling": None if scale == 1.0 else {"factor": scale, "rope_type": "linear"},
    }


def _query_scalar(weights: TrainedWeights) -> int:
    norm = getattr(weights.config, "query_pre_attn_norm", None)
    by_width = norm is not None and "EMBED_DIM_DIV_NUM_HEADS" in norm.name
    return weights.sizes.width // weights.sizes.heads if by_width else weights.sizes.head_width


def write_tokenizer(folder: Path, files: ModelFiles, tokenizer: Tokenizer, options: Model) -> None:
    """Write the tokenizer's files, with the chat template in both places where libraries look for it."""
    family, template = options.family, chat_template(options)
    shutil.copyfile(files.tokenizer, folder / family.tokenizer_file)
    for name in TOKENIZER_FILES:
        if (files.weights / name).is_file() and not (folder / name).exists():
            shutil.copyfile(files.weights / name, folder / name)
    if not (folder / TOKENIZER_JSON).is_file():
        begin = tokenizer.bos_id()
        assert begin is not None, "a SentencePiece model has a token that begins a text"
        text = tokenizer_json(pieces_of(files.tokenizer.read_bytes()), begin)
        (folder / TOKENIZER_JSON).write_text(text, encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json", _tokenizer_config(files, tokenizer, family) | {"chat_template": template}
    )
    (folder / CHAT_TEMPLATE_NAME).write_text(template, encoding="utf-8")


def _tokenizer_config(files: ModelFiles, tokenizer: Tokenizer, family: Family) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((files.weights / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    if found:
        return found
    begin, unknown = tokenizer.bos_id(), tokenizer.unknown_id()
    return {
        "tokenizer_class": "GemmaTokenizer" if family.tokenizer_file == SENTENCEPIECE else "PreTrainedTokenizerFast",
        "add_bos_token": begin is not None,
        "add_eos_token": False,
        "bos_token": None if begin is None else tokenizer.piece(begin),
        "eos_token": tokenizer.piece(tokenizer.eos_id()),
        "pad_token": tokenizer.piece(tokenizer.pad_id()),
        "unk_token": None if unknown is None else tokenizer.piece(unknown),
        "clean_up_tokenization_spaces": False,
        "spaces_between_special_tokens": False,
    }


def generation_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return generation_config.json: without its list of stop tokens, transformers would run past the end of a turn."""
    begin = {} if tokenizer.bos_id() is None else {"bos_token_id": tokenizer.bos_id()}
    return {**begin, "pad_token_id": tokenizer.pad_id(), "eos_token_id": list(tokenizer.stops)}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a readable JSON file; equal values give equal bytes."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
