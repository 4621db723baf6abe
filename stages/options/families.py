"""Table of the model families that relay trains: sizes, special tokens, prompts and what their files must declare.

How Tunix builds and loads each family is in `stages.training.families`. This module imports the standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stages.options.chat import CHATML, GEMMA, LLAMA, QWEN_SYSTEM, ChatTemplate

SENTENCEPIECE, TOKENIZER_JSON = "tokenizer.model", "tokenizer.json"
"""Names of tokenizer files: a SentencePiece model, and the format of Hugging Face's `tokenizers`."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model as found in its files; everything else is the same for a whole family."""

    layers: int
    vocabulary: int
    """Number of rows of the embedding; at least the tokenizer's number of pieces."""
    width: int
    hidden: int
    heads: int
    kv_heads: int
    head_width: int
    tied: bool = True
    """True if the embedding is also the output matrix."""

    def __str__(self) -> str:
        output = "" if self.tied else ", an output matrix of its own"
        return (
            f"{self.layers} layers, width {self.width}, hidden {self.hidden}, {self.heads} heads of {self.head_width}, "
            f"{self.kv_heads} for keys, vocabulary {self.vocabulary}{output}"
        )


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """Special tokens of a family's tokenizers, by their texts."""

    begin: str
    """Token that begins every text; empty if there is none."""
    end: str
    """Token that ends a text, and the answer of a base model."""
    turns: tuple[str, str]
    """Marks of the chat template that begin and end a turn. The second one ends the answer of an instruct model."""
    more_stops: tuple[str, ...] = ()
    """Further tokens that end an answer during generation."""
    padding: tuple[str, ...]
    """Tokens that may serve as padding, the best first. The best one occurs in no text, and ends none."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models of one architecture, which differ in their sizes only."""

    title: str
    sizes: Mapping[str, Sizes]
    """Sizes that a kind may name, such as `0.5b`."""
    model_types: tuple[str, ...]
    """Values of `model_type` in Hugging Face's config.json; the first one is written to exports."""
    architecture: str
    """Name of the model's class in transformers."""
    tokens: SpecialTokens
    tokenizer_file: str
    chat: ChatTemplate
    matrices: tuple[str, ...]
    """Modules of a layer that hold a matrix, as Tunix calls them."""
    computed: Mapping[str, Any] = field(default_factory=dict)
    """Keys of config.json with the values that Tunix's model computes with, whatever the file says."""
    head_width: int = 0
    """Head width if config.json omits it; 0: width / heads."""
    tokens_max: int
    """Longest prompt and answer together, in tokens, that every model of the family was made for."""
    has_flax: bool = False
    """True if Kaggle offers the family as Orbax checkpoints, which Tunix's loaders read."""
    licence: str
    """Licence in the front matter of a model card at Hugging Face."""
    terms: str
    """Sentence on the licence for model cards."""


GEMMA_TERMS = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at https://ai.google.dev/gemma/terms. "
    "Those terms and the Gemma Prohibited Use Policy (https://ai.google.dev/gemma/prohibited_use_policy) apply to this "
    "model too; its weights were modified by training."
)
LLAMA_TERMS = (
    "Built with Llama. Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright © Meta Platforms, Inc. All "
    "Rights Reserved. That licence and the Acceptable Use Policy (https://www.llama.com/llama3_2/use-policy) apply to "
    "this model too; its name has to begin with Llama, and its weights were modified by training."
)
QWEN_TERMS = "The base model is licensed under the Apache License 2.0; its weights were modified by training."

_GEMMA_TOKENS = SpecialTokens(
    begin="<bos>", end="<eos>", turns=("<start_of_turn>", "<end_of_turn>"), padding=("<pad>",)
)
_QWEN_TOKENS = SpecialTokens(
    begin="", end="<|endoftext|>", turns=("<|im_start|>", "<|im_end|>"), padding=("<|fim_pad|>", "<|endoftext|>")
)
_LLAMA_TOKENS = SpecialTokens(
    begin="<|begin_of_text|>",
    end="<|end_of_text|>",
    turns=("<|start_header_id|>", "<|eot_id|>"),
    more_stops=("<|eom_id|>",),
    padding=("<|finetune_right_pad_id|>", "<|end_of_text|>"),
)
_GEMMA_MATRICES = ("q_einsum", "kv_einsum", "attn_vec_einsum", "gate_proj", "up_proj", "down_proj")
_MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LLAMA_ROPE: Mapping[str, Any] = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
"""Scaling of Llama 3.2's rotary frequencies, from the config.json of its four text models."""

