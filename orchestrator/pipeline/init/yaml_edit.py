"""Splits an example's text into parts and joins them by lines, so that comments stay with what they explain."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import yaml

Lines = tuple[str, ...]

EXPECT = "expect"
EXPECTED = re.compile(r"\s+(?P<stage>[a-z][a-z0-9-]*): *[\d.]+(\s+#.*)?")
"""Pattern of a line that gives the expected step time of a stage."""

COMMENTED = re.compile(r"(?P<code>\S.*?)(?P<gap>\s+)#\s(?P<comment>.*)")


@dataclass(frozen=True)
class ExampleText:
    """A pipeline's text in parts. Every line of the file is in exactly one of them."""

    head: Lines
    """Comment above the first key."""
    keys: Mapping[str, Lines]
    """Lines of each top-level key except `stages`, in the file's order."""
    stages: Mapping[str, Lines]
    """Lines of each stage, by name, including the comments and empty lines above it."""
    kinds: Mapping[str, str]
    """Kind of each stage, by name."""

    @classmethod
    def of(cls, text: str) -> Self:
        """Split a pipeline file; it must be a valid pipeline with `stages` as its last key."""
        lines = text.splitlines()
        top = yaml.compose(text, Loader=yaml.SafeLoader)
        assert isinstance(top, yaml.MappingNode)
        starts = {str(key.value): key.start_mark.line for key, _ in top.value}
        parts = _cut(lines, starts)
        listed = top.value[-1][1]
        assert isinstance(listed, yaml.SequenceNode) and list(parts)[-1] == "stages", "an example ends with its stages"
        named = {_text(item, "name"): item for item in listed.value}
        begin = {name: _with_comments(lines, item.start_mark.line) for name, item in named.items()}
        return cls(
            head=tuple(lines[: min(starts.values())]),
            keys={key: part for key, part in parts.items() if key != "stages"},
            stages=_cut(lines, begin),
            kinds={name: _text(item, "kind") for name, item in named.items()},
        )

    def text(self) -> str:
        """Return the whole file."""
        parts = [self.head, *self.keys.values(), ("stages:",), *self.stages.values()]
        return "\n".join(line for part in parts for line in part).rstrip("\n") + "\n"

    def before(self, kind: str) -> Self:
        """Return the example up to its first stage of that kind; all of it if there is none."""
        kept: dict[str, Lines] = {}
        for name, lines in self.stages.items():
            if self.kinds[name] == kind:
                break
            kept[name] = lines
        kinds = {name: self.kinds[name] for name in kept}
        return replace(self, stages=kept, kinds=kinds, keys=_expecting(self.keys, {*kinds, *kinds.values()}))

    def with_key(self, key: str, value: str, comment: str | None = None) -> Self:
        """Return a copy with a top-level key changed or appended; a comment of None keeps the existing one."""
        lines = self.keys.get(key, (f"{key}: ",))
        return replace(self, keys={**self.keys, key: changed(lines, key, value, comment)})

    def with_option(self, key: str, value: str, comment: str, of: Callable[[str], bool]) -> Self:
        """Return a copy with an option changed in each stage that sets it and whose kind `of` accepts."""
        stages = {
            name: changed(lines, key, value, comment) if of(self.kinds[name]) else lines
            for name, lines in self.stages.items()
        }
        return replace(self, stages=stages)

    def explained_by(self, other: "ExampleText") -> Self:
        """Return a copy with the other's comment at each identical line that has no comment of its own."""
        keys = {key: _explained(lines, other.keys.get(key, ())) for key, lines in self.keys.items()}
        stages = {name: _explained(lines, other.stages.get(name, ())) for name, lines in self.stages.items()}
        return replace(self, keys=keys, stages=stages)


def changed(lines: Sequence[str], key: str, value: str, comment: str | None = None) -> Lines:
    """Return the lines with the value of `key` replaced, if they set it; a new comment replaces the old one."""
    given = re.compile(rf"(?P<key>(?:- |\s)*{re.escape(key)}: *)(?P<value>.*?)(?P<rest>\s+#.*)?")

    def line_for(line: str) -> str:
        found = given.fullmatch(line)
        if found is None:
            return line
        if comment is None:
            return f"{found['key']}{value}{found['rest'] or ''}"
        return f"{found['key']}{value}" + (f"   # {comment}" if comment else "")

    return tuple(line_for(line) for line in lines)


def _expecting(keys: Mapping[str, Lines], known: set[str]) -> Mapping[str, Lines]:
    """Return the keys with `expect` reduced to these stages and kinds: relay rejects expectations for others."""
    if EXPECT not in keys:
        return keys
    found = [(EXPECTED.fullmatch(line), line) for line in keys[EXPECT]]
    return {**keys, EXPECT: tuple(line for match, line in found if match is None or match["stage"] in known)}


def _cut(lines: Sequence[str], starts: Mapping[str, int]) -> dict[str, Lines]:
    ends = [*list(starts.values())[1:], len(lines)]
    return {name: tuple(lines[start:end]) for (name, start), end in zip(starts.items(), ends, strict=True)}


def _with_comments(lines: Sequence[str], start: int) -> int:
    """Return the index of the first comment or empty line directly above a line."""
    while lines[start - 1].strip() == "" or lines[start - 1].lstrip().startswith("#"):
        start -= 1
    return start


def _explained(lines: Iterable[str], by: Iterable[str]) -> Lines:
    found = [(line, COMMENTED.fullmatch(line.strip())) for line in by]
    comments = {
        match["code"]: (line.index(f"# {match['comment']}"), match["comment"]) for line, match in found if match
    }

    def line_for(line: str) -> str:
        column, comment = comments.get(line.strip(), (0, ""))
        return f"{line:<{column - 1}} # {comment}" if comment and "#" not in line else line

    return tuple(line_for(line) for line in lines)


def _text(node: yaml.Node, key: str) -> str:
    assert isinstance(node, yaml.MappingNode)
    return next(str(value.value) for name, value in node.value if name.value == key)
