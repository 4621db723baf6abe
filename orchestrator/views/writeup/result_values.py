"""Values of a write-up about evaluations: accuracies, what changed, and one answer before and after. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.views.history.compared_evaluations import accuracy_test
from orchestrator.views.history.compared_hours import hours_bought
from orchestrator.views.history.results import stand_ins_sentence
from orchestrator.views.run_history import TRANSCRIPTS
from orchestrator.views.writeup.sources import WriteupSources
from orchestrator.views.writeup.traced import (
    TracedNumber,
    TracedText,
    artifact,
    count,
    derived,
    fact,
    machine_s,
    points,
    probability,
    rows,
    share,
)

RATES = ("accuracy", "accuracy_low", "accuracy_high", "format", "hard_accuracy")
SAMPLE_WORDS_MAX = 60
"""Maximum number of words of a question or an answer; `relay artifacts` has the whole text."""
PUBLISHED = "model_published"
"""Name of the fact that an export was published as a model."""
VERSION = re.compile(r"/\d+$|@[0-9a-f]+$")
"""Version at the end of a model's id: a number on Kaggle, a commit at Hugging Face."""
CONVINCING = 0.05
"""p-value below which a difference is called more than chance."""


def evaluation_values(sources: WriteupSources) -> list[dict[str, Any]]:
    """Return every evaluation that has begun, in pipeline order."""
    names = [stage["name"] for stage in sources.run["stages"]]
    return [
        _evaluation(sources, number, names.index(stage["name"]), stage)
        for number, stage in enumerate(sources.compared.evaluations)
    ]


def _evaluation(sources: WriteupSources, number: int, index: int, stage: Mapping[str, Any]) -> dict[str, Any]:
    at, name, measured = f"evaluations[{number}]", stage["name"], stage["metrics"]

    def rate(metric: str) -> TracedNumber | None:
        if metric not in measured:
            return None
        return share(f"{at}.{metric}", measured[metric], sources.of_metric(name, metric))

    asked = measured.get("asked")
    return {
        "name": TracedText(name, f"stages[{index}].name", sources.of_pipeline(f"stages[{index}].name")),
        "finished": stage["seen"] >= stage["target"],
        "asked": None if asked is None else count(f"{at}.asked", asked, sources.of_metric(name, "asked")),
        **{metric: rate(metric) for metric in RATES},
    }


def gain_values(sources: WriteupSources, evaluations: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the change from the first finished evaluation to the last, with a test; None with fewer than two."""
    finished = [stage for stage in sources.compared.evaluations if stage["seen"] >= stage["target"]]
    if len(finished) < 2:
        return None
    before, after = finished[0], finished[-1]
    number = {stage["name"]: index for index, stage in enumerate(sources.compared.evaluations)}
    first, last = evaluations[number[before["name"]]], evaluations[number[after["name"]]]
    names = (first["accuracy"].name, last["accuracy"].name)
    change = after["metrics"]["accuracy"] - before["metrics"]["accuracy"]
    bought = hours_bought(sources.compared)["gains"][-1]
    quota_s = bought["quota_s"]
    how = "orchestrator.views.history.compared_hours.hours_bought"
    spent = rows("session, metric", ["running_at", "ended_at", "seconds", "at_s"], how, run=sources.run["id"])
    return {
        "first": first,
        "last": last,
        "change": points("gain.change", change, derived("difference", *names)),
        "quota": None if quota_s is None else machine_s("gain.quota", quota_s, spent),
        **_test(sources, before, after),
    }


def _test(sources: WriteupSources, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    found = accuracy_test(sources.compared, after, sources.compared, before)
    if found["paired"]:
        files = ", ".join(f"artifacts/{sources.run['id']}/verdicts-{stage['name']}.jsonl" for stage in (before, after))
        source = artifact(files, "verdicts on the same problems, tested by McNemar's exact test")
    else:
        source = derived("Fisher's exact test of right and asked answers", "evaluations")
    counted = {"problems": "problems", "gained": "only_run", "lost": "only_with"}
    return {
        "test": found["test"],
        "paired": found["paired"],
        "p": None if found["p"] is None else probability("gain.p", found["p"], source),
        "convincing": found["p"] is not None and found["p"] < CONVINCING,
        **{
            name: count(f"gain.{name}", found[key], source) if found["paired"] else None
            for name, key in counted.items()
        },
    }


def published_values(sources: WriteupSources) -> list[TracedText]:
    """Return the newest id under which the run was published at each place, in the order of the places."""
    newest: dict[str, tuple[str, int]] = {}
    for logged in sources.facts:
        if logged.fact.name == PUBLISHED:
            model = str(logged.fact.to_dict()["model"])
            newest[VERSION.sub("", model)] = model, logged.number
    return [
        TracedText(model, f"published[{number}]", fact(in_log, PUBLISHED, "model"))
        for number, (model, in_log) in enumerate(newest.values())
    ]


def sample_values(sources: WriteupSources) -> dict[str, Any] | None:
    """Return one problem that the first evaluation got wrong and the last one right; None if there is none."""
    samples = sources.history["samples"]
    for problem in samples["problems"] if samples and samples["after"] else ():
        before, after = problem["before"], problem["after"]
        if not (before and after and after["right"] and not before["right"]):
            continue
        first, last = (
            f"artifacts/{sources.run['id']}/{TRANSCRIPTS.format(stage=samples[end])}" for end in ("before", "after")
        )
        return {
            "question": TracedText(_cut(problem["question"]), "sample.question", artifact(first, "question")),
            "before": TracedText(_cut(before["text"]), "sample.before", artifact(first, "answer")),
            "after": TracedText(_cut(after["text"]), "sample.after", artifact(last, "answer")),
        }
    return None


def _cut(text: str) -> str:
    words = text.split()
    return " ".join(words[:SAMPLE_WORDS_MAX]) + (" …" if len(words) > SAMPLE_WORDS_MAX else "")


def stand_ins_value(sources: WriteupSources) -> TracedText | None:
    """Return a sentence that names the stand-ins of a rehearsal; None without any."""
    sentence = stand_ins_sentence(sources.run["stages"])
    source = rows("metric", ["name"], "metrics stand_in_*", run=sources.run["id"])
    return TracedText(sentence, "stand_ins", source) if sentence else None
