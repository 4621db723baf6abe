"""What may change in the pipeline of a run that has begun: each key and option, and what a change does to a stage under way."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.base.errors import BadInput
from orchestrator.pipeline.change_text import change_lines
from orchestrator.pipeline.changes import KEYS, OPTIONS, RunProgress, When, flat, merged
from orchestrator.pipeline.environments import DEFAULT
from orchestrator.pipeline.loader import check, parse
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import OriginOptions
from stages.catalog import KINDS
from stages.contract import Cursor
from stages.session.package_lock import TITLE

BEGUN: dict[str, Any] = {
    "name": "gsm",
    "accelerator": "cpu",
    "model": {"dtype": "float32"},
    "session": {"limit_s": 100},
    "inputs": {"datasets": ["me/a"]},
    "stages": [
        {"name": "sft", "kind": "sft", "steps": 100, "options": {"batch": 8, "learning_rate": 0.003}},
        {"name": "grpo", "kind": "grpo", "steps": 200, "options": {"learning_rate": 0.001}},
        {"name": "eval", "kind": "evaluate", "steps": 4, "options": {}},
    ],
}
IN_GRPO = RunProgress(Cursor(stage="grpo", step=40), frozenset({"sft", "grpo"}))
UNTRAINED = RunProgress()


def pipeline(value: dict[str, Any] | None = None) -> Pipeline:
    return check(BEGUN if value is None else value, "p.yaml")


def changed(key: str, value: Any, base: dict[str, Any] = BEGUN) -> dict[str, Any]:
    """The pipeline with one value changed: `session.limit_s`, `grpo.steps` or `grpo.options.beta`."""
    first, _, rest = key.partition(".")
    if first in ("sft", "grpo", "eval"):
        stages = [changed(rest, value, stage) if stage["name"] == first else stage for stage in base["stages"]]
        return base | {"stages": stages}
    return base | {first: changed(rest, value, base.get(first, {})) if rest else value}


def taken(key: str, value: Any, progress: RunProgress = IN_GRPO, old: Pipeline | None = None) -> Pipeline:
    return merged(old or pipeline(), pipeline(changed(key, value)), progress, "gsm-1")


def options(found: Pipeline, stage: str) -> dict[str, Any]:
    return next(each.options for each in found.stages if each.name == stage)


def test_every_key_of_a_pipeline_is_classified() -> None:
    assert set(KEYS) == {*flat(pipeline()), "stages"}


def test_every_option_of_every_kind_is_classified_and_nothing_else_is() -> None:
    known = {field.name for kind in KINDS.values() if kind.options is not None for field in fields(kind.options)}
    assert set(OPTIONS) == known


def test_what_cannot_change_midway_says_why() -> None:
    for name, rule in (KEYS | OPTIONS).items():
        assert bool(rule.why) == (rule.when not in (When.ANY_TIME, When.FROM_NOW, When.BETWEEN_SESSIONS)), name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("session.limit_s", 200),
        ("session.margin_s", 5),
        ("session.save_interval_s", 9),
        ("session.min_session_s", 9),
        ("session.attempts", 9),
        ("account.hours_per_week", 9),
        ("account.slots", 2),
        ("handoff", "kernel-output"),
        ("on_timeout", "park"),
        ("exactness", "strict"),
        ("keep_checkpoints", 5),
        ("internet", False),
        ("inputs.datasets", ["me/b"]),
        ("inputs.models", ["me/m/flax/v/1"]),
        ("inputs.wheels", "me/w"),
        ("expect.queue_s", 9),
        ("grpo.options.guard_spike", 9.0),
        ("grpo.options.show_every", 0),
        ("grpo.options.probe_problems", 4),
        ("grpo.steps", 300),
        ("eval.steps", 9),
        ("eval.options.batch", 16),
        ("eval.name", "other"),
    ],
)
def test_what_no_finished_step_depends_on_is_taken_over_while_a_stage_is_under_way(key: str, value: Any) -> None:
    if key == "eval.name":
        wanted = pipeline(BEGUN | {"stages": [*BEGUN["stages"][:2], BEGUN["stages"][2] | {"name": value}]})
        assert merged(pipeline(), wanted, IN_GRPO, "gsm-1") == wanted
        return
    found = taken(key, value)
    assert change_lines(pipeline(), found)
    assert merged(found, found, IN_GRPO, "gsm-1") is found


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("name", "other", "name cannot change"),
        ("seed", 1, "seed cannot change from 0 to 1, since it orders the examples and draws the samples"),
        ("model.dtype", "bfloat16", "model cannot change"),
        ("accelerator", "NvidiaTeslaT4", "accelerator cannot change"),
        ("environment", ["a==1"], "environment cannot change"),
        ("sft.steps", 120, "steps of stage sft cannot change from 100 to 120, since it is finished"),
        ("sft.options.learning_rate", 0.1, "learning_rate of stage sft cannot change"),
        (
            "sft.options.guard_spike",
            1.0,
            "guard_spike of stage sft cannot change from 5.0 to 1.0, since it is finished",
        ),
        ("grpo.steps", 40, "steps of stage grpo cannot change from 200 to 40, since 40 steps are done"),
        ("grpo.kind", "continued", "kind of stage grpo cannot change"),
        ("grpo.options.batch", 16, "batch of stage grpo cannot change from 8 to 16, since it decides which examples"),
        ("grpo.options.beta", 0.1, "beta of stage grpo cannot change from 0.04 to 0.1, since it is a part of every"),
        ("grpo.options.mode", "full", "mode of stage grpo cannot change"),
        ("grpo.options.rewards", {"structure": 1}, "rewards of stage grpo cannot change"),
        ("grpo.options.learning_rate_after", {"39": 0.1}, "learning_rate_after of stage grpo cannot change"),
        ("grpo.options.decay_steps", 9, "decay_steps of stage grpo cannot change"),
        ("stages", BEGUN["stages"][1:], "stage sft cannot be removed, since sessions have worked on it"),
        ("stages", [BEGUN["stages"][1], BEGUN["stages"][0]], "the stages sft, grpo have begun in this order"),
    ],
)
def test_what_finished_steps_depend_on_is_refused_with_the_reason_and_the_remedy(
    key: str, value: Any, why: str
) -> None:
    with pytest.raises(BadInput) as refused:
        taken(key, value)
    assert why in str(refused.value)
    assert "relay fork gsm-1" in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("eval.kind", "curate", "no evaluation asks gsm8k any more, which changes the examples of the stage grpo"),
        (
            "eval.options.data",
            ["gsm8k", "mbpp"],
            "an evaluation asks mbpp, and the steps until grpo:40 were not kept apart",
        ),
        ("stages", BEGUN["stages"][:2], "no evaluation asks gsm8k any more"),
    ],
)
def test_an_evaluation_stays_that_decides_which_rows_are_trained_on(key: str, value: Any, why: str) -> None:
    with pytest.raises(BadInput) as refused:
        taken(key, value)
    assert why in str(refused.value)
    assert taken(key, value, UNTRAINED) == pipeline(changed(key, value))


COMPUTED = {"jax": "0.10.2", "libtpu": "0.0.17", "datasets": "4.4.1", "math-verify": "0.9.0"}
KNOWN = replace(IN_GRPO, packages=COMPUTED)


@pytest.mark.parametrize(
    ("old", "new", "progress", "possible"),
    [
        (["jax==0.10.2"], ["jax==0.10.2", "libtpu==0.0.17"], KNOWN, True),
        (["jax==0.10.2"], ["jax==0.10.2", "libtpu==0.0.17"], IN_GRPO, False),
        (["jax==0.10.2"], ["jax==0.10.2", "libtpu==0.0.42.1"], KNOWN, False),
        (["jax==0.10.2"], ["libtpu==0.0.17"], KNOWN, False),
        (["jax==0.10.2"], ["jax==0.10.3"], KNOWN, False),
        (["jax==0.10.2"], ["jax==0.10.2", "libtpu"], KNOWN, False),
        (["datasets"], ["datasets==4.4.1", "Math_Verify[antlr4_13_2]==0.9.0"], KNOWN, True),
        (["datasets"], ["datasets==5.2"], KNOWN, False),
    ],
)
def test_the_environment_may_pin_what_the_checkpoint_was_computed_with_and_nothing_else(
    old: list[str], new: list[str], progress: RunProgress, possible: bool
) -> None:
    known = pipeline(BEGUN | {"environment": old})
    wanted = pipeline(BEGUN | {"environment": new})
    if possible:
        assert merged(known, wanted, progress, "gsm-1") == wanted
        return
    with pytest.raises(BadInput, match="environment cannot change"):
        merged(known, wanted, progress, "gsm-1")


def locked(*pins: str) -> Pipeline:
    """The pipeline whose environment is a lock file of these packages."""
    hashed = "".join(f"{pin} --hash=sha256:{'0' * 64}\n" for pin in pins)
    text = f"{TITLE}\n# python: 3.12\n# platform: p\n# size_bytes: 1\n# pins: jax==0.10.2\n{hashed}"
    return pipeline().model_copy(update={"environment": "own.lock.txt", "own_lock": text})


@pytest.mark.parametrize(
    ("lock", "progress", "possible"),
    [
        (("jax==0.10.2", "libtpu==0.0.17", "math-verify==0.9.0"), KNOWN, True),
        (("jax==0.10.2", "packaging==25.0"), KNOWN, True),
        (("jax==0.10.2", "libtpu==0.0.42.1"), KNOWN, False),
        (("jax==0.10.2", "libtpu==0.0.17"), IN_GRPO, False),
    ],
)
def test_a_lock_may_take_the_place_of_pins_if_it_has_what_the_checkpoint_was_computed_with(
    lock: tuple[str, ...], progress: RunProgress, possible: bool
) -> None:
    known, wanted = pipeline(BEGUN | {"environment": ["jax==0.10.2"]}), locked(*lock)
    if possible:
        assert merged(known, wanted, progress, "gsm-1") == wanted
        return
    with pytest.raises(BadInput, match="environment cannot change"):
        merged(known, wanted, progress, "gsm-1")


def test_the_same_lock_may_have_another_name_and_other_packages_are_named_with_their_file() -> None:
    known = locked("jax==0.10.2")
    renamed = known.model_copy(update={"environment": "other.lock.txt"})
    assert merged(known, renamed, IN_GRPO, "gsm-1") == renamed
    with pytest.raises(BadInput, match=r"^environment cannot change what own\.lock\.txt holds, since other versions"):
        merged(known, locked("jax==0.10.2", "six==1.17.0"), IN_GRPO, "gsm-1")
    both = locked("jax==0.10.2", "six==1.17.0").model_copy(update={"environment": "other.lock.txt"})
    with pytest.raises(BadInput, match=r"^environment cannot change from .own.* to .other") as refused:
        merged(known, both, IN_GRPO, "gsm-1")
    assert "own_lock" not in str(refused.value)


def test_the_name_of_the_default_environment_may_be_written_out() -> None:
    assert taken("environment", DEFAULT).environment == DEFAULT


def test_pins_that_a_run_keeps_with_spaces_are_the_same_pins() -> None:
    known = pipeline(BEGUN | {"environment": ["jax==0.10.2"]}).model_copy(update={"environment": ("jax == 0.10.2",)})
    assert taken("environment", ["jax==0.10.2"], old=known) == known


def begun_from(keeps: str, at: str = "sft:9") -> Pipeline:
    """The pipeline as a run that begins from another run's checkpoint has it."""
    origin = OriginOptions(run="old-1a2b", at=at, keeps=keeps, checkpoint="old-1a2b-c0001", digest="d" * 64)
    return pipeline().model_copy(update={"origin": origin})


