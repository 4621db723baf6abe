"""JSON Schema of a pipeline file (draft 2020-12), generated from the models and options that check the file.

It contains only constraints on single values. Unique stage names and existing files are left to the loader, as are the
bounds of numbers that may be written as text (YAML reads 3e-6, without a point, as text).
"""

import inspect
import typing
from dataclasses import MISSING, Field, fields
from typing import Any

from pydantic import BaseModel

from orchestrator.pipeline.environments import HARDWARE
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.reference.meanings import meanings, summary
from orchestrator.pipeline.sections import (
    AccountOptions,
    Expect,
    ExpectedDuration,
    Inputs,
    OriginOptions,
    SessionLimits,
    Stage,
)
from orchestrator.pipeline.slurm_section import SlurmOptions
from orchestrator.pipeline.ssh_section import SshOptions
from stages import options
from stages.catalog import KINDS
from stages.options.rules import Rule

DRAFT = "https://json-schema.org/draft/2020-12/schema"
ID = "urn:relay-kaggle:pipeline"

OWN = r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*$"
"""Pattern for a function of the user's own: `module:function`, `package.module:function`."""

NUMBER = r"^\s*[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?\s*$"

NOTES = {Pipeline: ("sources", "own_lock"), Inputs: ("sha256",)}
"""Keys that relay fills in and users do not write."""

OWN_STAGE = "A function of your own, `module:function`: module.py lies beside the pipeline file."

EXAMPLES: list[dict[str, Any]] = [
    {
        "name": "counting",
        "accelerator": "cpu",
        "stages": [{"name": "count", "kind": "counting", "steps": 100, "options": {"step_s": 0.05}}],
    },
    {
        "name": "gsm",
        "model": {"kind": "gemma3-1b", "source": "google/gemma-3/flax/gemma3-1b-it/1", "mesh_fsdp": 8},
        "stages": [
            {"name": "sft", "kind": "sft", "steps": 500, "options": {"data": ["magpie:5000"], "batch": 32}},
            {"name": "grpo", "kind": "grpo", "steps": 200, "options": {"data": ["gsm8k"], "num_generations": 8}},
            {"name": "after", "kind": "evaluate", "steps": 20, "options": {"data": ["gsm8k"]}},
        ],
    },
]


def schema() -> dict[str, Any]:
    """Return the whole schema, as JSON."""
    whole = Pipeline.model_json_schema()
    for kind in (
        AccountOptions,
        Expect,
        ExpectedDuration,
        Inputs,
        OriginOptions,
        SessionLimits,
        SlurmOptions,
        SshOptions,
        Stage,
    ):
        _describe(kind, whole["$defs"][kind.__name__])
    _describe(Pipeline, whole)
    whole["$defs"]["Expect"] = _with_flat_unions(whole["$defs"]["Expect"])
    stage = whole["$defs"]["Stage"]
    stage["properties"]["kind"] = _kind(stage["properties"]["kind"])
    stage["allOf"] = [_rule("kind", name, {"options": {"$ref": f"#/$defs/{name}"}}, required=True) for name in KINDS]
    whole["$defs"] |= {"model": _dataclass(options.Model)}
    whole["$defs"] |= {name: _dataclass(kind.options) for name, kind in KINDS.items() if kind.options is not None}
    limits = [_limit(name, hardware.limit_s) for name, hardware in HARDWARE.items()]
    head = {
        "$schema": DRAFT,
        "$id": ID,
        "title": "A pipeline of relay",
        "description": "What a run does: stages of training on Kaggle or a cluster, in as many sessions as they take.",
    }
    return {**head, **{k: v for k, v in whole.items() if k not in head}, **_free_model(limits), "examples": EXAMPLES}


