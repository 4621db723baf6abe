"""Notification settings: services and events, from `notify.yaml` in the home folder or from RELAY_NOTIFY."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, ValidatorFunctionWrapHandler, field_validator

from orchestrator.base.disk import modes_for_others
from orchestrator.base.errors import BadInput
from orchestrator.base.safe_yaml import OddYaml, read_yaml
from orchestrator.base.validation import meant

FILE_NAME = "notify.yaml"
VARIABLE = "RELAY_NOTIFY"
EVENTS = {
    "parked": "a run needs you",
    "finished": "a run is finished",
    "failed": "a session failed, was killed at its limit, or is lost",
    "session": "a session ended in time",
    "waiting": "a run waits for quota",
    "trouble": "the disk is full, or a platform has not answered for half an hour; and when that is over",
}
USUAL = ("parked", "finished", "failed")


@dataclass(frozen=True)
class Addresses:
    """Notification settings as the user wrote them.

    `entries` contain secrets: URLs, or mappings of a URL and its options in apprise's own format.
    """

    entries: tuple[str | dict[str, Any], ...]
    events: frozenset[str]
    source: str
    """The file or variable that the settings come from, for messages."""
    warnings: tuple[str, ...] = ()


def remedy(home: Path) -> str:
    """Return the sentence that says how to configure notifications."""
    return (
        f"write addresses into {home / FILE_NAME}, one a line as `- tgram://…` below `urls:`, or into {VARIABLE} "
        "(docs/daemon.md lists some)"
    )


def read(home: Path, environ: Mapping[str, str]) -> Addresses | None:
    """Read the settings; None if nothing is configured. URLs in RELAY_NOTIFY replace those in the file.

    Raises BadInput if the file is invalid; the message never contains a URL.
    """
    path, given = home / FILE_NAME, environ.get(VARIABLE, "").replace(",", " ").split()
    found = _file(path) if path.exists() else NotifyFile()
    events = frozenset(EVENTS if "all" in found.events else found.events)
    if given:
        return Addresses(tuple(given), events, VARIABLE, _open_to_others(path))
    return Addresses(found.urls, events, str(path), _open_to_others(path)) if found.urls else None


class NotifyFile(BaseModel):
    """The file's content. Its validators word their errors without the values, since an address is secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    urls: tuple[str | dict[str, Any], ...] = ()
    events: tuple[str, ...] = USUAL
    version: Any = None
    """Version of apprise's own format, in which the file may be written."""

    @field_validator("urls", mode="wrap")
    @classmethod
    def _listed(cls, found: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            return check(found.split() if isinstance(found, str) else () if found is None else found)
        except ValidationError:
            raise ValueError("urls is not a list of addresses: write one `- address` a line below it") from None

    @field_validator("events", mode="wrap")
    @classmethod
    def _known(cls, found: Any, check: ValidatorFunctionWrapHandler) -> Any:
        words, choice = (*EVENTS, "all"), f"choose of {', '.join(EVENTS)}, or all"
        try:
            events = check([found] if isinstance(found, str) else found)
        except ValidationError:
            raise ValueError(f"events is not a list of events: {choice}") from None
        for word in events:
            if word not in words:
                raise ValueError(f"events has no {word!r}{_question(word, words)}: {choice}")
        return events


def _file(path: Path) -> NotifyFile:
    """Read the file. A list of URLs, or URLs separated by white space, are accepted as well as a mapping."""
    try:
        found = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): make it readable for you") from error
    except (UnicodeDecodeError, OddYaml):
        # without the cause on purpose: it repeats the text, which may contain a secret address
        raise BadInput(f"{path} is not YAML: write `urls:` and below it one `- address` a line") from None
    if found is None or isinstance(found, (str, list)):
        found = {"urls": found}
    if not isinstance(found, dict):
        raise BadInput(f"{path} holds no addresses: write `urls:` and below it one `- address` a line")
    try:
        return NotifyFile.model_validate(found)
    except ValidationError as error:
        raise BadInput(f"{path}: {_sentence(error)}") from None  # pydantic's own message repeats the addresses


def _sentence(error: ValidationError) -> str:
    """Describe a mistake; a misspelt key comes before the others."""
    found = error.errors(include_url=False, include_input=False)
    mistake = min(found, key=lambda mistake: mistake["type"] == "value_error")
    if mistake["type"] == "value_error":
        return mistake["msg"].removeprefix("Value error, ")
    key = str(mistake["loc"][0])
    return f"{_named(key)} is not a key of it{_question(key, tuple(NotifyFile.model_fields))}: it has urls and events"


def _named(key: str) -> str:
    """Quote a key for a message, unless it may be an address, which is secret."""
    return repr(key) if key.replace("_", "").replace("-", "").isalpha() and len(key) < 20 else "one of the keys"


def _question(word: str, words: tuple[str, ...]) -> str:
    question = meant(word, words)
    return f" ({question})" if question else ""


def _open_to_others(path: Path) -> tuple[str, ...]:
    """Return a warning if other users can read the file: its addresses contain secrets."""
    if not path.exists() or not modes_for_others(path):
        return ()
    return (f"{path} holds secrets and is open to other users of this machine: type `chmod 600 {path}`",)