@pytest.mark.parametrize(
    ("keeps", "key", "value", "why"),
    [
        (
            "optimizer",
            "sft.options.mode",
            "lora",
            "mode of the stage sft is lora, and full where the checkpoint was trained",
        ),
        ("optimizer", "stages", BEGUN["stages"][1:], "the stage grpo is of kind grpo and the checkpoint's of kind sft"),
        ("weights", "model.dtype", "bfloat16", "model.dtype is bfloat16 here and float32 there"),
    ],
)
def test_a_run_that_begins_with_a_checkpoint_keeps_fitting_it_until_it_has_one_of_its_own(
    keeps: str, key: str, value: Any, why: str
) -> None:
    with pytest.raises(BadInput, match="the run begins from old-1a2b at sft:9") as refused:
        taken(key, value, UNTRAINED, begun_from(keeps))
    assert why in str(refused.value)
    assert taken("sft.options.batch", 4, UNTRAINED, begun_from(keeps)).stages[0].options["batch"] == 4


@pytest.mark.parametrize("named", ["old-1a2b", "old"])
def test_an_origin_that_a_user_wrote_by_hand_is_the_runs_own(named: str) -> None:
    known = begun_from("weights")
    by_hand = pipeline().model_copy(update={"origin": OriginOptions(run=named, at="sft:9", keeps="weights")})
    assert merged(known, by_hand, UNTRAINED, "gsm-1") is known
    other = by_hand.model_copy(update={"origin": OriginOptions(run=named, at="sft:8", keeps="weights")})
    with pytest.raises(BadInput, match="origin cannot change"):
        merged(known, other, UNTRAINED, "gsm-1")