FAMILIES: Mapping[str, Family] = {
    "gemma2": Family(
        title="Gemma 2",
        sizes={"2b": Sizes(26, 256_128, 2304, 9216, 8, 4, 256)},
        model_types=("gemma2",),
        architecture="Gemma2ForCausalLM",
        tokens=_GEMMA_TOKENS,
        tokenizer_file=SENTENCEPIECE,
        chat=GEMMA,
        matrices=_GEMMA_MATRICES,
        head_width=256,
        tokens_max=8192,
        has_flax=True,
        licence="gemma",
        terms=GEMMA_TERMS,
    ),
    "gemma3": Family(
        title="Gemma 3",
        sizes={
            "1b": Sizes(26, 262_144, 1152, 6912, 4, 1, 256),
            "270m": Sizes(18, 262_144, 640, 2048, 4, 1, 256),
            "4b": Sizes(34, 262_144, 2560, 10_240, 8, 4, 256),
        },
        model_types=("gemma3_text", "gemma3"),
        architecture="Gemma3ForCausalLM",
        tokens=_GEMMA_TOKENS,
        tokenizer_file=SENTENCEPIECE,
        chat=GEMMA,
        matrices=_GEMMA_MATRICES,
        head_width=256,
        tokens_max=32_768,
        has_flax=True,
        licence="gemma",
        terms=GEMMA_TERMS,
    ),
    "qwen2.5": Family(
        title="Qwen 2.5",
        sizes={
            "0.5b": Sizes(24, 151_936, 896, 4864, 14, 2, 64),
            "1.5b": Sizes(28, 151_936, 1536, 8960, 12, 2, 128),
        },
        model_types=("qwen2",),
        architecture="Qwen2ForCausalLM",
        tokens=_QWEN_TOKENS,
        tokenizer_file=TOKENIZER_JSON,
        chat=CHATML.with_default(QWEN_SYSTEM),
        matrices=_MATRICES,
        computed={"rope_theta": 1_000_000.0, "rms_norm_eps": 1e-6, "rope_type": "default", "use_sliding_window": False},
        tokens_max=32_768,
        licence="apache-2.0",
        terms=QWEN_TERMS,
    ),
    "qwen3": Family(
        title="Qwen 3",
        sizes={
            "0.6b": Sizes(28, 151_936, 1024, 3072, 16, 8, 128),
            "1.7b": Sizes(28, 151_936, 2048, 6144, 16, 8, 128),
        },
        model_types=("qwen3",),
        architecture="Qwen3ForCausalLM",
        tokens=_QWEN_TOKENS,
        tokenizer_file=TOKENIZER_JSON,
        chat=CHATML,
        matrices=_MATRICES,
        computed={
            "rope_theta": 1_000_000.0,
            "rms_norm_eps": 1e-6,
            "rope_type": "default",
            "attention_bias": False,
            "use_sliding_window": False,
        },
        head_width=128,
        tokens_max=32_768,
        licence="apache-2.0",
        terms=QWEN_TERMS,
    ),
    "llama3.2": Family(
        title="Llama 3.2",
        sizes={
            "1b": Sizes(16, 128_256, 2048, 8192, 32, 8, 64),
            "3b": Sizes(28, 128_256, 3072, 8192, 24, 8, 128),
        },
        model_types=("llama",),
        architecture="LlamaForCausalLM",
        tokens=_LLAMA_TOKENS,
        tokenizer_file=TOKENIZER_JSON,
        chat=LLAMA,
        matrices=_MATRICES,
        computed={
            "rope_theta": 500_000.0,
            "rms_norm_eps": 1e-5,
            "attention_bias": False,
            "mlp_bias": False,
            **LLAMA_ROPE,
        },
        tokens_max=131_072,
        licence="llama3.2",
        terms=LLAMA_TERMS,
    ),
}
"""Families by the first part of a kind. Sizes are those of the models' cards and config.json files."""

FULL_SIZE = tuple(f"{family}-{size}" for family, known in FAMILIES.items() for size in known.sizes)
"""Kinds that require model files of the size in the name."""

KINDS = (*FULL_SIZE, *FAMILIES)


def family_name(kind: str) -> str:
    """Return the family of a kind, such as `qwen2.5` for `qwen2.5-0.5b`."""
    return kind.partition("-")[0]


def family_of(kind: str) -> Family:
    """Return the table's entry for a kind."""
    return FAMILIES[family_name(kind)]


def sizes_of(kind: str) -> Sizes:
    """Return the sizes that a kind names; for a kind without a size those of its family's first one."""
    family, _, size = kind.partition("-")
    sizes = FAMILIES[family].sizes
    return sizes[size or next(iter(sizes))]


def kind_with(family: str, sizes: Sizes) -> str:
    """Return the kind of a family that names these sizes, else the family, which takes all sizes."""
    named = (size for size, known in FAMILIES[family].sizes.items() if known == sizes)
    size = next(named, "")
    return f"{family}-{size}" if size else family
