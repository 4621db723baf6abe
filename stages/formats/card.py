"""Writes the model card, README.md: what was trained how on what, its numbers, licences and digests."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.contract import Cursor, StageSpec
from stages.data.prompts import prompt_of
from stages.data.registry import KNOWN
from stages.options import Model
from stages.options.families import family_name
from stages.options.training import set_and_count

KAGGLE_NAMES = (
    (re.compile(r"google/gemma-\d/\w+/gemma-?(\d)-(\d+[bm])(-it|-pt)?", re.IGNORECASE), "google/gemma-{0}-{1}{2}"),
    (re.compile(r"qwen-lm/qwen-?([\d.]+)/\w+/([\d.]+b)(-\w+)?", re.IGNORECASE), "Qwen/Qwen{0}-{1}{2}"),
    (re.compile(r"metaresearch/llama-([\d.]+)/\w+/(\d+b)(-\w+)?", re.IGNORECASE), "meta-llama/Llama-{0}-{1}{2}"),
)
"""Patterns of their makers' variations on Kaggle, such as `google/gemma-2/flax/gemma2-2b-it`, each with the name at
Hugging Face: `google/gemma-2-2b-it`, `Qwen/Qwen2.5-0.5B-Instruct`, `meta-llama/Llama-3.2-1B-Instruct`."""
SHOWN_OPTIONS = ("mode", "lora_rank", "lora_alpha", "learning_rate", "batch", "num_generations", "beta", "loss_type")
"""Options that the table of stages shows if the pipeline gives them."""
LIBRARIES = {"safetensors": "transformers", "peft": "peft", "tunix": "tunix"}
"""Library that reads each layout of an export."""
RATES = ("accuracy", "format", "hard_accuracy", "asked")


@dataclass(frozen=True)
class ExportOrigin:
    """Source of an export. `checkpoint` is its manifest's digest, `contents` are the manifest's digests."""

    run: str
    cursor: Cursor
    stages: tuple[StageSpec, ...]
    checkpoint: str = ""
    contents: Mapping[str, str] | None = None
    made_up: bool = False
    """True if a stand-in took the place of the base model in the run."""
    made_up_sets: tuple[str, ...] = ()
    """Data sets of which the run had only stand-ins."""


def base_model(options: Model) -> str:
    """Return the base model's name at Hugging Face; if that is unknown the pipeline's source, of a path only the end."""
    source = options.source.rstrip("/")
    if options.is_folder:
        return source.rpartition("/")[2]
    for pattern, name in KAGGLE_NAMES if options.kaggle_model else ():
        if found := pattern.fullmatch(source.rpartition("/")[0]):
            number, size, variant = found[1], found[2].lower(), (found[3] or "").lower()
            if not name.startswith("google/"):
                size, variant = size.upper(), variant.title()
            return name.format(number, size, variant)
    return source


def card(
    options: Model, origin: ExportOrigin, artifacts: Mapping[str, str], about: Mapping[str, str], *, made_up: bool
) -> str:
    """Return the card. `artifacts` are the checkpoint's texts, which hold the evaluations; `about` are lines for a list."""
    done, layout = stages_done(origin), about["format"]
    sets = [name for name in _sets(done) if name not in origin.made_up_sets]
    front = {
        "base_model": base_model(options),
        "datasets": [KNOWN[name].repository for name in sets if name in KNOWN],
        "library_name": LIBRARIES[layout],
        "license": "other" if made_up else options.family.licence,
        "pipeline_tag": "text-generation",
        "tags": [
            re.sub(r"[\d.]+$", "", family_name(options.kind)),
            "reasoning",
            *sorted({stage.kind for stage in done if ":" not in stage.kind}),
        ],
    }
    lines = ["---", *_front(front), "---", "", f"# {origin.run}", ""]
    if made_up:
        lines += [
            "**The base model is a stand-in that was made up for a rehearsal; this model is good for nothing.**",
            "",
        ]
    if origin.made_up_sets:
        names = ", ".join(origin.made_up_sets)
        lines += [
            f"**What stands here for {names} is made-up data of a rehearsal: no number below is about {names}.**",
            "",
        ]
    lines += [
        f"{front['base_model']}, trained until step {origin.cursor.step} of the stage `{origin.cursor.stage}`.",
        "",
        "## Training",
        "",
        "| stage | kind | steps | data | options |",
        "|---|---|---|---|---|",
        *(_stage(stage) for stage in done),
        "",
        *_evaluations(done, artifacts),
        "## Loading it",
        "",
        f"`folder` is the folder of this file.\n\n```python\n{load_code(layout, base_model(options), options.kind)}\n```",
        "",
        *_prompt(options, layout),
        "## Data and licences",
        "",
        *(f"* {line}" for line in licence_lines(licences(options, origin, made_up=made_up), base_model(options))),
        "",
        "## Where it comes from",
        "",
        *(f"* {name}: `{value}`" for name, value in about.items()),
        "",
        "`export.json` lists the size and the SHA-256 of every file.",
        "",
    ]
    return "\n".join(lines)