def test_fork_points_stay_unless_their_stage_is_removed() -> None:
    known = pipeline().model_copy(update={"fork_points": ("sft", "grpo")})
    assert taken("session.limit_s", 200, old=known).fork_points == ("sft", "grpo")
    wanted = pipeline(BEGUN | {"stages": [BEGUN["stages"][0], BEGUN["stages"][2]]})
    assert merged(known, wanted, UNTRAINED, "gsm-1").fork_points == ("sft",)


def test_every_mistake_is_named_at_once() -> None:
    wanted = pipeline(changed("seed", 1, changed("grpo.options.beta", 0.1)))
    with pytest.raises(BadInput, match=r"seed .*; beta of stage grpo"):
        merged(pipeline(), wanted, IN_GRPO, "gsm-1")


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", 1), ("model.dtype", "bfloat16"), ("environment", ["a==1"]), ("sft.options.batch", 4), ("sft.steps", 9)],
)
def test_until_the_first_checkpoint_what_is_trained_may_change(key: str, value: Any) -> None:
    assert taken(key, value, UNTRAINED) == pipeline(changed(key, value))


def test_a_stage_that_sessions_have_worked_on_stays_also_before_the_first_checkpoint() -> None:
    with pytest.raises(BadInput, match="stage sft cannot be removed"):
        taken("stages", BEGUN["stages"][1:], RunProgress(None, frozenset({"sft"})))


