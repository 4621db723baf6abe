"""Answers of `relay init`: the choices that define a first pipeline, and the check of each one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from orchestrator.base.errors import BadInput
from orchestrator.pipeline.environments import HARDWARE, replacement_of, similar_accelerator
from orchestrator.pipeline.loader import name_problem
from stages.data.problems import read_problems


class Recipe(NamedTuple):
    """Number of an example's stages to take over."""

    description: str
    ends_before: str
    """Kind of the first stage to leave out; empty: none is left out."""


class ModelExample(NamedTuple):
    """The example from which a model's pipeline is made."""

    description: str
    example: str
    explained_by: str = ""
    """Another example, whose comments are copied to the lines that both have in common."""
    on_kaggle: bool = True
    """True if Kaggle has the model; a stand-in exists in rehearsals only."""
    kind: str = ""
    """Kind that replaces the example's, with `source`; empty: the example's own."""
    source: str = ""
    licence: str = ""
    """Paragraph that replaces the example's on the licence; with `kind` only."""


def _like_gemma3(description: str, kind: str, source: str, page: str) -> ModelExample:
    """Return the entry of a model that is trained by the recipe of Gemma 3 1B."""
    licence = (
        f"Before the first run: accept the model's licence on Kaggle (kaggle.com/models/{page}), or sessions cannot mount it."
        if page
        else ""
    )
    return ModelExample(description, "gemma3_1b.yaml", "gemma2_2b.yaml", kind=kind, source=source, licence=licence)


RECIPES = {
    "sft": Recipe("the form of an answer, from worked examples", "grpo"),
    "sft+grpo": Recipe("and then right answers, from rewards", "curate"),
    "full": Recipe("and then on with what is still hard, round after round", ""),
}

MODELS = {
    "gemma2-2b": ModelExample("Gemma 2 2B", "gemma2_2b.yaml"),
    "gemma3-1b": ModelExample("Gemma 3 1B", "gemma3_1b.yaml", "gemma2_2b.yaml"),
    "gemma3-270m": _like_gemma3(
        "Gemma 3 270M", "gemma3-270m", "google/gemma-3/transformers/gemma-3-270m-it/1", "google/gemma-3"
    ),
    "gemma3-4b": _like_gemma3(
        "Gemma 3 4B", "gemma3-4b", "google/gemma-3/transformers/gemma-3-4b-it/1", "google/gemma-3"
    ),
    "qwen2.5-0.5b": _like_gemma3("Qwen 2.5 0.5B", "qwen2.5-0.5b", "qwen-lm/qwen2.5/transformers/0.5b-instruct/1", ""),
    "qwen2.5-1.5b": _like_gemma3("Qwen 2.5 1.5B", "qwen2.5-1.5b", "qwen-lm/qwen2.5/transformers/1.5b-instruct/1", ""),
    "qwen3-0.6b": _like_gemma3("Qwen 3 0.6B", "qwen3-0.6b", "qwen-lm/qwen-3/transformers/0.6b/1", ""),
    "qwen3-1.7b": _like_gemma3("Qwen 3 1.7B", "qwen3-1.7b", "qwen-lm/qwen-3/transformers/1.7b/1", ""),
    "llama3.2-1b": _like_gemma3(
        "Llama 3.2 1B", "llama3.2-1b", "metaresearch/llama-3.2/transformers/1b-instruct/1", "metaresearch/llama-3.2"
    ),
    "llama3.2-3b": _like_gemma3(
        "Llama 3.2 3B", "llama3.2-3b", "metaresearch/llama-3.2/transformers/3b-instruct/1", "metaresearch/llama-3.2"
    ),
    "tiny": ModelExample("a tiny stand-in, for rehearsals on this machine", "tiny.yaml", on_kaggle=False),
}

GPU = "NvidiaTeslaT4"

