"""The work of a step: operations and bytes that a person computes from a model's sizes, and the seconds that follow from them."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.work.counts import ComputeWork, ModelWork
from orchestrator.core.work.lengths import MEASURED, asked_lengths, longest_of, taught_lengths
from orchestrator.core.work.rates import RATES, ShareRange
from orchestrator.core.work.seconds import StepSeconds, best_s, computed_seconds, step_best_s, usual_parts
from orchestrator.core.work.steps import (
    BARE,
    KINDS,
    RELAY,
    EngineTraits,
    StepWork,
    assumed_lengths,
    model_work,
    step_work,
)
from orchestrator.pipeline.environments import HARDWARE
from orchestrator.pipeline.loader import parse
from orchestrator.pipeline.model import Pipeline
from stages import catalog
from stages.options import Model, fit
from stages.options.families import FULL_SIZE, Sizes

SMALL = Sizes(layers=2, vocabulary=100, width=8, hidden=32, heads=4, kv_heads=2, head_width=4)
"""A layer has 8 × 4 × (2 × 4 + 2 × 2) + 3 × 8 × 32 = 1,152 weights in matrices, the embedding 800."""
LONG = {"data": ["gsm8k"], "max_prompt_length": 384, "max_completion_length": 768}


def work(kind: str, engine: EngineTraits = RELAY, model: str = "gemma2-2b", **values: Any) -> StepWork:
    mesh = {name: values.pop(name) for name in ("mesh_fsdp", "mesh_tp", "remat", "dtype") if name in values}
    options = catalog.KINDS[kind].fit(values, kind)
    sizes = model_work(options, fit(Model, {"kind": model, **mesh}, "model"), 8)
    assert sizes is not None
    found = step_work(kind, options, sizes, assumed_lengths(options, 0.5), engine)
    assert found is not None
    return found


# --- counts ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "published"),
    [
        ("gemma2-2b", 2_614_341_888),
        ("gemma3-1b", 999_885_952),
        ("gemma3-270m", 268_098_176),
        ("qwen2.5-0.5b", 494_032_768),
        ("llama3.2-1b", 1_235_814_400),
    ],
)
def test_a_model_has_the_number_of_weights_that_its_card_says(kind: str, published: int) -> None:
    found = ModelWork.of(fit(Model, {"kind": kind}, "model"))
    assert found is not None
    assert found.parameters == pytest.approx(published, rel=0.003)  # without norms and biases


def test_an_adapter_of_rank_64_of_gemma_2_2b_takes_the_302_mebibytes_that_tunix_makes() -> None:
    found = ModelWork.of(fit(Model, {"kind": "gemma2-2b"}, "model"), 64)
    assert found is not None
    assert found.adapter_parameters * 4 / 2**20 == pytest.approx(302, rel=0.15)


def test_every_size_that_a_kind_can_name_has_its_work_and_a_kind_without_a_size_has_none() -> None:
    for kind in FULL_SIZE:
        assert ModelWork.of(fit(Model, {"kind": kind}, "model")) is not None
    assert ModelWork.of(fit(Model, {"kind": "gemma2"}, "model")) is None


def test_a_pass_over_a_small_model_is_what_a_person_counts() -> None:
    model = ModelWork(SMALL)
    assert (model.layer_parameters, model.output_parameters, model.cache_bytes) == (2 * 1152, 800, 2 * 2 * 2 * 4 * 4)
    attention = 10 * 4 * 4 * 4 * 7 * 2  # 10 positions × (scores and values: 2 products) × 4 heads of 4 × 7 positions
    assert model.layers(10, 7).flops == 2 * 10 * 2 * 1152 + attention
    assert model.logits(10).flops == 2 * 10 * 800
    assert model.weights_read(3) == ComputeWork(bytes=3 * 4 * (2 * 1152 + 800))


def test_a_lora_step_costs_two_passes_of_the_frozen_weights_and_full_training_three() -> None:
    lora, full = ModelWork(SMALL, lora_rank=2), ModelWork(SMALL)
    passes = {
        "lora": lora.training(10, 0, 0, 1, full=False, again=False).flops,
        "full": full.training(10, 0, 0, 1, full=True, again=False).flops,
    }
    assert passes["full"] == 3 * 2 * 10 * 2 * 1152
    assert passes["lora"] == 2 * 2 * 10 * 2 * 1152 + 3 * 2 * 10 * lora.adapter_parameters
    again = replace(full, remat=True).training(10, 0, 0, 1, full=True, again=False).flops
    assert again == pytest.approx(passes["full"] * 4 / 3), "computing activations again is a forward pass more"


def test_a_mesh_moves_weights_between_groups_of_chips_and_results_within_them() -> None:
    alone, groups, layers = ModelWork(SMALL), ModelWork(SMALL, fsdp=4), ModelWork(SMALL, tp=4)
    assert alone.weights_read().link_bytes == alone.layers(10, 7).link_bytes == 0
    assert groups.weights_read().link_bytes == 3 * alone.weights_read().bytes
    assert groups.weights_read(100, gathers=1).link_bytes == groups.weights_read().link_bytes
    assert layers.layers(10, 7).link_bytes == 2 * 2 * 2 * 3 * 10 * 8 * 4
    assert layers.cache_bytes == 2 * alone.cache_bytes, "two key heads on four chips are kept twice"


# --- lengths -----------------------------------------------------------------


def test_sets_count_by_their_examples_and_what_is_unknown_is_named() -> None:
    found = taught_lengths(["ultrafeedback:3000", "gsm8k:1000"], 1024, 0.5)
    assert found.prompt == pytest.approx((3 * 171 + 102) / 4)
    assert found.assumed == ()
    short, long = (taught_lengths(["magpie"], 1000, slow) for slow in (0.0, 1.0))
    assert (short.prompt + short.completion, long.prompt + long.completion) == pytest.approx((400, 900))
    assert short.assumed == ("magpie",)
    cut = taught_lengths(["gsm8k"], 100, 0.5)
    assert cut.prompt + cut.completion == pytest.approx(100), "longer rows are left out"


def test_answers_are_between_the_solutions_and_a_multiple_of_them_within_the_limit() -> None:
    short, long, cut = (
        asked_lengths(["gsm8k"], 384, most, slow) for most, slow in ((768, 0.0), (768, 1.0), (100, 1.0))
    )
    assert (short.completion, long.completion, cut.completion) == (103, pytest.approx(2.5 * 103), 90)


@pytest.mark.parametrize(
    ("count", "mean", "limit", "longest"),
    [(1, 100, 768, 100), (16, 150, 768, 334), (16, 250, 768, 539), (16, 250, 300, 300)],
)
def test_the_longest_of_sixteen_answers_is_about_what_was_counted(
    count: int, mean: float, limit: int, longest: float
) -> None:
    assert longest_of(count, mean, limit) == pytest.approx(longest, rel=0.05)


# --- steps -------------------------------------------------------------------


@pytest.mark.parametrize("engine", [RELAY, BARE], ids=lambda engine: engine.name)
@pytest.mark.parametrize("kind", KINDS)
def test_more_rows_and_longer_limits_are_more_work(kind: str, engine: EngineTraits) -> None:
    lengths = {"max_seq_length": 512} if kind == "sft" else {"max_prompt_length": 64, "max_completion_length": 96}
    data = {} if kind == "answer" else {"data": ["magpie"]}
    small = work(kind, engine, batch=4, **lengths, **data).total
    rows = work(kind, engine, batch=8, **lengths, **data).total
    longer = work(kind, engine, batch=4, **{name: 2 * value for name, value in lengths.items()}, **data).total
    assert rows.flops > 1.7 * small.flops
    assert longer.flops > 1.7 * small.flops
    assert longer.bytes > small.bytes


@pytest.mark.parametrize(("kind", "options"), [("sft", {"data": ["gsm8k"]}), ("grpo", LONG), ("evaluate", LONG)])
def test_relay_computes_less_than_tunix_alone_for_the_same_step(kind: str, options: dict[str, Any]) -> None:
    ours, bare = (work(kind, engine, batch=8, **options).total for engine in (RELAY, BARE))
    assert ours.flops < 0.65 * bare.flops
    assert ours.bytes < bare.bytes


def test_a_step_of_grpo_draws_asks_the_reference_and_trains() -> None:
    assert [phase.name for phase in work("grpo", **LONG).phases] == ["prefill", "decode", "reference", "train"]
    assert [phase.name for phase in work("grpo", beta=0.0, **LONG).phases] == ["prefill", "decode", "train"]
    twice = work("grpo", num_iterations=2, **LONG)
    assert [phase.name for phase in twice.phases] == ["prefill", "decode", "reference", "old policy", "train"]
    assert twice.phases[-1].work == work("grpo", **LONG).phases[-1].work.times(2)


def test_decoding_waits_for_memory_and_training_for_products_on_a_tpu() -> None:
    rates = RATES["TpuV5E8"]
    phases = {phase.name: phase.work for phase in work("grpo", batch=8, **LONG).phases}
    assert best_s(phases["decode"], 1, rates) == phases["decode"].bytes / rates.bytes_s
    assert best_s(phases["train"], 1, rates) == phases["train"].flops / rates.flops


def test_twice_the_answers_of_a_step_take_far_less_than_twice_the_time_to_decode() -> None:
    rates = RATES["TpuV5E8"]
    few, many = (work("evaluate", batch=batch, **LONG) for batch in (8, 16))
    assert step_best_s(many, rates) < 1.35 * step_best_s(few, rates)


# --- seconds -----------------------------------------------------------------

TEXT = """
name: learns
accelerator: TpuV5E8
model: {kind: gemma2-2b, source: google/gemma-2/flax/gemma2-2b-it/1, mesh_fsdp: 2, mesh_tp: 4, remat: block}
stages:
  - {name: sft, kind: sft, steps: 9, options: {data: [gsm8k], batch: 8, mode: lora, lora_rank: 64}}
  - name: grpo
    kind: grpo
    steps: 9
    options: {data: [gsm8k], batch: 4, num_generations: 4, max_prompt_length: 384, max_completion_length: 768, lora_rank: 64}