def test_stages_are_added_after_those_that_have_begun() -> None:
    more = [*BEGUN["stages"][:2], {"name": "more", "kind": "counting", "steps": 3}, BEGUN["stages"][2]]
    found = taken("stages", more)
    assert [stage.name for stage in found.stages] == ["sft", "grpo", "more", "eval"]
    assert change_lines(pipeline(), found) == ("stage more: added, counting, 3 steps",)


# --- learning rates --------------------------------------------------------------


def test_a_learning_rate_of_a_stage_under_way_holds_after_the_steps_that_are_done() -> None:
    found = taken("grpo.options.learning_rate", 0.0005)
    assert options(found, "grpo") == {"learning_rate": 0.001, "learning_rate_after": {"40": 0.0005}}
    assert change_lines(pipeline(), found) == ("stage grpo: learning_rate: 0.001 → 0.0005 after 40 steps",)


def test_the_same_file_changes_nothing_once_more_also_when_more_steps_are_done() -> None:
    found = taken("grpo.options.learning_rate", 0.0005)
    later = RunProgress(Cursor(stage="grpo", step=90), IN_GRPO.worked_on)
    assert taken("grpo.options.learning_rate", 0.0005, later, found) is found
    ended = RunProgress(Cursor(stage="eval", step=2), IN_GRPO.worked_on)
    assert taken("grpo.options.learning_rate", 0.0005, ended, found) is found


def test_a_second_change_keeps_the_first() -> None:
    found = taken("grpo.options.learning_rate", 0.0005)
    later = RunProgress(Cursor(stage="grpo", step=90), IN_GRPO.worked_on)
    again = taken("grpo.options.learning_rate", 0.0001, later, found)
    assert options(again, "grpo")["learning_rate_after"] == {"40": 0.0005, "90": 0.0001}
    assert change_lines(found, again) == ("stage grpo: learning_rate: 0.0005 → 0.0001 after 90 steps",)


def test_a_change_is_forgotten_where_the_run_goes_on_from_before_it() -> None:
    found = taken("grpo.options.learning_rate", 0.0005)
    earlier = RunProgress(Cursor(stage="grpo", step=20), IN_GRPO.worked_on)
    again = taken("grpo.options.learning_rate", 0.001, earlier, found)
    assert options(again, "grpo") == {"learning_rate": 0.001}
    assert change_lines(found, again) == ("stage grpo: learning_rate: no change after 40 steps any more",)


def test_a_learning_rate_from_a_stated_step_on_is_taken_as_it_is() -> None:
    found = taken("grpo.options.learning_rate_after", {"60": 0.0002})
    assert options(found, "grpo") == {"learning_rate": 0.001, "learning_rate_after": {"60": 0.0002}}


def test_steps_are_keys_in_yaml_too() -> None:
    text = "name: a\nstages: [{name: a, kind: sft, steps: 9, options: {learning_rate_after: {4: 1e-4}}}]\n"
    assert parse(text, "p.yaml").stages[0].options == {"learning_rate_after": {"4": "1e-4"}}
    with pytest.raises(BadInput, match="learning_rate_after should be a number of steps above 0"):
        parse(text.replace("4:", "soon:"), "p.yaml")
    with pytest.raises(BadInput, match="learning_rate_after should be of positive rates"):
        parse(text.replace("1e-4", "0"), "p.yaml")