ON_GPU = {
    name: MODELS[name]._replace(example="gemma3_1b_t4.yaml", explained_by="")
    for name in ("gemma3-1b", "gemma3-270m", "qwen2.5-0.5b", "qwen3-0.6b", "llama3.2-1b")
}
"""Examples for Kaggle's two T4, by model: those that fit into their memory by the recipe of Gemma 3 1B for them."""

ON_TIMEOUT = ("resume", "park")

JUDGED = ("grpo", "curate", "continued", "evaluate")
"""Kinds of stages that need an `answer` or `tests` to judge a completion."""


@dataclass(frozen=True, kw_only=True)
class Problems:
    """A data file of the user's own: its number of problems, and what they can be used for."""

    path: Path
    count: int
    held_out: int
    taught: int
    """Number of problems with a worked example (`completion`)."""
    judged: int
    """Number of problems with an `answer` or `tests`."""

    def usable_for(self, kind: str) -> bool:
        """Return whether a stage of that kind can use any of the problems."""
        return bool(self.judged if kind in JUDGED else self.taught if kind == "sft" else 0)


@dataclass(frozen=True, kw_only=True)
class WizardAnswers:
    """All answers that `relay init` asks for."""

    name: str
    model: str = "gemma2-2b"
    recipe: str = "sft+grpo"
    data: tuple[Problems, ...] = ()
    accelerator: str = "TpuV5E8"
    on_timeout: str = "resume"


def one_of(known: tuple[str, ...], what: str) -> Callable[[str], str]:
    """Return a check that accepts one of these words."""

    def checked(given: str) -> str:
        if given.strip() not in known:
            raise BadInput(f"{given.strip()!r} is not a {what}: use one of {', '.join(known)}")
        return given.strip()

    return checked


def named(given: str) -> str:
    """Return a pipeline's name; raises BadInput if it is not valid."""
    if problem := name_problem(given.strip()):
        raise BadInput(problem)
    return given.strip()


def problems(given: str | Path) -> Problems:
    """Read the whole of a user's data file; raises BadInput with file, line and remedy."""
    path = Path(given).expanduser()
    if path.suffix != ".jsonl":
        raise BadInput(
            f"{path} is not called .jsonl: a data file has a JSON object with prompt and answer or completion on each "
            "line, and a name that ends so"
        )
    try:
        train, held_out = read_problems(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BadInput(f"{path}: {str(error).removeprefix('data: ')}: fix the file first") from error
    every = (*train, *held_out)
    return Problems(
        path=path,
        count=len(every),
        held_out=len(held_out),
        taught=sum(bool(each.completion) for each in every),
        judged=sum(bool(each.answer) for each in every),
    )


def base_for(model: str, accelerator: str) -> ModelExample:
    """Return the example from which a model's pipeline for an accelerator is made."""
    return ON_GPU.get(model, MODELS[model]) if accelerator == GPU else MODELS[model]


def accelerator_meant(given: str) -> str:
    """Return the accelerator that a name or another spelling of it means, such as T4; raises BadInput if none does."""
    meant, retired = replacement_of(given.strip())
    if meant and not retired:
        return meant
    near = f"did you mean {meant or similar_accelerator(given)}? Use" if meant or similar_accelerator(given) else "use"
    raise BadInput(f"{given.strip()!r} is not an accelerator of Kaggle's: {near} one of {', '.join(HARDWARE)}")


def fitting(accelerator: str, model: str, devices: int) -> str:
    """Return the accelerator if it has the devices over which the model's example splits it; raises BadInput if not."""
    fits = [name for name, hardware in HARDWARE.items() if devices == 1 or hardware.promise.devices == devices]
    if accelerator in fits:
        return accelerator
    if accelerator == GPU:
        raise BadInput(
            f"{model} has no recipe that fits into the two chips of {accelerator}: use --model {', '.join(ON_GPU)}, or "
            f"--accelerator {' or '.join(fits)}"
        )
    raise BadInput(
        f"{accelerator} does not have the {devices} devices that this model is split over: use {' or '.join(fits)}, or "
        "write mesh and batches for it into the file afterwards"
    )
