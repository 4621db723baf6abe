"""Pipelines that a probe runs, derived from the user's: one that looks at Kaggle on a CPU, one that measures its stages."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.app.probe.names_and_versions import VersionedSource
from orchestrator.core.durations import SHORT_S
from orchestrator.pipeline import loader
from orchestrator.pipeline.environments import DEFAULT
from orchestrator.pipeline.files_beside import KnownLock
from orchestrator.pipeline.measured import planned
from orchestrator.pipeline.model import NAME_CHARS_MAX, Pipeline

WRITE, READ, MEASURE = "write", "read", "measure"
"""Names of a probe's stages."""
MACHINE_LIMIT_S = 3600.0
"""Time limit of a session of the CPU probe, in seconds."""
MEASURE_LIMIT_S = 1800.0
"""Time limit of the session that measures, in seconds: installing takes up to 600, and a compilation is waited for."""
MEASURE_S = 180.0
"""Seconds in which the stages are measured."""
DIGEST_CHARS = 6


def machine_pipeline(
    trained: Pipeline,
    path: Path,
    dataset: str,
    trial: Mapping[str, str],
    models: Sequence[str],
    versions: VersionedSource | None = None,
) -> Pipeline:
    """Return the pipeline of the CPU probe: a session that writes, and a second one that compares what it mounts.

    `dataset` is the `owner/slug` of the trial files, `trial` their SHA-256 by name. `models` are the Kaggle models that
    this account may read; others would keep a session from starting. `versions` is mounted, too, to see which one comes.
    """
    options = {
        "internet": trained.internet,
        "models": list(models),
        "trial": [f"{name}:{sha256}" for name, sha256 in trial.items()],
        **({"versions": list(versions.sha256)} if versions else {}),
    }
    mounted = [*trained.inputs.datasets, dataset, *([versions.ref] if versions else [])]
    value = {
        **_shared(trained),
        "accelerator": "cpu",
        "handoff": trained.handoff,
        "session": {"limit_s": _limit_s(trained, MACHINE_LIMIT_S)},
        "inputs": _inputs(trained, mounted, models),
        "fork_points": [WRITE],  # the first session ends there, so that the second one mounts its checkpoint
        "stages": [
            {"name": part, "kind": "probe", "steps": 1, "options": {"part": part, **options}} for part in (WRITE, READ)
        ],
    }
    return _checked(value, trained, path, "probe")


def measuring_pipeline(trained: Pipeline, path: Path) -> Pipeline:
    """Return the pipeline that measures every stage of the user's on its accelerator, in one session."""
    options = {
        "plan": planned(trained),
        "seconds": MEASURE_S,
        "platform": trained.hardware.promise.platform,
    }
    value = {
        **_shared(trained),
        "accelerator": trained.accelerator,
        "account": trained.model_dump(mode="json")["account"],
        "session": {"limit_s": _limit_s(trained, MEASURE_LIMIT_S), "min_session_s": 0.0, "attempts": 1},
        "on_timeout": "park",
        "inputs": _inputs(trained, trained.inputs.datasets, trained.model_sources),
        "stages": [{"name": MEASURE, "kind": "measure", "steps": len(trained.stages), "options": options}],
    }
    return _checked(value, trained, path, "measure").model_copy(update={"sources": trained.sources})


def _shared(trained: Pipeline) -> dict[str, Any]:
    return {
        "seed": trained.seed,
        "model": dict(trained.model),
        "internet": trained.internet,
        "environment": _environment(trained),
    }


def _environment(trained: Pipeline) -> str | list[str]:
    """Return `environment` as the user's stages have it; by its name, so that each machine installs from its lock."""
    if trained.environment is None:
        return DEFAULT if trained.needs_jax else []
    return trained.environment if isinstance(trained.environment, str) else list(trained.environment)


def _inputs(trained: Pipeline, datasets: Sequence[str], models: Sequence[str]) -> dict[str, Any]:
    return {
        "files": list(trained.inputs.files),
        "datasets": list(datasets),
        "models": list(models),
        "wheels": trained.inputs.wheels,
    }


def _limit_s(trained: Pipeline, limit_s: float) -> float:
    """Return the limit of the probe's sessions; a pipeline with the limits of a rehearsal is probed in one."""
    return limit_s if trained.limit_s > SHORT_S else SHORT_S


def _checked(value: dict[str, Any], trained: Pipeline, path: Path, what: str) -> Pipeline:
    """Check the pipeline and name it: different pipelines have different names, equal ones the same."""
    pipeline = loader.check(
        {**value, "name": "probe"}, str(path), path.parent, KnownLock(str(trained.environment), trained.own_lock)
    )
    digest = hashlib.sha256(json.dumps([pipeline.canonical(), trained.sources], sort_keys=True).encode()).hexdigest()
    end = f"-{what}-{digest[:DIGEST_CHARS]}"
    return pipeline.model_copy(update={"name": trained.name[: NAME_CHARS_MAX - len(end)].rstrip("-") + end})
