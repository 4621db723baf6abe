"""Questions from a JSON Lines file of the user's own, to be answered without being judged."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.data.mounted import files_called
from stages.safe_text import OddJson, read_json
from stages.stage import StageFailed

FIELDS = ("question", "prompt")


@dataclass(frozen=True)
class AskedLine:
    """A question with its id, and the number of its line."""

    id: str | int
    question: str
    line: int


def questions_in(inputs: Path, name: str, sha256: str = "") -> tuple[AskedLine, ...]:
    """Return the questions of the mounted file `name`, in order.

    Raises ValueError as `read_questions` does, and StageFailed `data-missing` if no mounted file of this name has the
    digest recorded when the run began.
    """
    found = files_called(name, inputs, sha256)
    if found:
        return read_questions(found[0])
    if not sha256:
        raise ValueError(f"{name} is in none of the mounted inputs: list it under inputs.files")
    raise StageFailed(
        "data-missing",
        f"{name} of inputs.files is not mounted with its content (SHA-256 {sha256[:12]}…): relay tries again; if it stays "
        "so, look whether Kaggle still has it",
        transient=True,
    )


def read_questions(path: Path) -> tuple[AskedLine, ...]:
    """Return the questions of one file. Each line is an object with `question` (or `prompt`) and optionally `id`.

    The default id is the number of the line. Raises ValueError with one sentence that names file and line, and OSError
    if the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name} is not UTF-8 text ({error.reason} at byte {error.start}): save it as such"
        ) from error
    found = tuple(_questions(path.name, lines))
    if not found:
        raise ValueError(f'{path.name} holds no question: write one on each line, such as {{"question": "2 + 3?"}}')
    return found


def _questions(name: str, lines: list[str]) -> Iterator[AskedLine]:
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        value = _object(line, where)
        key = value.get("id", number)
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise ValueError(f"{where}: id is {key!r}: write text or a whole number")
        if str(key) in seen:
            raise ValueError(f"{where}: id {key!r} is that of line {seen[str(key)]}: give each question its own")
        seen[str(key)] = number
        yield AskedLine(key, _text(value, where), number)


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = read_json(line)
    except OddJson as error:
        raise ValueError(f"{where}: this is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{where}: this is not an object")
    return value


def _text(value: dict[str, Any], where: str) -> str:
    text = next((value[field] for field in FIELDS if value.get(field) is not None), None)
    if text is None:
        raise ValueError(f"{where}: there is neither question nor prompt: add one")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(
            f"{where}: the question is {'empty' if isinstance(text, str) else 'not text'}: write it as text"
        )
    return text.strip()
