"""Checks values of hand-written files with pydantic, and describes each mistake in one sentence with its key and remedy."""

import difflib
import json
from collections.abc import Sequence
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import pydantic

T = TypeVar("T")


Place = tuple[int | str, ...]
"""Keys and indices that lead to a part of a value."""


class Mistakes(ValueError):
    """Mistakes found in a value: `sentences` has one sentence for each mistake, the most helpful one first."""

    def __init__(self, sentences: tuple[str, ...], places: tuple[Place, ...]) -> None:
        super().__init__(sentences[0])
        self.sentences = sentences
        self.places = places
        """Place of each mistake, in the same order."""


def validated(kind: type[T], value: Any) -> T:
    """Return a value of JSON types as an instance of a pydantic model or of a dataclass. Raises Mistakes.

    The value goes through JSON, in which strict models take lists for tuples and words for enums.
    """
    try:
        return pydantic.TypeAdapter(kind).validate_json(json.dumps(value, default=dict))
    except pydantic.ValidationError as error:
        mistakes = _mistakes(error)
        sentences = tuple(_sentence(mistake, kind) for mistake in mistakes)
        raise Mistakes(sentences, tuple(_place(mistake) for mistake in mistakes)) from error


def unknown(key: str, found: str, known: Sequence[str], what: str = "value") -> str:
    """Return the sentence for a word that is none of the known ones, with the closest of them."""
    return f"{key}: {found!r} is not a {what} that relay knows: {meant(found, known) or _listed(known)}"


def meant(found: str, known: Sequence[str]) -> str:
    """Return the question for the known word that is closest to a misspelt one; empty if none is close."""
    close = difflib.get_close_matches(found, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else ""


def _listed(known: Sequence[str]) -> str:
    return f"use one of {', '.join(known)}"


def alternative(name: str) -> str:
    """Return the tag of one alternative of a union that chooses by the value's form; no sentence contains it."""
    return f"({name})"


def _is_alternative(part: int | str) -> bool:
    return isinstance(part, str) and part.startswith("(")


def _place(mistake: Any) -> Place:
    return tuple(part for part in mistake["loc"] if not _is_alternative(part))


def _mistakes(error: pydantic.ValidationError) -> list[Any]:
    """Return pydantic's mistakes; a misspelt key comes before the key that is missing because of it."""
    found = error.errors(include_url=False)
    places = [mistake["loc"] for mistake in found]
    # For a list with a mistake in it, pydantic also reports that it is too short: skip that.
    mistakes = [m for m in found if not any(len(p) > len(m["loc"]) and p[: len(m["loc"])] == m["loc"] for p in places)]
    mistakes.sort(key=lambda mistake: mistake["type"] not in MISSPELT)
    return mistakes


MISSPELT = ("extra_forbidden", "unexpected_keyword_argument")
"""pydantic's types of the mistake that a key is unknown, in a model and in a dataclass."""


PLAIN_WORDS = (("a valid array", "a list"), ("an object", "a mapping"), ("a valid integer", "a whole number"))
"""YAML's words in place of JSON's."""


def _sentence(mistake: Any, kind: Any) -> str:
    location = _place(mistake)
    key = _dotted(location)
    if mistake["type"] in MISSPELT:
        return unknown(key, str(location[-1]), _keys_at(kind, location[:-1]), what="key")
    if mistake["type"] == "missing":
        return f"{key} is missing: add it"
    message = str(mistake["msg"]).removeprefix("Value error, ")
    for word, plain in PLAIN_WORDS:
        message = message.replace(word, plain)
    said = f"{message[0].lower()}{message[1:]}"
    found = "" if isinstance(mistake["input"], dict) else f", found {mistake['input']!r}"
    return f"{key}: {said}{found}" if key else f"{said}{found}"


def _dotted(location: Sequence[int | str]) -> str:
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return key


def _keys_at(kind: Any, location: Sequence[int | str]) -> list[str]:
    """Return the valid keys at a place of a model: an index stands for an item of a tuple."""
    for part in location:
        kind = _below(kind, part)
    return list(getattr(kind, "model_fields", None) or kind.__dataclass_fields__)


def _below(kind: Any, part: int | str) -> Any:
    """Return the type of an item; of a union, the alternative that has keys."""
    if get_origin(kind) is dict:
        found = get_args(kind)[1]
    else:
        found = get_args(kind)[0] if isinstance(part, int) else get_type_hints(kind)[part]
    if get_origin(found) not in (Union, UnionType):
        return found
    return next((each for each in get_args(found) if hasattr(each, "model_fields")), found)
