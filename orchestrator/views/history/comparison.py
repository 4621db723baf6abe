"""The comparison of several runs as one document of plain values, from which the screen and the page are drawn. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from orchestrator.views.history.compared_curves import compared_curves
from orchestrator.views.history.compared_evaluations import accuracies, accuracy_tests, uncompared_evaluations
from orchestrator.views.history.compared_hours import hours_bought
from orchestrator.views.history.compared_pipelines import pipeline_differences
from orchestrator.views.history.compared_run import ComparedRun
from orchestrator.views.history.compared_weights import compare_weights
from orchestrator.views.history.results import stand_ins_sentence

TESTS_CORRECTED_FROM = 2


def comparison_document(runs: Sequence[ComparedRun], now: datetime) -> dict[str, Any]:
    """Return the comparison of at least two runs; all others are compared with the first one.

    Keys: `at`, `runs`, `differences`, `weights`, `evaluations`, `tests`, `hours`, `curves`, `stages` (None if they
    differ), `not_compared` (a sentence for each thing that cannot be compared) and `caveats`.
    """
    first, *others = runs
    curves, alone = compared_curves(runs)
    hours = [hours_bought(run) for run in runs]
    tests = [test for run in others for test in accuracy_tests(run, first)]
    missing = [sentence for run in others for sentence in uncompared_evaluations(run, first)]
    missing += [sentence for found in hours for sentence in _unmeasured_gains(found)]
    return {
        "at": now.isoformat(),
        "runs": [_run(run) for run in runs],
        "differences": pipeline_differences([run.pipeline for run in runs]),
        "weights": [compare_weights(run.document, first.document) for run in others],
        "evaluations": accuracies(runs),
        "tests": tests,
        "hours": hours,
        "curves": curves,
        "stages": _shared_stages(runs),
        "not_compared": list(dict.fromkeys([*missing, *alone])),
        "caveats": list(_caveats(runs, len(tests))),
    }


def _run(run: ComparedRun) -> dict[str, Any]:
    document = run.document
    return {
        **{key: document[key] for key in ("id", "name", "state", "accelerator", "pipeline_digest", "created_at")},
        **{key: document[key] for key in ("steps_done", "steps_total")},
        "sessions": len(document["sessions"]),
        "quota_s": round(run.clock.total_s, 3),
        "goodput": document["quota_spent"]["goodput"] if document["quota_spent"] else None,
    }


def _shared_stages(runs: Sequence[ComparedRun]) -> list[dict[str, Any]] | None:
    """Return the stages if all runs have the same ones at the same steps."""
    found = [
        [
            {**{key: stage[key] for key in ("name", "kind", "target")}, "begins_at": run.positions[stage["name"]]}
            for stage in run.stages
        ]
        for run in runs
    ]
    return found[0] if all(stages == found[0] for stages in found) else None


def _unmeasured_gains(hours: dict[str, Any]) -> Iterator[str]:
    if not hours["gains"]:
        yield f"accuracy gained per hour by {hours['run']}: that takes two finished evaluations"


def _caveats(runs: Sequence[ComparedRun], tests: int) -> Iterator[str]:
    """Yield what a reader has to know before believing the comparison."""
    for run in runs:
        if sentence := stand_ins_sentence(run.stages):
            yield f"{run.id}: {sentence}"
    accelerators = {run.id: run.pipeline["accelerator"] for run in runs}
    if len(set(accelerators.values())) > 1:
        told = ", ".join(f"{run} used {name}" for run, name in accelerators.items())
        yield f"An hour is not the same work on each accelerator: {told}."
    if open_ones := [run.id for run in runs if run.document["state"] not in ("finished", "cancelled")]:
        yield f"Not over yet: {', '.join(open_ones)}. The numbers are as of now."
    if tests >= TESTS_CORRECTED_FROM:
        yield (
            f"{tests} tests were made, and their p-values are not corrected for that: by Bonferroni, compare each "
            f"with 0.05 / {tests} = {0.05 / tests:.2g}."
        )