def _with_flat_unions(node: Any) -> Any:
    """Return a node with each union as one list `anyOf`; pydantic nests a union with tags as `oneOf`."""
    if isinstance(node, list):
        return [_with_flat_unions(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {("anyOf" if key == "oneOf" else key): _with_flat_unions(value) for key, value in node.items()}
    if "anyOf" in found:
        found["anyOf"] = [
            arm for each in found["anyOf"] for arm in (each["anyOf"] if set(each) == {"anyOf"} else [each])
        ]
    return found


def _rule(key: str, value: str, then: dict[str, Any], *, required: bool) -> dict[str, Any]:
    """Return a rule: if `key` is `value` (or missing, unless required), these properties apply too."""
    condition: dict[str, Any] = {"properties": {key: {"const": value}}}
    return {"if": condition | ({"required": [key]} if required else {}), "then": {"properties": then}}


def _limit(accelerator: str, limit_s: float) -> dict[str, Any]:
    """Return a rule: with this accelerator on Kaggle, which is the default, a session may have this many seconds."""
    given = accelerator != Pipeline.model_fields["accelerator"].default
    then = {"session": {"properties": {"limit_s": {"maximum": limit_s}}}}
    rule = _rule("accelerator", accelerator, then, required=given)
    rule["if"]["properties"]["platform"] = {"const": Pipeline.model_fields["platform"].default}
    return rule


def _free_model(limits: list[dict[str, Any]]) -> dict[str, Any]:
    """Constrain `model` to relay's options if one of relay's stages loads it; otherwise it is free-form."""
    loads = {"properties": {"kind": {"enum": [name for name, kind in KINDS.items() if kind.needs_jax]}}}
    none_loads = {
        "properties": {"stages": {"type": "array", "not": {"contains": loads | {"required": ["kind"]}}}},
        "required": ["stages"],
    }
    return {"allOf": [*limits, {"if": none_loads, "else": {"properties": {"model": {"$ref": "#/$defs/model"}}}}]}


def _describe(kind: type[BaseModel], found: dict[str, Any]) -> None:
    """Add descriptions; remove keys that relay fills in, and titles that only repeat a key."""
    found.pop("title", None)
    for key in NOTES.get(kind, ()):
        found["properties"].pop(key)
    for key, node in found["properties"].items():
        node.pop("title", None)
        if node.get("default") is None or "$ref" in node:  # the default is computed, or is given for each nested key
            node.pop("default", None)
        node["description"] = meanings(kind)[key]


def _kind(node: dict[str, Any]) -> dict[str, Any]:
    """List the kinds with their descriptions, and the pattern of a user's own."""
    known = [
        {"const": name, "description": summary(kind.options)}
        for name, kind in KINDS.items()
        if kind.options is not None
    ]
    own = {"type": "string", "pattern": OWN, "description": OWN_STAGE}
    return {"description": node["description"], "anyOf": [*known, own]}


def _dataclass(kind: type[Any]) -> dict[str, Any]:
    """Describe an options class: the kind's own options first, then the shared ones."""
    known, said = {field.name: field for field in fields(kind)}, meanings(kind)
    order = dict.fromkeys(name for base in kind.__mro__ for name in inspect.get_annotations(base))
    properties = {name: _option(known[name]) | {"description": said[name]} for name in order}
    return {
        "type": "object",
        "description": summary(kind),
        "properties": properties,
        "additionalProperties": False,
    }


def _option(field: "Field[Any]") -> dict[str, Any]:
    rules = getattr(field.type, "__metadata__", ())
    wanted = typing.get_args(field.type)[0] if rules else field.type
    node = _typed(wanted, *[rule for rule in rules if isinstance(rule, Rule)])
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    return node | {"default": list(default) if isinstance(default, tuple) else default}


def _typed(wanted: Any, rule: Rule | None = None) -> dict[str, Any]:
    match typing.get_origin(wanted) or wanted:
        case kind if kind is tuple:
            return {"type": "array", "items": _text(rule)} | ({"minItems": 1} if rule else {})
        case kind if kind is dict:
            named = {"propertyNames": _text(rule), "minProperties": int(not rule.empty)} if rule else {}
            return {"type": "object", "additionalProperties": _typed(float)} | named
        case kind if kind is float:
            return {"type": ["number", "string"], "pattern": NUMBER, **_bounds(rule)}
        case kind if kind is int:
            return {"type": "integer", **_bounds(rule)}
        case kind if kind is bool:
            return {"type": "boolean"}
    return _text(rule)


def _text(rule: Rule | None) -> dict[str, Any]:
    if rule is None:
        return {"type": "string"}
    forms: list[dict[str, Any]] = [{"enum": list(rule.choices)}] if rule.choices else []
    if rule.form != Rule(remedy="").form:
        forms.append({"pattern": f"^({rule.form})$", "patternErrorMessage": f"should be {rule.remedy}"})
    return {"type": "string"} | (forms[0] if len(forms) == 1 else {"anyOf": forms})


def _bounds(rule: Rule | None) -> dict[str, float]:
    if rule is None:
        return {}
    bounds = {
        "minimum": rule.least,
        "exclusiveMinimum": rule.above,
        "maximum": rule.most,
        "exclusiveMaximum": rule.below,
    }
    return {key: bound for key, bound in bounds.items() if bound is not None}
