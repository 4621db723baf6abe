"""Evaluations of a run side by side, and sample problems answered before and after training. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.views.history.curves import metric_title
from stages.safe_text import OddJson, read_json
from stages.session.throughput import MEASURED, RATES

Row = dict[str, Any]
"""Answer in an evaluation's artifact; see `stages.evaluate`."""

NO_RATES = ("asked", "disagreements", "done", "mean_length", "max_length", *RATES, *MEASURED)
"""Metrics of an evaluation that are not a share of its answers."""
ORDER = ("accuracy", "format", "hard_accuracy", "truncated_share")
"""Rates that are shown first; those of single data sets follow by name."""
MODEL_STAND_IN = "model"
"""Name of the model among the stand-ins of a stage; the others are data sets."""
SAMPLES_MAX = 12
TEXT_CHARS_MAX = 4000
"""Maximum length of a question or an answer, in characters; `relay artifacts` has the whole text."""
ROWS_READ_MAX = 20_000


# --- evaluations ------------------------------------------------------------------


def evaluations(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rates of each evaluation that has begun.

    `stages` are in pipeline order; `rates` have a value for each stage, None if the evaluation did not measure it.
    `low` and `high` are the ends of a 95 % interval, or None.
    """
    stages = [stage for stage in run["stages"] if stage["kind"] == "evaluate" and stage["metrics"]]
    measured = [stage["metrics"] for stage in stages]
    names = {name for metrics in measured for name in metrics if not _is_bound(name, metrics)} - {*NO_RATES}
    return {
        "stages": [
            {
                "name": stage["name"],
                "done": stage["seen"],
                "target": stage["target"],
                "asked": stage["metrics"].get("asked"),
                "stand_ins": stage.get("stand_ins", []),
            }
            for stage in stages
        ],
        "rates": [
            {
                "name": name,
                "label": metric_title(name)[0],
                "values": [_value(name, metrics) for metrics in measured],
                "change": _change(name, measured),
            }
            for name in sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
        ],
    }


def stand_ins_sentence(stages: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence that names the stand-ins of a rehearsal and the stages that used them; empty without any."""
    made_up = sorted({name for stage in stages for name in stage.get("stand_ins", ())})
    where = [stage["name"] for stage in stages if stage.get("stand_ins")]
    if not made_up:
        return ""
    sets = [name for name in made_up if name != MODEL_STAND_IN]
    named = ["the model"] if MODEL_STAND_IN in made_up else []
    named += [f"the data {'set' if len(sets) == 1 else 'sets'} {' and '.join(_two(sets))}"] if sets else []
    return (
        f"Stand-ins made up for rehearsals took the place of {' and of '.join(named)} in {' and '.join(_two(where))}: "
        "what was measured there says nothing about the real ones."
    )


def _two(names: Sequence[str]) -> list[str]:
    """Return all names but the last as one text, and the last one."""
    return [", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names)


def _is_bound(name: str, metrics: Mapping[str, float]) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in metrics for end in ("_low", "_high"))


def _value(name: str, metrics: Mapping[str, float]) -> dict[str, float | None] | None:
    if name not in metrics:
        return None
    return {"value": metrics[name], "low": metrics.get(f"{name}_low"), "high": metrics.get(f"{name}_high")}


def _change(name: str, measured: Sequence[Mapping[str, float]]) -> float | None:
    """Return the change from the first evaluation to the last; None with fewer than two."""
    found = [metrics[name] for metrics in measured if name in metrics]
    return found[-1] - found[0] if len(found) > 1 else None


# --- samples ------------------------------------------------------------------------


def samples(run: Mapping[str, Any], artifacts: Mapping[str, str]) -> dict[str, Any] | None:
    """Return problems as the first and the last evaluation answered them; None without transcripts.

    `artifacts` are the texts of `transcripts-<stage>.jsonl` by stage. Problems in both come first, changed ones before
    unchanged ones. If no problem is in both, each evaluation shows its own. Lines that are not answers are skipped.
    """
    stages = [stage["name"] for stage in run["stages"] if stage["name"] in artifacts]
    if not stages:
        return None
    before = {row["key"]: row for row in _rows(artifacts[stages[0]])}
    after = {row["key"]: row for row in _rows(artifacts[stages[-1]])} if len(stages) > 1 else {}
    both = [key for key in before if key in after]
    chosen = sorted(both, key=lambda key: _change_rank(before[key], after[key]))[:SAMPLES_MAX]
    if len(chosen) < SAMPLES_MAX and not both:
        chosen = [*list(before)[: SAMPLES_MAX // 2], *list(after)[: SAMPLES_MAX // 2]]
    return {
        "before": stages[0],
        "after": stages[-1] if len(stages) > 1 else None,
        "shared": len(both),
        "problems": [_problem(before.get(key), after.get(key)) for key in chosen],
    }


def _rows(artifact: str) -> Iterator[Row]:
    for line in artifact.splitlines()[1 : ROWS_READ_MAX + 1]:
        try:
            row = read_json(line, left_out=True)
        except OddJson:
            continue
        if isinstance(row, dict) and all(isinstance(row.get(name), str) for name in ("key", "question", "answer")):
            yield row


def _change_rank(before: Row, after: Row) -> int:
    """Return the sort rank: newly right, newly wrong, still wrong, still right."""
    return [(False, True), (True, False), (False, False), (True, True)].index(
        (bool(before.get("right")), bool(after.get("right")))
    )


def _problem(before: Row | None, after: Row | None) -> dict[str, Any]:
    either = before or after
    assert either is not None
    return {
        "set": str(either.get("set", "")),
        "hard": bool(either.get("hard")),
        "question": _cut(either["question"]),
        "wanted": _cut(str(either.get("wanted", ""))),
        "before": _answer(before),
        "after": _answer(after),
    }


def _answer(row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {"text": _cut(row["answer"]), **{name: bool(row.get(name)) for name in ("right", "format", "cut")}}


def _cut(text: str) -> str:
    if len(text) <= TEXT_CHARS_MAX:
        return text
    return f"{text[:TEXT_CHARS_MAX]} … ({len(text) - TEXT_CHARS_MAX:,} more characters)"
