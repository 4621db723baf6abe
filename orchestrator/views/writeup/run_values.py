"""Values of a write-up about the run as a whole: what it trained, what it cost, and how to repeat it. Pure."""

from datetime import datetime
from typing import Any

from orchestrator.views.format import ACCELERATOR_NAMES
from orchestrator.views.tables import outcome_text
from orchestrator.views.writeup.sources import WriteupSources
from orchestrator.views.writeup.traced import (
    TracedNumber,
    TracedText,
    artifact,
    code,
    count,
    day,
    fact,
    machine_s,
    row,
    rows,
    setting,
    share,
)
from stages.contract import REPORT_NAME
from stages.formats.card import base_model

MODEL_OPTIONS = ("kind", "source", "dtype", "mesh_fsdp", "mesh_tp", "remat", "system", "sha256")
DIGEST_SHOWN = 12
"""Number of digits of a digest in the text; numbers.json has the whole one."""


def run_values(sources: WriteupSources) -> dict[str, Any]:
    """Return names, state, position and dates of the run."""
    run, first, last = sources.run, sources.facts[0], sources.facts[-1]
    elapsed_s = sources.history["timeline"]["seconds"]
    return {
        "id": TracedText(run["id"], "run.id", sources.of_run("id")),
        "name": TracedText(run["name"], "run.name", sources.of_run("name")),
        "state": TracedText(run["state"], "run.state", sources.of_run("status")),
        "finished": run["state"] == "finished",
        "reason": TracedText(run["reason"], "run.reason", sources.of_run("reason")),
        "accelerator": TracedText(
            ACCELERATOR_NAMES.get(sources.pipeline.accelerator, "CPU"),
            "run.accelerator",
            sources.of_pipeline("accelerator"),
        ),
        "origin": _origin(sources),
        "seed": setting("run.seed", sources.pipeline.seed, sources.of_pipeline("seed")),
        "pipeline_digest": TracedText(run["pipeline_digest"], "run.pipeline_digest", sources.of_run("pipeline_digest")),
        "steps_done": count(
            "run.steps_done",
            run["steps_done"],
            rows("checkpoint", ["cursor"], "steps up to the newest verified checkpoint", run=run["id"]),
        ),
        "steps": count("run.steps", run["steps_total"], sources.of_pipeline("stages[*].steps")),
        "began": day("run.began", datetime.fromisoformat(run["created_at"]), sources.of_run("created_at")),
        "as_of": day("run.as_of", last.at, fact(last.number, last.fact.name, "at")),
        "elapsed": machine_s(
            "run.elapsed",
            elapsed_s,
            {**fact(last.number, last.fact.name, "at"), "computed": f"time since fact {first.number}"},
        ),
    }


def _origin(sources: WriteupSources) -> TracedText | None:
    """Return the place in another run that this one began from; None for most runs."""
    origin = sources.pipeline.origin
    if not origin.run:
        return None
    return TracedText(f"{origin.run} {origin.at}", "run.origin", sources.of_pipeline("origin.run, origin.at"))


def model_values(sources: WriteupSources) -> dict[str, Any] | None:
    """Return the options of the model; None if no stage of relay's own loads one."""
    model = sources.pipeline.loaded_model
    if model is None:
        return None
    found: dict[str, Any] = {
        "base": TracedText(base_model(model), "model.base", sources.of_pipeline("model.source")),
    }
    for name in MODEL_OPTIONS:
        given = name in sources.pipeline.model
        source = sources.of_pipeline(f"model.{name}") if given else code(f"stages.options.Model.{name}")
        found[name] = setting(f"model.{name}", getattr(model, name), source)
    return found


def hours_values(sources: WriteupSources) -> dict[str, Any]:
    """Return quota by class of time, and calendar time by group."""
    hours = sources.history["hours"]
    of_sessions = sources.of_sessions(
        ["running_at", "ended_at", "limit_s", "seconds", "kept_s", "outcome"],
        "orchestrator.core.goodput.account, summed up",
    )
    total_s = hours["total_s"]
    return {
        "total": machine_s("hours.total", total_s, of_sessions),
        "goodput": None if hours["goodput"] is None else share("hours.goodput", hours["goodput"], of_sessions),
        "estimated": bool(hours["estimated"]),
        "classes": [
            {
                "label": found["label"],
                "what": found["what"],
                "time": machine_s(f"hours.classes.{found['key']}.time", found["seconds"], of_sessions),
                "share": share(f"hours.classes.{found['key']}.share", found["share"], of_sessions),
            }
            for found in sorted(hours["classes"], key=lambda found: -found["seconds"])
        ],
        "calendar": [
            {"label": group["label"], "time": _calendar(sources, group)}
            for group in sources.history["timeline"]["groups"]
            if group["seconds"] > 0
        ],
    }


