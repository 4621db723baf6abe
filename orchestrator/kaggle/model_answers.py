"""Parses Kaggle's responses about the account's own models."""

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.base.errors import Ambiguous, NameTaken, NoRoom, Refused
from orchestrator.kaggle.model_gateway import ModelSeen, VariationPlace
from orchestrator.kaggle.refusals import TAKEN
from orchestrator.kaggle.responses import MESSAGE_CHARS_MAX
from orchestrator.kaggle.transport import InvalidResponse
from orchestrator.platforms.port import ROOM

EXISTS = 409


def model_seen(answer: Any, _raw: Mapping[str, Any]) -> ModelSeen:
    """Parse a model. A public one has no `isPrivate`, since false is the default."""
    if not (answer.ref or answer.slug):
        raise InvalidResponse("the answer holds no model")
    variations = (f"{framework_of(each)}/{each.slug}" for each in answer.instances or ())
    return ModelSeen(private=bool(answer.is_private), variations=tuple(variations))


def framework_of(instance: Any) -> str:
    """Return an instance's framework in lower case and without underscores, such as `pytorch`."""
    return _bare(str(instance.framework.name).removeprefix("MODEL_FRAMEWORK_"))


def _bare(framework: str) -> str:
    return framework.replace("_", "").replace("-", "").lower()


def current_version(answer: Any, _raw: Mapping[str, Any]) -> int | None:
    """Return the number of the variation's current version; raises InvalidResponse if the answer holds no variation."""
    if not answer.slug:
        raise InvalidResponse("the answer holds no variation of a model")
    return answer.version_number or None


def version_numbers(answer: Any, _raw: Mapping[str, Any]) -> tuple[tuple[int, ...], str | None]:
    """Return the version numbers of one page and the next page's token."""
    versions = answer.version_list.versions if answer.version_list is not None else ()
    return tuple(version.version_number for version in versions or ()), answer.next_page_token or None


def instance_page(answer: Any, _raw: Mapping[str, Any]) -> tuple[tuple[Any, ...], str | None]:
    """Return the variations of one page and the next page's token."""
    return tuple(answer.instances or ()), answer.next_page_token or None


def is_at(instance: Any, place: VariationPlace) -> bool:
    """Return whether a listed variation is the one at this place."""
    return bool(instance.slug == place.variation and framework_of(instance) == _bare(place.framework))


def numbers_of(instance: Any) -> tuple[int, ...]:
    """Return the version numbers that a listed variation mentions; version 1 if it mentions none."""
    creation = instance.creation_status
    found = {instance.version_number or 0, (creation.version_number or 0) if creation is not None else 0}
    return tuple(sorted(found - {0})) or (1,)


def failure_of(instance: Any, number: int) -> str:
    """Return why this version of a listed variation failed; empty if it did not, or if another version is meant."""
    creation = instance.creation_status
    if creation is not None and creation.version_number not in (None, 0, number):
        return ""
    statuses = [instance.status, *([creation.status] if creation is not None else [])]
    if all(str(status.name) != "FAILED" for status in statuses if status is not None):
        return ""
    said = [instance.error_message]
    if creation is not None:
        said += [creation.user_message, creation.creation_exception]
    return next((text for text in said if text), "it gave no reason")[:MESSAGE_CHARS_MAX]


def number_saved(answer: Any, what: str) -> int | None:
    """Return the version's number in the answer to a change: the end of its address; None if that names none.

    Raises NameTaken, NoRoom or Refused if Kaggle declined, which it does with HTTP 200, and Ambiguous if the answer does
    not say.
    """
    if answer.error:
        reason = answer.error[:MESSAGE_CHARS_MAX]
        text = f"Kaggle declined the {what}: {reason}"
        if getattr(answer, "error_code", None) == EXISTS or TAKEN.search(reason):
            raise NameTaken(text)
        raise NoRoom(text) if ROOM.search(reason) else Refused(text)
    if not (answer.id or answer.ref or answer.url):
        raise Ambiguous(f"Kaggle answered the {what} without saying what it made, so it may have happened")
    found = re.search(r"/(\d{1,9})/?$", answer.url or "")
    return int(found[1]) if found else None
