"""Evaluations of several runs side by side, and tests of their differences. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.views.history.compared_run import ComparedRun
from orchestrator.views.history.significance import fisher, mcnemar

Stage = Mapping[str, Any]


def accuracies(runs: Sequence[ComparedRun]) -> list[dict[str, Any]]:
    """Return the accuracy in each evaluation by name, with a value for each run; None if it did not measure it."""
    names = dict.fromkeys(stage["name"] for run in runs for stage in run.evaluations)
    return [{"stage": name, "values": [_accuracy(run, name) for run in runs]} for name in names]


def _accuracy(run: ComparedRun, name: str) -> dict[str, Any] | None:
    stage = next((stage for stage in run.evaluations if stage["name"] == name), None)
    if stage is None:
        return None
    measured = stage["metrics"]
    return {
        "accuracy": measured["accuracy"],
        "low": measured.get("accuracy_low"),
        "high": measured.get("accuracy_high"),
        "asked": measured.get("asked"),
        "done": stage["seen"],
        "target": stage["target"],
    }


def accuracy_tests(run: ComparedRun, other: ComparedRun) -> list[dict[str, Any]]:
    """Test the difference in accuracy of `run` against `other` in each evaluation of the same name.

    The last evaluations of both are compared too if their names differ. Where both runs left verdicts on the same
    problems, the answers to these are paired and the test is McNemar's; otherwise it is Fisher's of two independent
    shares. `difference` is that of the problems that were tested. A test that is impossible has no `p`.
    """
    mine, others = ({stage["name"]: stage for stage in one.evaluations} for one in (run, other))
    pairs = [(stage, others[name]) for name, stage in mine.items() if name in others]
    if mine and others and list(mine)[-1] != list(others)[-1]:
        pairs.append((list(mine.values())[-1], list(others.values())[-1]))
    return [accuracy_test(run, stage, other, other_stage) for stage, other_stage in pairs]


def accuracy_test(run: ComparedRun, stage: Stage, other: ComparedRun, other_stage: Stage) -> dict[str, Any]:
    """Test the accuracy of one evaluation of `run` against one of `other`, which may be the same run."""
    verdicts, others = run.verdicts.get(stage["name"]), other.verdicts.get(other_stage["name"])
    named = {"run": run.id, "stage": stage["name"], "with": other.id, "with_stage": other_stage["name"]}
    unfinished = [
        f"{one.id} has done {found['seen']:,} of {found['target']:,} steps of {found['name']}"
        for one, found in ((run, stage), (other, other_stage))
        if found["seen"] < found["target"]
    ]
    if verdicts and others and (shared := verdicts.keys() & others.keys()):
        return {**named, **_paired(verdicts, others, sorted(shared)), "notes": unfinished}
    why = _why_unpaired(run, verdicts, stage, other, others, other_stage)
    return {**named, **_unpaired(stage, other_stage), "notes": [why, *unfinished]}


def _paired(verdicts: Mapping[str, bool], others: Mapping[str, bool], shared: Sequence[str]) -> dict[str, Any]:
    gained = sum(verdicts[key] and not others[key] for key in shared)
    lost = sum(others[key] and not verdicts[key] for key in shared)
    return {
        "test": "McNemar's exact test",
        "paired": True,
        "problems": len(shared),
        "asked": len(verdicts),
        "asked_with": len(others),
        "only_run": gained,
        "only_with": lost,
        "difference": (gained - lost) / len(shared),
        "p": mcnemar(gained, lost),
    }


def _unpaired(stage: Stage, other_stage: Stage) -> dict[str, Any]:
    shares = [_right_and_asked(found["metrics"]) for found in (stage, other_stage)]
    first, second = shares
    known = first is not None and second is not None
    return {
        "test": "Fisher's exact test" if known else None,
        "paired": False,
        "problems": 0,
        "asked": first[1] if first else None,
        "asked_with": second[1] if second else None,
        "only_run": None,
        "only_with": None,
        "difference": stage["metrics"]["accuracy"] - other_stage["metrics"]["accuracy"],
        "p": fisher(first, second) if first and second else None,
    }


def _right_and_asked(measured: Mapping[str, float]) -> tuple[int, int] | None:
    """Return how many answers were right, and how many there were; None if the metrics do not say so."""
    asked, accuracy = round(measured.get("asked", 0.0)), measured["accuracy"]
    return (round(accuracy * asked), asked) if asked > 0 and 0 <= accuracy <= 1 else None


def _why_unpaired(
    run: ComparedRun,
    verdicts: Mapping[str, bool] | None,
    stage: Stage,
    other: ComparedRun,
    others: Mapping[str, bool] | None,
    other_stage: Stage,
) -> str:
    without = [
        f"{one.id} has no verdicts of {found['name']} here"
        for one, found, read in ((run, stage, verdicts), (other, other_stage, others))
        if not read
    ]
    return "; ".join(without) or "no problem was asked in both, so the problems may differ in difficulty"


def uncompared_evaluations(run: ComparedRun, other: ComparedRun) -> Iterator[str]:
    """Yield a sentence for what cannot be compared in the evaluations of two runs."""
    for one, against in ((other, run), (run, other)):
        measured = [stage["name"] for stage in one.evaluations]
        if not measured:
            planned = any(stage["kind"] == "evaluate" for stage in one.stages)
            yield f"{one.id} has not evaluated yet" if planned else f"{one.id} has no stage of the kind evaluate"
            continue
        alone = [name for name in measured if name not in {stage["name"] for stage in against.evaluations}]
        if alone and against.evaluations:
            yield f"only {one.id} has measured {', '.join(alone)}, not {against.id}"
