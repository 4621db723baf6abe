"""Edits of an example's YAML that keep its comments, quotes and order: `ruamel.yaml` in round-trip mode."""

import io

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import SingleQuotedScalarString

from orchestrator.base.safe_yaml import read_yaml

COMMENT_COLUMN = 28
"""Column of a new comment, as in the examples; behind a longer line it follows after a space."""


def read_commented(text: str) -> CommentedMap:
    """Parse a YAML mapping with its comments."""
    found = _round_trip().load(text)
    assert isinstance(found, CommentedMap)
    return found


def commented_text(document: CommentedMap) -> str:
    """Return the text of a document with its comments."""
    stream = io.StringIO()
    _round_trip().dump(document, stream)
    return stream.getvalue().rstrip("\n") + "\n"


def head_of(document: CommentedMap) -> str:
    """Return the comment above the first key."""
    above = (document.ca.comment or [None, None])[1] or []
    return "".join(token.value for token in above)


def set_value(mapping: CommentedMap, key: str, value: object, comment: str | None = None) -> None:
    """Change a key's value, or insert the key before the last one; a comment of None keeps the existing comment."""
    if key in mapping:
        mapping[key] = value
    else:
        mapping.insert(len(mapping) - 1, key, value)
    if comment is not None:
        set_comment(mapping, key, comment)


def set_comment(mapping: CommentedMap, key: str, comment: str, column: int = COMMENT_COLUMN) -> None:
    """Replace the comment behind a key's value; an empty comment removes it. Empty lines below it stay."""
    below = _behind(mapping, key).partition("\n")[2]
    if comment:
        mapping.yaml_add_eol_comment(f"# {comment}\n{below}", key, column=column)
    elif below:
        mapping.yaml_add_eol_comment(f"\n{below}", key, column=0)
    else:
        mapping.ca.items.pop(key, None)


def copy_comments(into: CommentedMap, source: CommentedMap) -> None:
    """Copy the comments behind values that both have in common to those that have no comment of their own."""
    others = dict(source.non_merged_items())
    for key, value in into.non_merged_items():
        other = others.get(key)
        if isinstance(value, CommentedMap) and isinstance(other, CommentedMap):
            if not value.fa.flow_style():
                copy_comments(value, other)
        elif value == other and "#" in _behind(source, key) and "#" not in _behind(into, key):
            comment = _behind(source, key).partition("\n")[0].removeprefix("# ")
            set_comment(into, key, comment, source.ca.items[key][2].start_mark.column)


def scalar(text: str) -> str:
    """Return a text in quotes if relay, which reads YAML 1.1, would take it for another type: `on` is a boolean."""
    return text if read_yaml(text) == text else SingleQuotedScalarString(text)


def flow_list(values: list[str]) -> CommentedSeq:
    """Return a list that is written on one line, in brackets."""
    found = CommentedSeq(values)
    found.fa.set_flow_style()
    return found


def _round_trip() -> YAML:
    editor = YAML(typ="rt")
    editor.preserve_quotes = True
    editor.width = 4096
    editor.indent(mapping=2, sequence=4, offset=2)
    return editor


def _behind(mapping: CommentedMap, key: str) -> str:
    """Return what follows a key's value: a comment, empty lines, or both."""
    token = (mapping.ca.items.get(key) or [None, None, None])[2]
    return "" if token is None else str(token.value)