def test_more_steps_of_a_stage_under_way_leave_its_decay_as_it_was() -> None:
    found = taken("grpo.steps", 300)
    assert (options(found, "grpo")["decay_steps"], found.stages[1].steps) == (200, 300)
    assert change_lines(pipeline(), found) == (
        "stage grpo: steps: 200 → 300",
        "stage grpo: the learning rate decays over the first 200 steps as before, and then stays at its lowest",
    )
    assert options(taken("grpo.steps", 400, old=found), "grpo")["decay_steps"] == 200


# --- the user's own code -----------------------------------------------------------


def test_a_mended_stage_and_its_options_are_taken_over(tmp_path: Path) -> None:
    text = "name: own\nstages: [{name: a, kind: 'own:train', steps: 9, options: {x: 1}}]\n"
    (tmp_path / "own.py").write_text("def train(context):\n    broken\n", encoding="utf-8")
    old = parse(text, "p.yaml", tmp_path)
    (tmp_path / "own.py").write_text("def train(context):\n    ...\n    return\n", encoding="utf-8")
    new = parse(text.replace("x: 1", "x: 2"), "p.yaml", tmp_path)
    found = merged(old, new, RunProgress(Cursor(stage="a", step=3), frozenset({"a"})), "own-1")
    assert found == new
    assert change_lines(old, found) == ("stage a: x: 1 → 2", "own.py: changed, 2 lines added and 1 removed")


def test_files_may_move_and_may_not_change(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for place in (tmp_path / "a.jsonl", tmp_path / "sub/a.jsonl"):
        place.write_text("{}", encoding="utf-8")
    text = "name: f\ninputs: {files: [a.jsonl]}\nstages: [{name: a, kind: counting, steps: 9}]\n"
    old = parse(text, "p.yaml", tmp_path)
    assert merged(old, parse(text.replace("[a.", "[sub/a."), "p.yaml", tmp_path), UNTRAINED, "f-1") is old
    (tmp_path / "a.jsonl").write_text("{ }", encoding="utf-8")
    with pytest.raises(BadInput, match="files are published once"):
        merged(old, parse(text, "p.yaml", tmp_path), UNTRAINED, "f-1")


def test_lines_tell_what_changed_in_plain_words() -> None:
    wanted = changed("session.limit_s", 200, changed("sft.options.mode", "lora"))
    wanted = wanted | {"stages": wanted["stages"][1::-1]}
    assert change_lines(pipeline(), pipeline(wanted)) == (
        "session.limit_s: 100.0 → 200.0",
        'stage sft: mode: "full" → "lora"',
        "stage eval: removed",
        "stages: the order is now grpo, sft",
    )


STATED = {"step_s": {"sft": 20, "grpo": 60}, "queue_s": {"low": 60, "high": 900}}


@pytest.mark.parametrize(
    ("key", "value", "lines"),
    [
        (
            "expect.step_s",
            {"sft": {"low": 12, "high": 96}, "grpo": 60},
            ['expect.step_s.sft: 20.0 → {"low": 12.0, "high": 96.0}'],
        ),
        ("expect.step_s", {"sft": 20, "grpo": 60, "eval": 4}, ["expect.step_s.eval: default → 4.0"]),
        ("expect.step_s", {"grpo": 60}, ["expect.step_s.sft: 20.0 → default"]),
        (
            "expect.queue_s",
            {"low": 60, "high": 90, "source": "a forum"},
            ["expect.queue_s.high: 900.0 → 90.0", 'expect.queue_s.source: "" → "a forum"'],
        ),
        ("expect.queue_s", 9, ['expect.queue_s: {"low": 60.0, "high": 900.0} → 9.0']),
        ("expect.save_s", 9, ["expect.save_s: default → 9.0"]),
        ("model.dtype", "bfloat16", ['model.dtype: "float32" → "bfloat16"']),
        ("inputs.datasets", ["me/b"], ['inputs.datasets: ["me/a"] → ["me/b"]']),
    ],
)
def test_a_change_within_a_section_names_the_value_that_changed_alone(key: str, value: Any, lines: list[str]) -> None:
    base = BEGUN | {"expect": STATED}
    assert list(change_lines(pipeline(base), pipeline(changed(key, value, base)))) == lines
