"""Reference entries: type, default, range and meaning of each key and option, read from the schema."""

import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from orchestrator.pipeline.reference.schema import OWN_STAGE, schema
from stages.catalog import KINDS

DEFAULT = "; default: "
"""Separator between a meaning and a computed default."""

TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
    "array": "list",
}


@dataclass(frozen=True)
class Entry:
    """Key or option."""

    key: str
    """Dotted key, such as `session.margin_s`; for an option its name."""
    type: str
    default: str
    """Default as YAML, or in words if it is computed; empty if there is none."""
    computed: bool
    required: bool
    allowed: str
    """Allowed values in words; empty if the type is enough."""
    meaning: str

    @property
    def takes(self) -> str:
        """Type and range: `whole number from 10`, `full or lora`; empty for a mapping, whose keys have entries."""
        if self.type == "mapping":
            return ""
        if self.type in ("number", "whole number"):
            return f"{self.type} {self.allowed}".strip()
        if self.type == "number or mapping":
            return f"number {self.allowed}, or mapping"
        if self.type in ("text", "list of texts") or self.type.startswith("mapping of"):
            return f"{self.type}, {self.allowed}" if self.allowed.startswith("each") else self.allowed or self.type
        if self.allowed:
            return f"{self.type.removesuffix(' or text')}, or {self.allowed}"
        return self.type

    def document(self) -> dict[str, Any]:
        """Return the entry as JSON."""
        return asdict(self) | {"takes": self.takes}


_whole = cache(schema)
"""Cached schema; callers must not modify it."""


def keys() -> list[Entry]:
    """List every key of a pipeline file, in the order of the models; nested keys follow their parent."""
    whole = _whole()
    found: list[Entry] = []
    for name, node in whole["properties"].items():
        found.append(_entry(name, node, name in whole["required"]))
        below = node.get("items", node).get("$ref", "").rpartition("/")[2]
        if below:
            inside = whole["$defs"][below]
            required = inside.get("required", ())
            found += [_entry(f"{name}.{key}", each, key in required) for key, each in inside["properties"].items()]
    return found


def options_of(name: str) -> list[Entry]:
    """List the options of a kind of stage, or of `model`."""
    return [_entry(key, node, required=False) for key, node in _whole()["$defs"][name]["properties"].items()]


def kinds() -> dict[str, str]:
    """Return the description of each kind of stage, and of the user's own."""
    found = _whole()["$defs"]
    return {name: found[name]["description"] for name in KINDS} | {"module:function": OWN_STAGE}


def _entry(key: str, node: dict[str, Any], required: bool) -> Entry:
    meaning, _, computed = node["description"].partition(DEFAULT)
    return Entry(
        key=key,
        type=_type(node),
        default=shown(node["default"]) if "default" in node else computed.rstrip("."),
        computed="default" not in node,
        required=required,
        allowed=_allowed(node),
        meaning=meaning if meaning.endswith(".") else f"{meaning}.",
    )


def _type(node: dict[str, Any]) -> str:
    if "$ref" in node:
        return "mapping"
    arms = [arm for arm in node.get("anyOf", [node]) if arm.get("type") != "null"]
    found = []
    for arm in arms:
        name = "object" if "$ref" in arm else arm.get("type", node.get("type", "string"))
        name = TYPES[name if isinstance(name, str) else name[0]]
        if name == "list":
            name = "list" if "$ref" in arm["items"] else f"list of {_type(arm['items'])}s"
        if name == "mapping" and isinstance(arm.get("additionalProperties"), dict):
            inside = _type(arm["additionalProperties"])
            name = f"mapping of names to {' or '.join(f'{each}s' for each in inside.split(' or '))}"
        found.append(name)
    return " or ".join(dict.fromkeys(found))


def _allowed(node: dict[str, Any]) -> str:
    """Describe the allowed values in words."""
    if "items" in node:
        return _allowed(node["items"])
    if "propertyNames" in node:
        return _allowed(node["propertyNames"])
    if isinstance(node.get("additionalProperties"), dict):
        inside = node["additionalProperties"]
        bounds = [_range(arm) for arm in inside.get("anyOf", [inside])]
        return f"each {''.join(bounds)}".removesuffix("each ")
    said = str(node.get("patternErrorMessage", "")).removeprefix("should be ").removeprefix("of ")
    if said:
        return said
    if "enum" in node:
        return _either(node["enum"])
    arms = node.get("anyOf", [])
    if any("const" in arm for arm in arms):
        return _either([arm.get("const", "module:function") for arm in arms])
    found = [_allowed(arm) for arm in arms]
    return next((words for words in reversed(found) if words), "") or _range(node)


def _either(choices: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))


def _range(node: dict[str, Any]) -> str:
    if node.get("type") == "integer" and "exclusiveMinimum" in node:
        node = {"minimum": node["exclusiveMinimum"] + 1, **{k: v for k, v in node.items() if k != "exclusiveMinimum"}}
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    return " ".join(f"{word} {shown(node[key])}" for key, word in words.items() if key in node)


def shown(value: Any) -> str:
    """Format a value in YAML's flow style."""
    match value:
        case "":
            return '""'
        case str():
            return value
        case list():
            return f"[{', '.join(shown(item) for item in value)}]"
        case dict():
            return f"{{{', '.join(f'{key}: {shown(item)}' for key, item in value.items())}}}"
    return json.dumps(value)
