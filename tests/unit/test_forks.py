"""What may differ in a fork · what fits a warm start · the pipelines that a sweep makes."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.app.forks import plan_sweep
from orchestrator.base.errors import BadInput
from orchestrator.pipeline.fork import fork_problem
from orchestrator.pipeline.loader import check, parse
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.settings import derived_name, read_setting, shared_stages, variants
from orchestrator.pipeline.warm_start import misfit
from stages.contract import OPTIMIZER, WEIGHTS, Cursor
from tests.unit.core.situations import row

SFT = {"name": "sft", "kind": "sft", "steps": 100, "options": {"data": ["gsm8k"], "batch": 8, "learning_rate": 1e-4}}
GRPO = {"name": "grpo", "kind": "grpo", "steps": 50, "options": {"data": ["gsm8k"], "beta": 0.04}}
ASKS = {"name": "asks", "kind": "evaluate", "steps": 4, "options": {"data": ["gsm8k"]}}
MODEL = {"kind": "gemma3-1b", "source": "google/gemma-3/flax/gemma3-1b-it/1", "system": "Think."}


def pipeline(*stages: Any, **changes: Any) -> Pipeline:
    """SFT, then GRPO, then an evaluation."""
    return check({"name": "p", "model": MODEL, "stages": list(stages or (SFT, GRPO, ASKS)), **changes}, "p.yaml")


def changed(stage: dict[str, Any], steps: int | None = None, **options: Any) -> dict[str, Any]:
    return stage | {"steps": steps or stage["steps"], "options": {**stage["options"], **options}}


PARENT = pipeline()
AFTER = Cursor(stage="sft", step=100)
MIDWAY = Cursor(stage="sft", step=40)


@pytest.mark.parametrize(
    ("at", "fork"),
    [
        row("nothing", AFTER, pipeline()),
        row("a default that is written out", AFTER, pipeline(changed(SFT, schedule="cosine"), GRPO, ASKS)),
        row("limits, machine and packages", MIDWAY, pipeline(session={"limit_s": 600}, accelerator="TpuV6E8",
            environment=["x==1"], keep_checkpoints=9, name="other")),
        row("a later stage", AFTER, pipeline(SFT, changed(GRPO, 500, beta=0.0, batch=16, mode="full"), ASKS)),
        row("another stage instead", AFTER, pipeline(SFT, SFT | {"name": "more"}, ASKS)),
        row("no stage any more", AFTER, pipeline(SFT)),
        row("more steps of a stage that was finished", AFTER, pipeline(changed(SFT, 300), GRPO, ASKS)),
        row("the rate in the middle of a stage", MIDWAY, pipeline(changed(SFT, learning_rate=1e-5), GRPO, ASKS)),
        row("fewer steps than planned", MIDWAY, pipeline(changed(SFT, 40), GRPO, ASKS)),
        row("an evaluation that is left out after the stage", AFTER, pipeline(SFT, GRPO)),
    ],
)  # fmt: skip
def test_everything_after_the_place_of_the_fork_may_differ(at: Cursor, fork: Pipeline) -> None:
    assert fork_problem(PARENT, fork, at) == ""


@pytest.mark.parametrize(
    ("at", "fork", "said"),
    [
        row("the seed", AFTER, pipeline(seed=1), "seed changed from 0 to 1, and all that was trained"),
        row("the model", AFTER, pipeline(model=MODEL | {"system": "Go."}), "model.system changed"),
        row("a finished stage", Cursor(stage="grpo", step=5), pipeline(changed(SFT, batch=4), GRPO, ASKS),
            "stages[0].options.batch changed from 8 to 4, and that stage is finished at grpo:5"),
        row("its end", Cursor(stage="grpo", step=5), pipeline(changed(SFT, 99), GRPO, ASKS),
            "stages[0].steps changed from 100 to 99"),
        row("the order of stages", AFTER, pipeline(GRPO, SFT, ASKS), "the stage sft has another place"),
        row("a finished stage that is gone", Cursor(stage="grpo", step=5), pipeline(GRPO, ASKS), "stages[0]"),
        row("anything of a stage that is over", AFTER, pipeline(changed(SFT, learning_rate=1e-5), GRPO, ASKS),
            "stages[0].options.learning_rate changed from 0.0001 to 1e-05, and 100 of the stage's steps depend on it"),
        row("the data in the middle of a stage", MIDWAY, pipeline(changed(SFT, data=["magpie"]), GRPO, ASKS),
            'stages[0].options.data[0] changed from "gsm8k" to "magpie", and 40 of the stage\'s steps depend on it'),
        row("its weights", MIDWAY, pipeline(changed(SFT, mode="lora"), GRPO, ASKS), "stages[0].options.mode changed"),
        row("its kind", MIDWAY, pipeline(GRPO | {"name": "sft", "steps": 100}, GRPO, ASKS), "kind changed from sft to grpo"),
        row("less than is done", MIDWAY, pipeline(changed(SFT, 39), GRPO, ASKS), "steps is 39, and 40 of its steps"),
        row("a reference model that was not kept", Cursor(stage="grpo", step=5),
            pipeline(SFT, changed(GRPO, beta=0), ASKS), "stages[1].options.beta changed"),
        row("steps of an evaluation that is finished", Cursor(stage="asks", step=4), pipeline(SFT, GRPO, changed(ASKS, 8)),
            "stages[2].steps changed from 4 to 8, and the stage is finished"),
        row("problems to ask that were trained on", AFTER, pipeline(SFT, GRPO, changed(ASKS, data=["mbpp"])),
            "an evaluation asks mbpp, and the steps until sft:100 were not kept apart"),
        row("problems that are not asked any more, midway", MIDWAY, pipeline(SFT, GRPO),
            "no evaluation asks gsm8k any more, which changes the examples of the stage sft"),
    ],
)  # fmt: skip
def test_what_was_trained_until_the_fork_may_not_change(at: Cursor, fork: Pipeline, said: str) -> None:
    assert said in fork_problem(PARENT, fork, at)


@pytest.mark.parametrize(
    ("rate", "later", "at", "refused"),
    [
        row("a later rate holds already", 1e-6, {"30": 2e-5}, 40, True),
        row("it holds from here on", 1e-6, {"40": 2e-5}, 40, True),
        row("it holds for the steps until then", 1e-6, {"60": 2e-5}, 40, False),
        row("the later rate changed", 1e-4, {"30": 3e-5}, 40, False),
        row("the later rate was removed", 1e-6, {}, 40, False),
    ],
)
def test_a_learning_rate_that_no_step_would_follow_is_refused(
    rate: float, later: dict[str, float], at: int, refused: bool
) -> None:
    known = pipeline(changed(SFT, learning_rate_after={"30": 2e-5}), GRPO, ASKS)
    fork = pipeline(changed(SFT, learning_rate=rate, learning_rate_after=later), GRPO, ASKS)
    found = fork_problem(known, fork, Cursor(stage="sft", step=at))
    assert ("only learning_rate_after decides about the steps after 40" in found) == refused
    assert bool(found) == refused


def own(source: str, files: dict[str, str] | None = None, steps: int = 5) -> Pipeline:
    stages = [
        {"name": "mine", "kind": "mine:train", "steps": steps},
        {"name": "after", "kind": "other:train", "steps": 5},
    ]
    base = Pipeline.model_validate({"name": "p", "stages": stages}, strict=False)
    sources = {"mine.py": source, "other.py": f"# {source}"}
    inputs = base.inputs.model_copy(update={"files": tuple(files or ()), "sha256": files or {}})
    return base.model_copy(update={"sources": sources, "inputs": inputs})


@pytest.mark.parametrize(
    ("at", "steps", "said"),
    [
        row("the stage is over", 5, 5, "mine.py changed, and the finished stage mine was carried out with it"),
        row("the stage goes on", 3, 5, ""),
        row("the stage is longer in the fork", 5, 9, ""),
    ],
)
def test_code_of_a_finished_stage_may_not_change(at: int, steps: int, said: str) -> None:
    found = fork_problem(own("old"), own("new", steps=steps), Cursor(stage="mine", step=at))
    assert found.startswith(said) if said else found == ""


def with_file(sha256: str | None) -> Pipeline:
    base = pipeline()
    stages = (base.stages[0].model_copy(update={"options": {"data": ["my.jsonl"]}}), *base.stages[1:])
    files = {"my.jsonl": sha256} if sha256 else {}
    inputs = base.inputs.model_copy(update={"files": tuple(files), "sha256": files})
    return base.model_copy(update={"stages": stages, "inputs": inputs})


def test_data_that_was_trained_on_may_not_change() -> None:
    assert fork_problem(with_file("a"), with_file("a"), AFTER) == ""
    assert "my.jsonl has another content" in fork_problem(with_file("a"), with_file("b"), AFTER)
    assert "my.jsonl is not in inputs.files any more" in fork_problem(with_file("a"), with_file(None), AFTER)


# --- warm starts -----------------------------------------------------------------

TRAINED = {"weights": "w", "optimizer": "o"}
LORA = changed(SFT, mode="lora", lora_rank=4)


@pytest.mark.parametrize(
    ("mine", "theirs", "keeps", "contents", "said"),
    [
        row("weights", pipeline(GRPO), PARENT, WEIGHTS, {"weights": "w"}, ""),
        row("weights of another adapter", pipeline(LORA), PARENT, WEIGHTS, TRAINED, ""),
        row("another prompt and seed", pipeline(SFT, model=MODEL | {"system": "Go."}, seed=3), PARENT, WEIGHTS, TRAINED, ""),
        row("the optimizer's state", pipeline(changed(SFT, learning_rate=1e-6)), PARENT, OPTIMIZER, TRAINED, ""),
        row("another model", pipeline(SFT, model={**MODEL, "source": "/a"}), PARENT, WEIGHTS, TRAINED,
            "model.source is /a here and google/gemma-3/flax/gemma3-1b-it/1 there: use the same"),
        row("another type", pipeline(SFT, model={**MODEL, "dtype": "bfloat16"}), PARENT, WEIGHTS, TRAINED,
            "model.dtype is bfloat16 here and float32 there"),
        row("other digests", pipeline(model=MODEL | {"sha256": "a"}), pipeline(model=MODEL | {"sha256": "b"}), WEIGHTS,
            TRAINED, "model.sha256 names other weights there"),
        row("no model", PARENT, PARENT, WEIGHTS, {"state": "s"}, "its stage sft wrote no model of relay's"),
        row("no optimizer", PARENT, PARENT, OPTIMIZER, {"weights": "w"}, "keeps no optimizer state: add --weights-only"),
        row("another kind", pipeline(GRPO), PARENT, OPTIMIZER, TRAINED,
            "the stage grpo is of kind grpo and the checkpoint's of kind sft: add --weights-only"),
        row("another adapter", pipeline(LORA), pipeline(changed(LORA, lora_rank=8)), OPTIMIZER, TRAINED,
            "lora_rank of the stage sft is 4, and 8 where the checkpoint was trained: add --weights-only"),
    ],
)  # fmt: skip
def test_what_fits_a_warm_start(
    mine: Pipeline, theirs: Pipeline, keeps: str, contents: dict[str, str], said: str
) -> None:
    found = misfit(mine, theirs, MIDWAY, keeps, contents)
    assert said in found if said else found == ""


ROLLS = changed(GRPO, mode="full", beta=0.0)


@pytest.mark.parametrize(("keeps", "refused"), [(OPTIMIZER, True), (WEIGHTS, False)])
def test_a_full_optimizer_fits_only_if_the_reference_model_is_as_it_was(keeps: str, refused: bool) -> None:
    found = misfit(pipeline(changed(ROLLS, beta=0.5)), pipeline(ROLLS), Cursor(stage="grpo", step=5), keeps, TRAINED)
    assert ("beta of the stage grpo needs the reference model" in found) == refused
    assert misfit(pipeline(ROLLS), pipeline(ROLLS), Cursor(stage="grpo", step=5), keeps, TRAINED) == ""


# --- the section in the file, and sweeps ---------------------------------------------


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        row("no run", "{at: 'sft:40'}", "origin.run is missing"),
        row("no place", "{run: q-0002, at: sft}", "origin.at: 'sft' should have the form stage:step"),
        row("no such stage", "{run: q-0002, at: 'sft:40'}", "origin.at is sft:40, and the pipeline has no such stage"),
        row("too short", "{run: q-0002, at: 'one:40'}", "the pipeline ends that stage after 6 steps"),
        row("no such part", "{run: q-0002, at: 'one:4', keeps: all}", "origin.keeps"),
    ],
)
def test_an_origin_that_no_run_can_have_is_refused(origin: str, said: str) -> None:
    text = f"name: p\naccelerator: cpu\norigin: {origin}\nstages: [{{name: one, kind: counting, steps: 6}}]\n"
    with pytest.raises(BadInput) as refused:
        parse(text, "p.yaml")
    assert said in str(refused.value)


def test_a_fork_point_is_the_end_of_a_stage_and_sessions_end_there() -> None:
    found = pipeline(fork_points=["grpo", "sft", "asks"])
    assert found.kept_places == (AFTER, Cursor(stage="grpo", step=50))
    starts = [found.beginning, MIDWAY, AFTER, Cursor(stage="grpo", step=50)]
    assert [found.stop_after(start) for start in starts] == [AFTER, AFTER, Cursor(stage="grpo", step=50), None]
    with pytest.raises(BadInput, match=r"fork_points\[0\]"):
        pipeline(fork_points=["sfd"])


def test_a_sweep_is_the_product_of_its_values_under_names_of_their_own() -> None:
    settings = [read_setting(text, PARENT) for text in ("grpo.beta=0.01, 0.02", "grpo.steps=5,6", "asks.batch=16")]
    found = variants(PARENT, settings)
    assert [dict(each.values) for each in found] == [
        {"grpo.beta": beta, "grpo.steps": steps, "asks.batch": 16} for beta in (0.01, 0.02) for steps in (5, 6)
    ]
    assert [each.pipeline.name for each in found] == ["p-v1", "p-v2", "p-v3", "p-v4"]
    assert [each.pipeline.stages[1].steps for each in found] == [5, 6, 5, 6]
    assert found[3].pipeline.stages[1].options["beta"] == 0.02
    assert shared_stages(settings, PARENT) == 1
    assert all(fork_problem(found[0].pipeline, other.pipeline, AFTER) == "" for other in found)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        row("no value", ["grpo.beta"], "write stage.option=value,value"),
        row("no stage", ["grop.beta=1,2"], "there is no stage grop: the stages are sft, grpo, asks"),
        row("no option", ["grpo.bata=1,2"], "bata"),
        row("another type", ["grpo.mode=full,half"], "mode"),
        row("no steps", ["grpo.steps=0,1"], "0 should be a whole number from 1"),
        row("one pipeline", ["grpo.beta=1"], "at least two pipelines"),
        row("twice the same value", ["grpo.beta=1,1"], "a value is given twice"),
        row("twice the same option", ["grpo.beta=1,2", "grpo.beta=3,4"], "--set grpo.beta is given twice"),
        row("too many", ["grpo.beta=1,2,3,4,5", "sft.batch=1,2,4,8"], "20 pipelines are more than 16"),
    ],
)  # fmt: skip
def test_a_sweep_that_makes_no_sense_is_refused(texts: list[str], said: str) -> None:
    with pytest.raises(BadInput) as refused:
        variants(PARENT, [read_setting(text, PARENT) for text in texts])
    assert said in str(refused.value)


def test_each_pipeline_of_a_sweep_is_checked_as_a_file_is(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    last = {"name": "out", "kind": "export", "steps": 1}
    path.write_text(json.dumps({"name": "p", "model": MODEL, "stages": [SFT, GRPO, last]}), encoding="utf-8")
    (tmp_path / "mine.py").write_text("def r(completions, **more): ...\n", encoding="utf-8")
    found = plan_sweep(path, ('grpo.rewards={"mine:r": 1.0},{"correctness": 1.0}',)).variants
    assert [list(each.pipeline.sources) for each in found] == [["mine.py"], []]
    with pytest.raises(BadInput, match=r"stages\[2\]"):
        plan_sweep(path, ("out.steps=1,2",))


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        row("free", (), "gsm-fork"),
        row("taken", ("gsm-fork", "gsm-fork-2"), "gsm-fork-3"),
    ],
)
def test_a_derived_name_is_free(taken: tuple[str, ...], expected: str) -> None:
    assert derived_name("gsm", "fork", taken) == expected
    assert derived_name("a-name-of-thirty-characters-ab", "fork") == "a-name-of-thirty-characte-fork"
