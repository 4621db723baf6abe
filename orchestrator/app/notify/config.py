"""Notification settings: services and events, from `notify.yaml` in the home folder or from RELAY_NOTIFY."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.base.errors import BadInput
from orchestrator.base.safe_yaml import OddYaml, read_yaml

FILE_NAME = "notify.yaml"
VARIABLE = "RELAY_NOTIFY"
KEYS = ("urls", "events", "version")
EVENTS = {
    "parked": "a run needs you",
    "finished": "a run is finished",
    "failed": "a session failed, was killed at its limit, or is lost",
    "session": "a session ended in time",
    "waiting": "a run waits for quota",
    "trouble": "the disk is full, or Kaggle has not answered for half an hour; and when that is over",
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
    document = _document(path) if path.exists() else {}
    events = _events(document.get("events", list(USUAL)), path)
    if given:
        return Addresses(tuple(given), events, VARIABLE, _open_to_others(path))
    entries = _entries(document.get("urls"), path)
    return Addresses(entries, events, str(path), _open_to_others(path)) if entries else None


def _document(path: Path) -> dict[str, Any]:
    """Read the file as a mapping. A list of URLs, or URLs separated by white space, are accepted as well."""
    try:
        found = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): make it readable for you") from error
    except (UnicodeDecodeError, OddYaml):
        # without the cause on purpose: it repeats the text, which may contain a secret address
        raise BadInput(f"{path} is not YAML: write `urls:` and below it one `- address` a line") from None
    if found is None:
        return {}
    if isinstance(found, str):
        return {"urls": found.split()}
    if isinstance(found, list):
        return {"urls": found}
    if not isinstance(found, dict):
        raise BadInput(f"{path} holds no addresses: write `urls:` and below it one `- address` a line")
    for key in found:
        if key not in KEYS:
            raise BadInput(f"{path}: {_named(key)} is not a key of it{_meant(str(key), KEYS)}: it has urls and events")
    return found


def _entries(found: Any, path: Path) -> tuple[str | dict[str, Any], ...]:
    if found is None:
        return ()
    if isinstance(found, str):
        return tuple(found.split())
    if isinstance(found, list) and all(isinstance(entry, str | dict) for entry in found):
        return tuple(found)
    raise BadInput(f"{path}: urls is not a list of addresses: write one `- address` a line below it")


def _events(found: Any, path: Path) -> frozenset[str]:
    words = [found] if isinstance(found, str) else found
    if not isinstance(words, list):
        raise BadInput(f"{path}: events is not a list: choose of {', '.join(EVENTS)}, or all")
    for word in words:
        if word not in (*EVENTS, "all"):
            meant = _meant(str(word), (*EVENTS, "all"))
            raise BadInput(f"{path}: events has no {word!r}{meant}: choose of {', '.join(EVENTS)}, or all")
    return frozenset(EVENTS) if "all" in words else frozenset(words)


def _named(key: Any) -> str:
    """Quote a key for a message, unless it may be an address, which is secret."""
    text = str(key)
    return repr(text) if text.replace("_", "").replace("-", "").isalpha() and len(text) < 20 else "one of the keys"


def _meant(word: str, words: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, words, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _open_to_others(path: Path) -> tuple[str, ...]:
    """Return a warning if other users can read the file: its addresses contain secrets."""
    if not path.exists() or not path.stat().st_mode & 0o077:
        return ()
    return (f"{path} holds secrets and is open to other users of this machine: type `chmod 600 {path}`",)