"""


def pipeline(*changes: tuple[str, str]) -> Pipeline:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse(text, "learns.yaml")


def seconds(found: Pipeline, name: str, measured: dict[Any, StepSeconds] | None = None) -> StepSeconds:
    (stage,) = [stage for stage in found.stages if stage.name == name]
    result = computed_seconds(found, stage, measured or {})
    assert result is not None
    return result


def test_every_accelerator_has_rates_with_a_source() -> None:
    assert set(RATES) == set(HARDWARE)
    for rates in RATES.values():
        assert rates.source
        for share in (rates.compute, rates.drawing):
            assert 0 < share.low < share.usual < share.high < 1


def test_the_slowest_seconds_on_a_tpu_are_the_slowest_published_ones() -> None:
    """1.5 hours for 6,000 examples are 7.2 s for 8 of them; 150 prompts an hour are 96 s for 4 (docs/forecast.md)."""
    recipe = pipeline(("data: [gsm8k]", "data: [gsm8k, mbpp]"))
    assert seconds(recipe, "sft").high == pytest.approx(7.2, rel=0.03)
    assert seconds(recipe, "grpo").high == pytest.approx(96, rel=0.03)


def test_the_published_second_and_a_half_of_tunixs_demo_is_possible_at_a_third_to_three_quarters_of_the_peak() -> None:
    """Two answers of at most 768 tokens on four chips, as docs/roofline.md says."""
    values = {"data": ["gsm8k"], "batch": 1, "num_generations": 2, "max_prompt_length": 256, "lora_rank": 64}
    options = catalog.KINDS["grpo"].fit(values, "grpo")
    model = model_work(options, fit(Model, {"kind": "gemma2-2b", "mesh_tp": 4}, "model"), 8)
    assert model is not None
    shares = []
    for slow in (0.0, 1.0):
        step = step_work("grpo", options, model, assumed_lengths(options, slow), BARE)
        assert step is not None
        shares.append(step_best_s(step, RATES["TpuV5E8"]) / 1.5)
    assert shares == pytest.approx([1 / 3, 3 / 4], rel=0.1)


@pytest.mark.parametrize("stage", ["sft", "grpo"])
@pytest.mark.parametrize(
    ("changes", "least", "most"),
    [
        ([("accelerator: TpuV5E8", "accelerator: NvidiaTeslaT4")], 2, 500),
        ([("accelerator: TpuV5E8", "accelerator: TpuV6E8")], 0.2, 0.7),
        ([("batch: 8", "batch: 64"), ("batch: 4", "batch: 32")], 2, 9),
        ([("gemma2-2b,", "gemma3-1b,"), ("gemma-2/flax/gemma2-2b-it", "gemma-3/flax/gemma3-1b-it")], 0.3, 0.95),
    ],
    ids=["T4", "v6e", "rows", "model"],
)
def test_another_accelerator_batch_or_model_takes_another_time(
    changes: list[tuple[str, str]], least: float, most: float, stage: str
) -> None:
    before, after = seconds(pipeline(), stage), seconds(pipeline(*changes), stage)
    assert least < after.low / before.low < most
    assert before.low < before.usual < before.high
    assert after.low < after.usual < after.high


def test_what_was_measured_narrows_the_phases_that_it_calibrates() -> None:
    free = seconds(pipeline(), "grpo")
    drawn = seconds(pipeline(), "grpo", {"drawing": StepSeconds(0.9, 1.0, 1.1)})
    both = seconds(pipeline(), "grpo", {name: StepSeconds(0.9, 1.0, 1.1) for name in ("compute", "drawing")})
    assert both.high - both.low < drawn.high - drawn.low < free.high - free.low
    parts = usual_parts(pipeline(), pipeline().stages[1])
    assert parts is not None
    assert both.usual - sum(parts.values()) == pytest.approx((0.05 * 1.0) ** 0.5), "the host's seconds remain"


def test_further_rounds_of_drawing_count_in_the_worst_case() -> None:
    more = seconds(pipeline(("num_generations: 4,", "num_generations: 4, dynamic_sampling: 2,")), "grpo")
    once = seconds(pipeline(), "grpo")
    assert more.low == once.low
    assert more.high > 2 * once.high


@pytest.mark.parametrize(
    ("model", "stage"), [({"kind": "gemma2"}, {}), ({}, {"kind": "export", "options": {}})], ids=["size", "kind"]
)
def test_without_a_size_or_for_another_kind_of_stage_nothing_is_computed(
    model: dict[str, Any], stage: dict[str, Any]
) -> None:
    found = pipeline()
    changed = found.model_copy(update={"model": {**found.model, **model}})
    assert computed_seconds(changed, found.stages[0].model_copy(update=stage)) is None


def test_options_that_this_version_does_not_know_have_no_work() -> None:
    old = pipeline().stages[0].model_copy(update={"options": {"batch": 8, "of_another_age": 1}})
    assert computed_seconds(pipeline(), old) is None


def test_the_usual_share_is_between_its_bounds_by_factors() -> None:
    assert ShareRange(0.1, 0.4).usual == pytest.approx(0.2)
    assert MEASURED["gsm8k"].prompt == 102
