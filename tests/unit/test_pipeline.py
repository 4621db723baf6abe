"""A pipeline file is checked whole; every mistake is one sentence that names file, key and remedy."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.base.errors import BadInput
from orchestrator.core.plan import order_for, plan_session
from orchestrator.engine.adopt.changed_orders import change_unknown_to
from orchestrator.pipeline.difference import first_difference
from orchestrator.pipeline.loader import load, parse
from orchestrator.pipeline.model import SHORT, Pipeline, canonical_in
from stages.catalog import KINDS
from stages.contract import Cursor, Order
from stages.documents import ContractError
from state import machine
from state.facts.run import RunStarted
from state.model.run_state import RunState, Session
from state.model.statuses import RunStatus

EXAMPLES = Path(__file__).parents[2] / "examples"

GOOD = """
name: count
accelerator: cpu
session: {limit_s: 100, margin_s: 10}
stages:
  - {name: one, kind: counting, steps: 30}
  - {name: two, kind: counting, steps: 20, options: {step_s: 0.5}}
"""

MISTAKES = [
    ("name: count", "nmae: count", "did you mean 'name'"),
    ("accelerator: cpu", "acelerator: cpu", "did you mean 'accelerator'"),
    ("accelerator: cpu", "accelerator: TpuV5E", "use TpuV5E8"),
    ("limit_s: 100", "limit: 100", "session.limit: 'limit' is not a key that relay knows: did you mean 'limit_s'"),
    ("limit_s: 100", "limit_s: long", "session.limit_s: input should be a valid number, found 'long'"),
    ("limit_s: 100", "limit_s: 1000000", "Kaggle ends a cpu session after 43200 s"),
    ("margin_s: 10", "margin_s: 100", "session.margin_s leaves nothing"),
    ("kind: counting, steps: 30", "kind: countin, steps: 30", "did you mean 'counting'"),
    ("steps: 30", "steps: many", "stages[0].steps: input should be a whole number, found 'many'"),
    ("steps: 30", "steps: 0", "stages[0].steps: input should be greater than or equal to 1, found 0"),
    ("steps: 20", "stpes: 20", "stages[1].stpes: 'stpes' is not a key"),
    ("step_s: 0.5", "steps_s: 0.5", "stages[1].options.steps_s is not an option"),
    ("step_s: 0.5", "step_s: soon", "stages[1].options.step_s should be a number, found 'soon'"),
    ("name: two", "name: one", "stages[1].name 'one' is taken"),
    ("name: count", "name: Count!", "use at most 30 of a-z"),
    ("name: count", "name: count\nname: twice", "'name' is given twice"),
    ("name: count", "name: [", "is not YAML"),
    ("accelerator: cpu", "on_timeout: wait", "on_timeout"),
    ("accelerator: cpu", "keep_checkpoints: 1", "keep_checkpoints"),
    (
        "accelerator: cpu",
        "expect: {step_s: {won: 3}}",
        "expect.step_s.won: 'won' is not a stage that relay knows: did you",
    ),
    ("accelerator: cpu", "expect: {step_s: {one: 0}}", "expect.step_s.one: input should be greater than 0, found 0"),
    ("accelerator: cpu", "expect: {save_s: -1}", "expect.save_s: input should be greater than or equal to 0, found -1"),
    (
        "accelerator: cpu",
        "expect: {step_s: {one: {low: 3, high: 2}}}",
        "expect.step_s.one: low is 3 and high 2: write them in ascending order",
    ),
    (
        "accelerator: cpu",
        "expect: {save_s: {low: 2, high: 3, likely: 4}}",
        "expect.save_s: low is 2 and high 3, and likely 4: write them in ascending order",
    ),
    (
        "accelerator: cpu",
        "expect: {queue_s: {low: 1, high: 1.0e+20}}",
        "expect.queue_s.high: 1e+20 s is longer than 30 days: write at most 2,592,000 s",
    ),
    ("accelerator: cpu", "expect: {handover_s: 2592001}", "expect.handover_s: 2.592e+06 s is longer than 30 days"),
    ("accelerator: cpu", "expect: {step_s: {one: 1.0e+200}}", "expect.step_s.one: 1e+200 s is longer than 30 days"),
    ("accelerator: cpu", "expect: {save_s: {low: 2}}", "expect.save_s.high is missing: add it"),
    (
        "accelerator: cpu",
        "expect: {step_s: {one: {low: 2, high: 3, sauce: x}}}",
        "expect.step_s.one.sauce: 'sauce' is not a key that relay knows: did you mean 'source'?",
    ),
    ("accelerator: cpu", "expect: {save_s: soon}", "expect.save_s: input should be a valid number, found 'soon'"),
    (
        "accelerator: cpu",
        "expect: {accelerator: P100}",
        "expect.accelerator: 'P100' is no longer available on Kaggle: use NvidiaTeslaT4",
    ),
    ("accelerator: cpu", "inputs: {files: x}", "inputs.files: input should be a list, found 'x'"),
    ("accelerator: cpu", "account: 7", "account: input should be a mapping, found 7"),
    (
        "accelerator: cpu",
        "expect: {start_s: 3}",
        "expect.start_s: 'start_s' is not a key that relay knows: did you mean",
    ),
]


@pytest.mark.parametrize(("right", "wrong", "said"), MISTAKES)
def test_a_mistake_is_one_sentence_that_names_file_key_and_remedy(right: str, wrong: str, said: str) -> None:
    assert right in GOOD
    with pytest.raises(BadInput) as caught:
        parse(GOOD.replace(right, wrong, 1), "p.yaml")
    sentence = str(caught.value)
    assert sentence.startswith("p.yaml")
    assert said in sentence
    assert "\n" not in sentence


def test_a_missing_file_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.yaml does not exist: name a pipeline file"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_a_file_that_is_no_pipeline_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"^p\.yaml: a pipeline is a list of keys"):
        parse(text, "p.yaml")


def test_options_of_a_training_stage_and_the_model_are_checked_before_anything_is_pushed() -> None:
    text = GOOD.replace("kind: counting, steps: 30", "kind: sft, steps: 30, options: {lerning_rate: 0.1}")
    with pytest.raises(BadInput, match=r"stages\[0\]\.options\.lerning_rate"):
        parse(text, "p.yaml")
    text = GOOD.replace("kind: counting, steps: 30", "kind: sft, steps: 30") + "model: {kind: gemma9}\n"
    with pytest.raises(BadInput, match=r"model\.kind: 'gemma9' is not a value that relay knows: did you mean 'gemma3'"):
        parse(text, "p.yaml")


TRAINS = GOOD.replace("kind: counting, steps: 30", "kind: sft, steps: 30, options: {data: [gsm8k, problems.jsonl]}")
FILES = TRAINS + "inputs: {files: [problems.jsonl]}\n"


def test_a_missing_data_file_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"inputs\.files\[0\]: .*problems\.jsonl does not exist: correct the name"):
        parse(FILES, "p.yaml", tmp_path)


def test_data_that_nobody_brings_is_refused_before_anything_is_pushed() -> None:
    with pytest.raises(BadInput, match=r"stages\[0\]\.options\.data: problems\.jsonl is not among inputs\.files"):
        parse(TRAINS, "p.yaml")
    with pytest.raises(BadInput, match=r"stages\[0\]\.options\.data: problems\.jsonl is not among inputs\.files"):
        parse(TRAINS.replace("problems.jsonl", "'problems.jsonl:9'"), "p.yaml")
    with pytest.raises(BadInput, match=r"stages\[0\]\.options\.data should be a list of magpie"):
        parse(TRAINS.replace("problems.jsonl", "'sums:3'"), "p.yaml")


def test_another_content_of_a_data_file_is_another_pipeline(tmp_path: Path) -> None:
    (tmp_path / "problems.jsonl").write_text("{}", encoding="utf-8")
    first = parse(FILES, "p.yaml", tmp_path)
    assert parse(FILES, "p.yaml", tmp_path).digest == first.digest
    (tmp_path / "problems.jsonl").write_text("{} ", encoding="utf-8")
    assert parse(FILES, "p.yaml", tmp_path).digest != first.digest


def test_what_relay_notes_of_a_data_file_is_not_for_the_user_to_write(tmp_path: Path) -> None:
    (tmp_path / "problems.jsonl").write_text("{}", encoding="utf-8")
    with pytest.raises(BadInput, match=r"inputs\.sha256"):
        parse(FILES.replace("{files: [problems.jsonl]", "{files: [problems.jsonl], sha256: {a: b}"), "p.yaml", tmp_path)


def test_the_canonical_form_says_the_same_pipeline() -> None:
    pipeline = parse(GOOD, "p.yaml")
    again = Pipeline.from_canonical(pipeline.canonical())
    assert again == pipeline
    assert again.digest == pipeline.digest
    assert parse(GOOD.replace("steps: 30", "steps: 31"), "p.yaml").digest != pipeline.digest
    assert parse("# a comment\n" + GOOD, "p.yaml").digest == pipeline.digest


def test_what_two_stages_share_can_be_written_once() -> None:
    text = GOOD.replace("options: {step_s: 0.5}", "options: {<<: &quick {step_s: 0.5}, payload_bytes: 9}")
    assert parse(text, "p.yaml").stages[1].options == {"step_s": 0.5, "payload_bytes": 9}


@pytest.mark.parametrize("name", ["gemma2_2b", "gemma3_1b", "tiny", "exact"])
def test_what_a_shortened_pipeline_asks_of_its_stages_fits_together(name: str) -> None:
    for stage in load(EXAMPLES / f"{name}.yaml").shortened().stages:
        KINDS[stage.kind].fit(stage.options, stage.name)


def test_a_shortened_pipeline_has_every_stage_once_and_no_long_answers() -> None:
    whole = load(EXAMPLES / "gemma2_2b.yaml")
    short = whole.shortened()
    assert [(stage.name, stage.kind) for stage in short.stages] == [(stage.name, stage.kind) for stage in whole.stages]
    assert {stage.steps for stage in short.stages} == {1}
    before = {stage.name: stage.options for stage in whole.stages}
    for stage in short.stages:
        changed = {name for name, value in stage.options.items() if before[stage.name].get(name) != value}
        assert changed <= set(SHORT)
        assert stage.options.get("max_completion_length", 0) <= 16
    own = load(EXAMPLES / "own_stage.yaml")
    assert [stage.options for stage in own.shortened().stages] == [stage.options for stage in own.stages]


def test_positions_count_over_stage_boundaries() -> None:
    pipeline = parse(GOOD, "p.yaml")
    assert pipeline.position(pipeline.beginning) == 0
    assert pipeline.position(Cursor(stage="one", step=30)) == pipeline.position(Cursor(stage="two", step=0)) == 30
    assert pipeline.position(Cursor(stage="two", step=20)) == pipeline.total_steps == 50


def test_the_first_change_between_two_pipelines_is_named() -> None:
    old = {"stages": [{"steps": 1}, {"steps": 2}], "name": "a"}
    assert (
        first_difference(old, {"stages": [{"steps": 1}, {"steps": 3}], "name": "a"})
        == "stages[1].steps changed from 2 to 3"
    )
    assert first_difference(old, old) == ""


def test_a_pipeline_that_counts_needs_nothing_installed() -> None:
    assert parse(GOOD, "p.yaml").pins == ()
    trains = parse(GOOD.replace("kind: counting, steps: 30", "kind: sft, steps: 30"), "p.yaml")
    assert any(pin.startswith("google-tunix==") for pin in trains.pins)


def test_a_session_on_a_tpu_installs_the_tpus_part_of_jax() -> None:
    trains = GOOD.replace("kind: counting, steps: 30", "kind: sft, steps: 30")
    assert any(pin.startswith("jax==") for pin in parse(trains, "p.yaml").pins)
    on_tpu = parse(trains.replace("accelerator: cpu", "accelerator: TpuV5E8"), "p.yaml")
    assert any(pin.startswith("jax[tpu]==") for pin in on_tpu.pins)


@pytest.mark.parametrize("path", sorted(p for p in EXAMPLES.glob("*.yaml") if ".faults" not in p.name), ids=str)
def test_the_pipeline_can_be_put_together_again_from_any_of_its_orders(path: Path) -> None:
    pipeline = load(path)
    state, session = planned(pipeline)
    order = Order.from_json(order_for(state, session, pipeline).to_json())
    assert canonical_in(order) == pipeline.canonical()
    assert datetime.fromisoformat(order.created_at) == state.run.created_at


EXPECTING = GOOD + "expect: {step_s: {counting: 3}, startup_s: 60}\n"


def test_what_is_expected_of_a_pipelines_times_travels_with_it_and_changes_nothing_that_it_does() -> None:
    bare, expecting = parse(GOOD, "p.yaml"), parse(EXPECTING, "p.yaml")
    assert bare.same_work(expecting) and not bare.same_work(parse(GOOD.replace("steps: 30", "steps: 31"), "p.yaml"))
    orders = []
    for pipeline in (bare, expecting):
        state, session = planned(pipeline)
        order = order_for(state, session, pipeline)
        assert canonical_in(order) == pipeline.canonical()
        assert Pipeline.from_canonical(pipeline.canonical()) == pipeline
        orders.append(replace(order, pipeline_rest={}, pipeline_digest=""))
    assert orders[0] == orders[1], "a session is told the same"


def test_a_pipeline_of_a_relay_without_expectations_keeps_its_text_and_its_digest() -> None:
    old = json.loads(parse(GOOD, "p.yaml").canonical())
    assert "expect" not in old
    text = json.dumps(old, sort_keys=True, separators=(",", ":"))
    assert Pipeline.from_canonical(text).canonical() == text


def test_an_order_says_nothing_twice() -> None:
    pipeline = load(EXAMPLES / "own_stage.yaml")
    assert pipeline.sources and not {"sources", "stages", "model", "seed"} & pipeline.rest.keys()


def test_an_order_whose_parts_were_changed_is_no_proof_of_a_pipeline() -> None:
    pipeline = parse(GOOD, "p.yaml")
    state, session = planned(pipeline)
    order = order_for(state, session, pipeline)
    with pytest.raises(ContractError, match="is not the one that its digest names"):
        canonical_in(replace(order, seed=order.seed + 1))


def test_an_order_tells_an_open_run_of_a_change_that_it_does_not_know_unless_it_cannot_be_read() -> None:
    known, changed = parse(GOOD, "p.yaml"), parse(GOOD.replace("steps: 30", "steps: 31"), "p.yaml")
    run = planned(known)[0].run
    state, session = planned(changed)
    order = order_for(state, session, changed)
    (fact,) = change_unknown_to(run, order)
    assert (fact.pipeline, fact.pipeline_digest) == (changed.canonical(), changed.digest)
    assert change_unknown_to(state.run, order) == ()
    assert change_unknown_to(replace(run, status=RunStatus.CANCELLED), order) == ()
    assert change_unknown_to(run, replace(order, seed=order.seed + 1)) == ()


def test_an_order_of_an_older_relay_is_readable_and_holds_no_pipeline() -> None:
    pipeline = parse(GOOD, "p.yaml")
    state, session = planned(pipeline)
    old = json.loads(order_for(state, session, pipeline).to_json())
    del old["created_at"], old["pipeline_rest"]
    order = Order.from_json(json.dumps(old))
    assert (order.run, order.created_at, canonical_in(order)) == ("count-0001", "", None)


def planned(pipeline: Pipeline) -> tuple[RunState, Session]:
    """A run of the pipeline whose first session is planned."""
    at = datetime(2030, 1, 7, 12, 30, 1, 250_000, tzinfo=UTC)
    started = RunStarted(
        run="count-0001",
        pipeline_name=pipeline.name,
        owner="me",
        accelerator=pipeline.slot,
        pipeline=pipeline.canonical(),
        pipeline_path="p.yaml",
        pipeline_digest=pipeline.digest,
    )
    state = machine.begin(started, at)
    state = machine.apply(state, plan_session(state, pipeline, None), at)
    return state, state.sessions[0]


@pytest.mark.parametrize("option", SHORT)
def test_a_short_rehearsal_bounds_every_option_that_costs_time(option: str) -> None:
    """Where the recipe's example sets it higher, the shortened pipeline has the bound."""
    whole = load(EXAMPLES / "gemma2_2b.yaml")
    above = [i for i, stage in enumerate(whole.stages) if stage.options.get(option, 0) > SHORT[option]]
    assert above != []
    assert {whole.shortened().stages[i].options[option] for i in above} == {SHORT[option]}