def stages_done(origin: ExportOrigin) -> tuple[StageSpec, ...]:
    """Return the stages that led to the weights, with the steps that were done of each; exports are left out."""
    names = [stage.name for stage in origin.stages]
    last = names.index(origin.cursor.stage) if origin.cursor.stage in names else -1
    found = []
    for index, stage in enumerate(origin.stages[: last + 1]):
        steps = origin.cursor.step if index == last else stage.steps
        if stage.kind != "export" and steps:
            found.append(StageSpec(name=stage.name, kind=stage.kind, steps=steps, options=stage.options))
    return tuple(found)


def _front(front: Mapping[str, Any]) -> Iterator[str]:
    for name, value in front.items():
        if isinstance(value, list):
            if value:
                yield f"{name}:"
                yield from (f"- {json.dumps(item)}" for item in value)
        else:
            yield f"{name}: {json.dumps(value)}"


def _sets(stages: Sequence[StageSpec]) -> list[str]:
    named = [stage.options.get("data") or ["gsm8k"] for stage in stages if stage.kind not in ("counting",)]
    entries = [str(entry) for data in named if isinstance(data, (list, tuple)) for entry in data]
    return list(dict.fromkeys(set_and_count(entry)[0] for entry in entries))


def _stage(stage: StageSpec) -> str:
    data = stage.options.get("data") or []
    shown = [f"{name} {stage.options[name]}" for name in SHOWN_OPTIONS if name in stage.options]
    cells = (stage.name, stage.kind, stage.steps, ", ".join(map(str, data)), ", ".join(shown))
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _evaluations(stages: Sequence[StageSpec], artifacts: Mapping[str, str]) -> list[str]:
    rows = []
    for stage in stages:
        first = artifacts.get(f"transcripts-{stage.name}.jsonl", "").partition("\n")[0]
        if stage.kind == "evaluate" and first:
            rates = json.loads(first)
            low, high = rates.get("accuracy_low", 0.0), rates.get("accuracy_high", 0.0)
            shown = [f"{rates[name]:.1%}" if name in rates else "" for name in RATES[:3]]
            rows.append(
                f"| {stage.name} | {rates.get('asked', 0):.0f} | {shown[0]} ({low:.1%}–{high:.1%}) | {shown[1]} | {shown[2]} |"
            )
    if not rows:
        return []
    return [
        "## Evaluation",
        "",
        "Greedy answers to held-out problems; in brackets the 95 % interval.",
        "",
        "| stage | problems | right | right format | right, long solutions |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]


def load_code(layout: str, base: str, kind: str) -> str:
    """Return Python that loads an export in this layout from `folder`."""
    family, _, size = kind.partition("-")
    if layout == "peft":
        return (
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
            f'base = AutoModelForCausalLM.from_pretrained("{base}", attn_implementation="eager")\n'
            "model = PeftModel.from_pretrained(base, folder)"
        )
    if layout == "safetensors":
        return (
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            'model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")\n'
            "tokenizer = AutoTokenizer.from_pretrained(folder)"
        )
    found = 'weights = str(next(Path(folder).resolve().rglob("_METADATA")).parent)'
    if family == "gemma3":
        load = (
            f"config = model.ModelConfig.gemma3_{size or '1b'}_it()  # the method of the model's size\n"
            "loaded = params.create_model_from_checkpoint(weights, config)"
        )
    else:
        load = (
            f"version = \"2-{size or '2b'}\"  # Tunix's name of the model's size\n"
            "loaded = model.Gemma.from_params(params.load_and_format_params(weights), version=version)"
        )
    module = "gemma3" if family == "gemma3" else "gemma"
    return f"from pathlib import Path\n\nfrom tunix.models.{module} import model, params\n\n{found}\n{load}"


def _prompt(options: Model, layout: str) -> list[str]:
    if layout == "tunix":
        question = prompt_of("What is 2 + 3?", options.system, options.kind)
        said = [
            "## Prompt",
            "",
            f"In training a question was written like this, after `{options.family.tokens.begin}`:",
            "",
        ]
        return [*said, *(f"    {line}" for line in question.splitlines()), ""]
    said = ["## Prompt", "", "The chat template renders a question as in training."]
    if options.system:
        said += ["It puts these words before the first question unless the conversation has a system turn:", ""]
        said += [f"> {line}" for line in options.system.splitlines()]
    return [*said, ""]


def licences(options: Model, origin: ExportOrigin, *, made_up: bool) -> dict[str, str]:
    """Return the terms of the base model, by its name, and those of every data set that the run used, save stand-ins."""
    found = {
        base_model(options): "The base model is made up, and needs no licence." if made_up else options.family.terms
    }
    for name in (name for name in _sets(stages_done(origin)) if name not in origin.made_up_sets):
        known = KNOWN.get(name)
        found |= {known.repository: known.licence} if known else {name: "a file of the run's owner"}
    return found


def licence_lines(terms: Mapping[str, str], base: str) -> Iterator[str]:
    """Yield a line for each of the terms, those of the base model first."""
    if base in terms:
        yield terms[base]
    yield from (f"{name}: {text}" for name, text in terms.items() if name != base)
