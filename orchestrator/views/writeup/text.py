"""Renders the text of a write-up from its values and a template, and counts its words. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from orchestrator.base.errors import BadInput
from orchestrator.base.terminal import escape_controls
from orchestrator.views.writeup.ledger import Ledger
from orchestrator.views.writeup.traced import TracedNumber, TracedText, count, derived

WORDS_MAX = 1500
"""Maximum number of words of a write-up on Kaggle."""
MARKDOWN = re.compile(r"([\\`*_\[\]<>|#~$])")
"""Characters that Markdown, or Kaggle's mathematics in it, may act on."""
IMAGE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
BLANK_LINES = re.compile(r"\n{3,}")
OF_TEMPLATES = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
"""Errors that a mistake in a template can cause."""
TITLE_CHARS_MAX = 60
TEXT_FILE = "writeup.md"


def rendered(template: str, values: Mapping[str, Any], ledger: Ledger, named: str) -> str:
    """Render a template. Raises BadInput, which calls the template by `named`, for a mistake in it.

    The template runs in Jinja's sandbox: it can neither read files nor reach Python's own objects.
    """
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: _finalized(value, ledger),
    )
    environment.filters["code"] = lambda value: code_span(_plain(value, ledger))
    environment.filters["counted"] = lambda value, noun: _counted(value, noun, ledger)
    environment.filters["listed"] = lambda found: ", ".join(code_span(_plain(value, ledger)) for value in found)
    environment.filters["length_of"] = _length
    try:
        text = environment.from_string(template).render(values)
    except OF_TEMPLATES as error:
        line = getattr(error, "lineno", None)
        where = f" line {line}" if line else ""
        raise BadInput(
            f"{named}{where}: {str(error).rstrip('.')}: relay writeup --print-template shows a template that works"
        ) from error
    return BLANK_LINES.sub("\n\n", escape_controls(text)).strip() + "\n"


def _finalized(value: Any, ledger: Ledger) -> Any:
    """Return what `{{ value }}` prints. Only texts of the run are escaped; those of the template are Markdown."""
    if isinstance(value, TracedNumber):
        return ledger.printed(value, TEXT_FILE)
    if isinstance(value, TracedText):
        return escaped(ledger.printed(value, TEXT_FILE))
    return "–" if value is None else value


def _plain(value: Any, ledger: Ledger) -> str:
    if isinstance(value, TracedNumber | TracedText):
        return ledger.printed(value, TEXT_FILE)
    return str(value)


def _counted(value: Any, noun: str, ledger: Ledger) -> str:
    """Return a number with its noun: `1 step`, `2 steps`."""
    return f"{_plain(value, ledger)} {noun}{'' if value == 1 else 's'}"


def _length(found: Iterable[Any]) -> TracedNumber:
    """Return how many values a list has, with their names as the origin."""
    values = list(found)
    name = values[0]["name"].name if values else "nothing"
    last = values[-1]["name"].name if values else "nothing"
    return count(f"number of {name} to {last}", len(values), derived("number of values", name, last))


def escaped(text: str) -> str:
    """Return a text as one line of Markdown that shows it as it is."""
    return MARKDOWN.sub(r"\\\1", " ".join(text.split()).replace("&", "&amp;"))


def code_span(text: str) -> str:
    """Return a text as code. Where Markdown's own form could break a table or end early, HTML's is used."""
    text = " ".join(text.split())
    if not text or set(text) & set("|`"):
        entities = {ord(mark): f"&#{ord(mark)};" for mark in "&<>|`*_[]\\$~"}
        return f"<code>{text.translate(entities)}</code>"
    return f"`{text}`"


# --- words ----------------------------------------------------------------------------


def words(text: str) -> int:
    """Count the words of Markdown: pieces between spaces that have a letter or a digit. Names of images do not count."""
    return sum(any(character.isalnum() for character in piece) for piece in IMAGE.sub(r"\1", text).split())


def require_short(text: str, named: str) -> None:
    """Raise BadInput if the text has more words than Kaggle takes."""
    total = words(text)
    if total <= WORDS_MAX:
        return
    sections = re.split(r"^(?=#+ )", text, flags=re.MULTILINE)
    longest = max(sections, key=words)
    title = longest.partition("\n")[0].lstrip("# ").strip()[:TITLE_CHARS_MAX] or "the beginning"
    raise BadInput(
        f"{named} makes {total:,} words, and a write-up has at most {WORDS_MAX:,}: shorten it by "
        f"{total - WORDS_MAX:,}; its longest section is {title!r} with {words(longest):,}"
    )