def test_a_list_of_pins_is_taken_and_kept_with_the_run() -> None:
    taken = parse(f"{GOOD}environment: [jax==0.9.0, flax==0.12.8]\n", "p.yaml")
    assert taken.pins == ("jax==0.9.0", "flax==0.12.8")
    assert Pipeline.from_canonical(taken.canonical()) == taken


TRAINED = GOOD.replace("kind: counting, steps: 30", "kind: sft, steps: 30")


@pytest.mark.parametrize("source", ["models/gemma", "./models/gemma", "gemma", "../beside/gemma", "owner/name"])
def test_a_model_in_a_folder_is_relative_to_the_pipeline_file(source: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    (folder := here / source).mkdir(parents=True)
    (here / "words.model").touch()
    text = f"{TRAINED}\nmodel: {{kind: gemma3, source: {source}, tokenizer: words.model}}\n"
    model = parse(text, "p.yaml", here).model
    assert model == {"kind": "gemma3", "source": str(folder.resolve()), "tokenizer": str(here / "words.model")}


def test_without_such_a_folder_a_source_is_a_name_and_a_similar_folder_is_suggested(tmp_path: Path) -> None:
    model = "\nmodel: {{kind: gemma3, source: {}}}\n"
    assert parse(TRAINED + model.format("owner/name"), "p.yaml", tmp_path).model["source"] == "owner/name"
    (tmp_path / "gemma").mkdir()
    with pytest.raises(BadInput, match=r"a folder that exists \(did you mean the folder gemma\?\)"):
        parse(TRAINED + model.format("gema"), "p.yaml", tmp_path)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("https://huggingface.co/Qwen/Qwen3-0.6B", "is an address: write Qwen/Qwen3-0.6B"),
        ("hf.co/Qwen/Qwen3-0.6B/tree/main", "is an address: write Qwen/Qwen3-0.6B"),
        (
            "https://www.kaggle.com/models/google/gemma-2/flax/gemma2-2b-it/1",
            "write google/gemma-2/flax/gemma2-2b-it/1",
        ),
        ("s3://there/gemma", "is an address, and sessions fetch models by their names: write owner/model/"),
        ("google/gemma-2/flax/gemma2-2b-it/newest", "write owner/model/framework/variation/version, such as"),
        ("~/x", "begins with ~, which only a shell understands: write the whole path"),
        (
            "Qwen/Qwen2.5 0.5B",
            "is no model's name: write owner/model/framework/variation/version on Kaggle, owner/name",
        ),
    ],
)
def test_a_source_that_no_session_could_load_is_refused_with_its_form(source: str, said: str) -> None:
    with pytest.raises(BadInput, match=r"p\.yaml: model\.source: ") as refused:
        parse(f"{TRAINED}\nmodel: {{kind: gemma3, source: '{source}'}}\n", "p.yaml")
    assert said in str(refused.value)


def test_a_tokenizer_is_not_below_a_home_folder_that_only_a_shell_knows() -> None:
    with pytest.raises(BadInput, match=r"model\.tokenizer: '~/t\.model' begins with ~"):
        parse(f"{TRAINED}\nmodel: {{kind: gemma3, tokenizer: ~/t.model}}\n", "p.yaml")


def test_an_export_for_tunix_is_refused_for_a_family_without_that_layout() -> None:
    text = TRAINED + "\n  - {name: out, kind: export, steps: 1, options: {format: tunix}}\nmodel: {kind: qwen3-0.6b}\n"
    with pytest.raises(BadInput, match="Tunix reads Qwen 3 from safetensors only: write format: safetensors"):
        parse(text, "p.yaml")