def _calendar(sources: WriteupSources, group: dict[str, Any]) -> TracedNumber:
    how = "orchestrator.views.history.timeline: time of this group between the first and the last fact"
    source = rows("fact, session", ["at", "data"], how, run=sources.run["id"])
    return machine_s(f"hours.calendar.{group['key']}", group["seconds"], source)


def session_values(sources: WriteupSources) -> dict[str, Any]:
    """Return all sessions, and the sums over them."""
    run = sources.run
    lost = sum(session["steps_lost"] for session in run["sessions"])
    return {
        "count": count("sessions.count", len(run["sessions"]), sources.of_sessions(["slug"], "number of rows")),
        "steps_lost": count("sessions.steps_lost", lost, sources.of_sessions(["steps_lost"], "sum")),
        "limit": machine_s(
            "sessions.limit", sources.pipeline.limit_s, sources.of_pipeline("session.limit_s, accelerator")
        ),
        "all": [_session(sources, number, session) for number, session in enumerate(run["sessions"])],
    }


def _session(sources: WriteupSources, index: int, session: dict[str, Any]) -> dict[str, Any]:
    at = f"sessions.all[{index}]"
    key = {"run": sources.run["id"], "number": session["number"], "attempt": session["attempt"]}
    name = session["slug"].removeprefix(f"{sources.run['id']}-")

    def place(end: str, column: str) -> dict[str, Any] | None:
        if session[end] is None:
            return None
        source = row("session", column, **key)
        return {
            "stage": TracedText(session[end]["stage"], f"{at}.{end}.stage", source),
            "step": count(f"{at}.{end}.step", session[end]["step"], source),
        }

    columns = ["running_at", "ended_at", "limit_s", "seconds"]
    lasted = {**rows("session", columns, "the longer of Kaggle's and its own clock"), "where": key}
    return {
        "name": TracedText(name, f"{at}.name", row("session", "slug", **key)),
        "outcome": TracedText(outcome_text(session), f"{at}.outcome", row("session", "outcome", **key)),
        "begin": place("from", "start"),
        "end": place("to", "reached"),
        "time": None if session["seconds"] is None else machine_s(f"{at}.time", session["seconds"], lasted),
        "steps_lost": count(f"{at}.steps_lost", session["steps_lost"], row("session", "steps_lost", **key)),
    }


def checkpoint_values(sources: WriteupSources) -> dict[str, Any] | None:
    """Return the newest verified checkpoint that is not pruned; None before the first one."""
    usable = [found for found in sources.run["checkpoints"] if found["status"] in ("collected", "published")]
    if not usable:
        return None
    newest = usable[-1]
    key = {"run": sources.run["id"], "name": newest["name"]}
    weights = newest["contents"].get("weights")
    cursor = row("checkpoint", "cursor", **key)
    return {
        "name": TracedText(newest["name"], "checkpoint.name", row("checkpoint", "name", **key)),
        "stage": TracedText(newest["stage"], "checkpoint.stage", cursor),
        "step": count("checkpoint.step", newest["step"], cursor),
        "digest": TracedText(newest["digest"], "checkpoint.digest", row("checkpoint", "digest", **key)),
        "weights": TracedText(
            weights, "checkpoint.weights", {**row("checkpoint", "manifest", **key), "path": "digests.weights"}
        )
        if weights
        else None,
        "whole": sources.history["checkpoints"]["whole"],
        "damage": count(
            "checkpoint.damage",
            len(sources.run["damage"]),
            rows("fact", ["data"], "number of facts damage_found", run=sources.run["id"]),
        ),
    }


def environment_values(sources: WriteupSources) -> dict[str, Any]:
    """Return the pinned packages, and the versions that sessions reported."""
    listed = isinstance(sources.pipeline.environment, tuple) or bool(sources.pipeline.own_lock)
    pinned = sources.of_pipeline("environment") if listed else code("orchestrator.pipeline.environments")
    run = sources.run["id"]
    return {
        "pins": [TracedText(pin, f"environment.pins[{n}]", pinned) for n, pin in enumerate(sources.pipeline.pins)],
        "versions": [
            {
                "name": found["name"],
                "version": TracedText(
                    found["version"],
                    f"environment.versions[{number}]",
                    artifact(f"incoming/{run}-{found['first']}/{REPORT_NAME}", f"versions.{found['name']}"),
                ),
            }
            for number, found in enumerate(sources.history["versions"])
        ],
    }
