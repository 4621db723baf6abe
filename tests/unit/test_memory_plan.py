"""What a pipeline needs of its chips, as far as arithmetic goes: phases, rows, the largest batch, checkpoints, refusals."""

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from orchestrator.base.errors import BadInput
from orchestrator.cli import main
from orchestrator.pipeline import loader
from orchestrator.pipeline.chips import GIB, Host
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.summary import outline
from orchestrator.preflight.memory.checkpoint_sizes import checkpoint_verdicts
from orchestrator.preflight.memory.forecast import (
    OnHost,
    lowered_options,
    memory_document,
    memory_of,
    stage_verdict,
)
from orchestrator.preflight.memory.host import Loaded, files_bytes, host_moments, starting_moments, working_pieces
from orchestrator.preflight.memory.lowered_before import LoweredBefore
from orchestrator.preflight.memory.machine import Machine, machine_of
from orchestrator.preflight.memory.measure import Lowering, Needs
from orchestrator.preflight.memory.measured import MeasuredPeaks, measured_in, with_measured
from orchestrator.preflight.memory.programs import Program, StageNeeds, needs_of, programs_of, rows_to_compile, share
from orchestrator.views.memory_plan import _phases, memory_view
from orchestrator.views.plan import outline_view
from stages.options import Model

ROOT = Path(__file__).parents[2]

STAGES = """
- {name: sft, kind: sft, steps: 10, options: {batch: 8, gradient_accumulation_steps: 2, max_seq_length: 64, mode: %(mode)s}}
- {name: grpo, kind: grpo, steps: 10, options: {batch: 4, num_generations: 2, gradient_accumulation_steps: 2, mode: %(mode)s, beta: %(beta)s}}
- {name: ask, kind: evaluate, steps: 1, options: {batch: 32}}
- {name: ask-again, kind: evaluate, steps: 1, options: {batch: 32}}
"""


def pipeline(mode: str = "lora", beta: float = 0.1, **more: Any) -> Pipeline:
    values = {"kind": "gemma2-2b", "mesh_fsdp": 2, "mesh_tp": 4, **more.pop("model", {})}
    model = ", ".join(f"{key}: {value}" for key, value in values.items())
    head = {"name": "fits", "accelerator": "TpuV5E8", **more}
    text = "\n".join(f"{key}: {value}" for key, value in head.items())
    return loader.parse(f"{text}\nmodel: {{{model}}}\nstages:{STAGES % {'mode': mode, 'beta': beta}}", "fits.yaml")


def programs_by_name(needs: tuple[StageNeeds, ...]) -> dict[str, Program]:
    return {f"{'-'.join(each.names)}/{phase.name}": phase.program for each in needs for phase in each.phases}


def found_for(needs: tuple[StageNeeds, ...], per_row: int = GIB, cache_per_row: int = 0) -> dict[Program, Needs]:
    """Made-up measurements: 1 GiB of weights a chip (8 altogether), and so much a row and chip."""
    found = {}
    for program in programs_of(needs):
        adapter = (1, 8) if program.rank else (0, 0)
        trained = adapter if program.rank else (GIB, 8 * GIB)
        moments = 3 if program.sums_gradients else 2
        optimizer = (0, 0) if program.kind == "answers" else (moments * trained[0], moments * trained[1])
        cache = cache_per_row if program.kind == "answers" else 0
        part = {"rows": 4, "cache": cache * 4 // 8, "inputs": 0, "outputs": 0, "temporaries": per_row * 4 // 2}
        answers = program.kind == "answers"
        parts = (part | {"temporaries": 0, "outputs": part["cache"] // 2}, part) if answers else (part,)
        found[program] = Needs(
            (GIB, 8 * GIB), adapter, optimizer, parts, fsdp=2, largest=GIB, layers=26, trains=not answers
        )
    return found


def verdict_of(
    needs: StageNeeds, found: dict[Program, Needs], memory_bytes: int, model: Model, one_memory: bool = False
) -> dict[str, Any]:
    """The verdict on a stage, on chips of this size, or on a CPU, with a model of 8 GiB whose files have 4."""
    machine = Machine(
        "" if one_memory else "TPU v5e", memory_bytes, Host(memory_bytes if one_memory else 330 * 10**9, "")
    )
    held = OnHost(Loaded(8 * GIB, GIB, 4, 26, 4 * GIB), snapshot=2 * GIB, restored=GIB)
    return stage_verdict(needs, found, machine, model, held)


def test_each_stage_has_its_phases_and_equal_stages_stand_together() -> None:
    needs = needs_of(pipeline())
    assert [(each.names, [phase.name for phase in each.phases]) for each in needs] == [
        (("sft",), ["step"]),
        (("grpo",), ["answers", "step"]),
        (("ask", "ask-again"), ["answers"]),
    ]


def test_rows_follow_the_parts_of_a_batch_and_answers_are_drawn_all_at_once() -> None:
    needs = needs_of(pipeline())
    assert [[phase.rows(each.batch) for phase in each.phases] for each in needs] == [[4], [8, 4], [32]]


def test_gradients_are_summed_only_where_a_batch_comes_in_parts() -> None:
    parts = programs_by_name(needs_of(pipeline()))
    assert parts["sft/step"].sums_gradients
    assert parts["grpo/step"].sums_gradients
    text = STAGES.replace("gradient_accumulation_steps: 2, ", "") % {"mode": "lora", "beta": 0}
    whole = loader.parse(f"name: fits\nmodel: {{kind: gemma2-2b}}\nstages:{text}", "fits.yaml")
    programs = programs_by_name(needs_of(whole))
    assert not programs["sft/step"].sums_gradients
    assert not programs["grpo/step"].sums_gradients


def test_one_sampler_serves_every_stage_with_the_same_lengths() -> None:
    programs = programs_by_name(needs_of(pipeline()))
    assert programs["ask-ask-again/answers"] == programs["grpo/answers"]
    assert programs["grpo/answers"].rank > 0


def test_a_program_is_compiled_for_the_most_rows() -> None:
    needs = needs_of(pipeline())
    rows = {program.kind: rows_to_compile(needs, program) for program in programs_of(needs)}
    assert rows == {"sft": 4, "answers": 32, "grpo": 4}


def test_a_batch_that_does_not_divide_is_on_every_chip_whole() -> None:
    assert [share(rows, 4) for rows in (4, 6, 8)] == [1, 6, 2]


@pytest.mark.parametrize(
    ("mode", "beta", "kept"),
    [("lora", 0.1, [1, 1, 0]), ("lora", 0, [1, 1, 0]), ("full", 0.1, [0, 1, 0]), ("full", 0, [0, 0, 0])],
)
def test_the_second_copy_of_the_weights_is_counted_where_there_is_one(mode: str, beta: float, kept: list[int]) -> None:
    needs = needs_of(pipeline(mode, beta))
    assert [memory_of(each, found_for(needs), each.batch)[0].kept // GIB for each in needs] == kept


def test_the_largest_batch_is_the_last_that_fits() -> None:
    needs = needs_of(pipeline())
    found, model = found_for(needs), Model(mesh_fsdp=2, mesh_tp=4)
    verdicts = {each.names[0]: verdict_of(each, found, 16 * GIB, model) for each in needs}
    # Answers: 16 GiB less 1 of weights, 1 GiB a row of a chip's share: 15 rows, with two groups of chips 30.
    assert verdicts["ask"]["largest_batch"] == 30
    # SFT: less a second copy and the adapter's few bytes; two parts, each over two groups of chips.
    assert verdicts["sft"]["largest_batch"] == 52
    assert [verdicts[name]["fits"] for name in ("sft", "ask")] == [True, False]
    for each in needs:
        largest = verdicts[each.names[0]]["largest_batch"]
        unit = each.unit(2)
        assert max(held.peak for held in memory_of(each, found, largest)) <= 16 * GIB
        assert max(held.peak for held in memory_of(each, found, largest + unit)) > 16 * GIB


def test_what_does_not_fit_comes_with_a_remedy() -> None:
    needs = needs_of(pipeline())
    found, model = found_for(needs, per_row=6 * GIB), Model(mesh_fsdp=2, mesh_tp=4)
    sft, grpo, ask = (verdict_of(each, found, 16 * GIB, model) for each in needs)
    assert sft["advice"] == "" and sft["fits"]
    assert "batch: 2 is the largest that fits" in grpo["advice"]
    assert "batch: 4 is the largest that fits" in ask["advice"]
    tight = found_for(needs, per_row=10 * GIB)
    assert "gradient_accumulation_steps: 4 fits" in verdict_of(needs[0], tight, 16 * GIB, model)["advice"]


def test_a_probe_that_does_not_fit_leaves_the_batch_as_it_is() -> None:
    text = STAGES.replace("batch: 8,", "batch: 8, probe_problems: 64,") % {"mode": "lora", "beta": 0.1}
    whole = loader.parse(f"name: fits\nmodel: {{kind: gemma2-2b, mesh_fsdp: 2}}\nstages:{text}", "fits.yaml")
    needs = needs_of(whole)
    verdict = verdict_of(needs[0], found_for(needs), 16 * GIB, Model(mesh_fsdp=2))
    assert (verdict["largest_batch"], verdict["fits"]) == (52, False)
    assert verdict["advice"] == "probe_problems: 26 is the largest that fits"


def test_prompts_are_read_beside_a_narrow_cache_unless_others_wait_for_a_slot() -> None:
    needs = needs_of(pipeline())
    found = found_for(needs, per_row=0, cache_per_row=GIB)
    begun, answering = memory_of(needs[2], found, 8)
    assert (begun.phase, begun.rows, answering.phase) == ("answers: prompts", 8, "answers")
    assert (begun.outputs, answering.cache) == (GIB // 2, GIB)
    assert begun.cache == pytest.approx(GIB * 320 / 1024), "the first width that holds 256 + 32 tokens"
    full, _ = memory_of(needs[2], found, 1000)
    assert full.rows == 128 and full.cache == 16 * GIB


def test_more_answers_than_slots_need_no_more_memory() -> None:
    text = STAGES.replace("batch: 32", "batch: 32, slots: 9") % {"mode": "lora", "beta": 0.1}
    slotted = loader.parse(f"name: fits\nmodel: {{kind: gemma2-2b, mesh_fsdp: 2}}\nstages:{text}", "fits.yaml")
    ask = needs_of(slotted)[2]
    assert [ask.phases[0].rows(batch) for batch in (1, 8, 9, 10, 500)] == [2, 8, 10, 10, 10]
    verdict = verdict_of(ask, found_for(needs_of(slotted)), 16 * GIB, Model(mesh_fsdp=2))
    assert verdict["any_batch"] and verdict["fits"]
    lines = StringIO()
    Console(file=lines, width=160).print(_phases([verdict], one_memory=False))
    assert "any batch" in lines.getvalue()


@pytest.mark.parametrize(("mode", "kept"), [("lora", [1.5, 1.5, 1.5]), ("full", [1.5, 1.5, 1.0])])
def test_a_copy_for_sampling_adds_half_of_the_weights_and_stays_where_they_are_frozen(
    mode: str, kept: list[float]
) -> None:
    text = STAGES.replace("{batch: 4,", "{batch: 4, sampling_dtype: bfloat16,") % {"mode": mode, "beta": 0.1}
    needs = needs_of(loader.parse(f"name: fits\nmodel: {{kind: gemma2-2b}}\nstages:{text}", "fits.yaml"))
    grpo = memory_of(needs[1], found_for(needs), 4)
    assert [phase.kept / GIB for phase in grpo] == pytest.approx(kept, abs=1e-6)


def test_a_full_checkpoint_with_moments_is_too_large_and_an_adapter_is_not() -> None:
    for mode, fits in (("full", [False, False, True, True]), ("lora", [True] * 4)):
        wanted = pipeline(mode)
        needs = needs_of(wanted)
        verdicts = checkpoint_verdicts(wanted, needs, found_for(needs))
        assert [each["fits"] for each in verdicts] == fits
        assert mode == "lora" or "mode: lora" in verdicts[0]["advice"]


def test_a_checkpoint_holds_what_the_stage_needs_to_go_on() -> None:
    wanted = pipeline("full", 0.1)
    needs = needs_of(wanted)
    sizes = [each["bytes"] // (8 * GIB) for each in checkpoint_verdicts(wanted, needs, found_for(needs))]
    # Weights, two moments and (two parts) a sum; the same and the origin; then weights alone.
    assert sizes == [4, 5, 1, 1]
    stacked = pipeline("lora")
    verdicts = checkpoint_verdicts(stacked, needs_of(stacked), found_for(needs_of(stacked)))
    assert [each["bytes"] for each in verdicts] == [8 + 24, 16 + 24, 16, 16]


def test_beside_weights_in_bfloat16_the_adapters_of_earlier_stages_stay_adapters() -> None:
    def ranks(dtype: str, mode: str = "lora") -> list[tuple[int, int]]:
        programs = programs_by_name(needs_of(pipeline(mode, model={"dtype": dtype}))).items()
        return [(program.rank, program.held) for name, program in programs if not name.endswith("answers")]

    def asked(dtype: str) -> int:
        program = programs_by_name(needs_of(pipeline(model={"dtype": dtype})))["ask-ask-again/answers"]
        return program.rank + program.held

    assert ranks("float32") == [(8, 0), (8, 0)]
    assert ranks("bfloat16") == [(8, 0), (8, 8)]
    assert ranks("bfloat16", "full") == [(0, 0), (0, 0)]
    assert (asked("float32"), asked("bfloat16")) == (8, 16), "GRPO's sampler stands for that of the evaluation"


def test_a_checkpoint_in_bfloat16_holds_what_trains_in_float32_once() -> None:
    """The master weights are the weights of the checkpoint, and no part of its optimizer."""
    wanted = pipeline("full", 0.0, model={"dtype": "bfloat16"})
    needs = needs_of(wanted)
    found = {
        program: replace(each, masters=(2 * GIB, 16 * GIB), optimizer=(6 * GIB, 48 * GIB))
        for program, each in found_for(needs).items()
    }
    sizes = [each["bytes"] // (8 * GIB) for each in checkpoint_verdicts(wanted, needs, found)]
    # Two of weights and four of moments; the same; then the weights alone.
    assert sizes == [6, 6, 2, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accelerator": "cpu"}, "is 8, and cpu has 1 chip: make the mesh smaller"),
        ({"model": {"mesh_fsdp": 4}}, "is 16, and TpuV5E8 has 8 chips"),
        ({"model": {"kind": "gemma2"}}, "download it and name its folder as model.source"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        memory_document(pipeline(**changes), "fits.yaml", lambda line: None, Path("nowhere"))


def test_a_pipeline_without_a_model_has_no_memory_to_plan() -> None:
    ran = CliRunner().invoke(main, ["plan", str(ROOT / "examples/counting.yaml"), "--memory"])
    assert ran.exit_code == 2
    assert "no stage of this pipeline loads relay's model" in ran.output


def test_the_plan_says_what_a_session_does_mounts_and_installs() -> None:
    plan = outline(loader.load(ROOT / "examples/gemma2_2b.yaml"))
    assert plan["mounts"]["models"] == ["google/gemma-2/flax/gemma2-2b-it/1"]
    assert plan["session"]["budget_s"] < plan["session"]["limit_s"] == 32_400
    assert [stage["number"] for stage in plan["stages"]] == list(range(1, len(plan["stages"]) + 1))
    assert 0 < plan["kernel"]["bytes"] < plan["kernel"]["bytes_max"]


@pytest.mark.slow
@pytest.mark.parametrize("path", ["gemma2_2b.yaml", "counting.yaml"])
def test_the_plan_needs_no_credentials_and_names_every_stage(path: str) -> None:
    ran = CliRunner(env={"HOME": "/nowhere"}).invoke(main, ["plan", str(ROOT / "examples" / path)])
    assert ran.exit_code == 0
    for stage in loader.load(ROOT / "examples" / path).stages:
        assert stage.name in ran.output


# --- beside the arrays --------------------------------------------------------


LOADED = Loaded(weights=8 * GIB, largest=2 * GIB, itemsize=4, layers=10, files=4 * GIB)


def test_reading_holds_the_files_the_weights_and_two_copies_of_the_array_that_is_converted() -> None:
    reading, checking = starting_moments(LOADED)
    assert reading.peak == reading.pieces["libraries"] + 8 * GIB + 4 * GIB + 2 * GIB
    # 2 Gi numbers as 32-bit integers beside the weights: as much again in float32, twice as much in bfloat16
    assert checking.peak - checking.pieces["libraries"] - checking.pieces["allocator"] == 16 * GIB
    narrow = replace(LOADED, weights=4 * GIB, itemsize=2)
    assert starting_moments(narrow)[1].pieces["check"] == 2 * narrow.weights


def test_a_working_stage_holds_compiler_snapshot_checkpoint_and_judges_where_it_has_them() -> None:
    sft, grpo, ask = needs_of(pipeline())
    pieces = {each.kind: working_pieces(each, 10, 3, 5) for each in (sft, grpo, ask)}
    assert pieces["sft"]["judges"] == 0 < pieces["grpo"]["judges"] == pieces["evaluate"]["judges"]
    compiler = {kind: each["compiler"] for kind, each in pieces.items()}
    assert compiler["grpo"] == compiler["sft"] + compiler["evaluate"]
    assert (pieces["sft"]["snapshot"], pieces["sft"]["restored"]) == (3, 5)
    assert working_pieces(sft, 20, 0, 0)["compiler"] == 2 * compiler["sft"]


def test_on_a_cpu_arrays_and_host_share_one_memory_and_beside_chips_they_do_not() -> None:
    needs = needs_of(pipeline())
    found, model = found_for(needs), Model(mesh_fsdp=2, mesh_tp=4)
    chips, cpu = (verdict_of(needs[0], found, 64 * GIB, model, one_memory=alone) for alone in (False, True))
    beside = sum(cpu["beside_the_arrays"].values())
    assert [phase["phase"] for phase in cpu["phases"]] == ["reading the weights", "checking the weights", "step"]
    assert cpu["phases"][-1]["peak"] == chips["phases"][-1]["peak"] + beside
    assert cpu["host"] == [] and chips["beside_the_arrays"] == {}
    assert [each["name"] for each in chips["host"]] == ["reading the weights", "working"]
    assert cpu["largest_batch"] < chips["largest_batch"], "what is beside the arrays leaves less for a batch"


def test_a_host_that_is_too_small_for_the_model_is_named() -> None:
    needs = needs_of(pipeline())
    held = OnHost(LOADED, 0, 0)
    small = Machine("Tesla T4", 64 * GIB, Host(10 * GIB, ""))
    verdict = stage_verdict(needs[0], found_for(needs), small, Model(mesh_fsdp=2, mesh_tp=4), held)
    assert not verdict["fits"] and "host has too little memory" in verdict["advice"]
    assert all(phase["fits"] for phase in verdict["phases"])
    assert max(each.peak for each in host_moments(needs[0], LOADED, 0, 0)) > 10 * GIB


def test_files_count_as_they_are_and_as_published_where_they_are_not_here(tmp_path: Path) -> None:
    assert files_bytes("google/gemma-2/flax/gemma2-2b-it/1", 1000) == 2000
    (tmp_path / "model.safetensors").write_bytes(bytes(321))
    assert files_bytes(str(tmp_path), 1000) == 321


# --- what was measured --------------------------------------------------------


def compared(peaks: dict[str, dict[str, int]], one_memory: bool = True) -> dict[str, dict[str, Any]]:
    """The stages' comparisons by name, on a machine of 64 GiB, after a run of the same pipeline with these peaks."""
    same = pipeline()
    needs = needs_of(same)
    found, model = found_for(needs), Model(mesh_fsdp=2, mesh_tp=4)
    stages = [verdict_of(each, found, 64 * GIB, model, one_memory) for each in needs]
    measured = measured_in("fits-0001", same, same, peaks)
    limits = {"device": 64 * GIB, "host": 64 * GIB}
    return {each["names"][0]: each for each in with_measured(stages, measured, limits)}


def test_a_measured_stage_shows_its_error_and_the_others_are_corrected_by_it() -> None:
    planned = compared({})["sft"]["memory"]["host"]["planned"]
    after = compared({"sft": {"host_bytes": planned * 4}})
    assert after["sft"]["memory"]["host"]["error"] == pytest.approx(-0.75)
    assert after["sft"]["memory"]["host"]["expected"] == planned * 4
    assert after["sft"]["measured_in"] == ["fits-0001"] and after["grpo"]["measured_in"] == []
    other = after["grpo"]["memory"]["host"]
    assert (other["measured"], other["corrected_by"]) == (None, pytest.approx(0.25))
    assert other["expected"] == pytest.approx(4 * other["planned"], rel=1e-6)
    assert not after["ask"]["fits"], "four times its plan is more than the machine has"
    assert compared({})["ask"]["fits"]


def test_device_and_host_are_compared_apart() -> None:
    after = compared({"sft": {"device_bytes": 3 * GIB, "host_bytes": GIB}}, one_memory=False)["sft"]["memory"]
    assert {name: each["measured"] for name, each in after.items()} == {"device": 3 * GIB, "host": GIB}


def test_another_model_or_accelerator_tells_nothing() -> None:
    same, peaks = pipeline(), {"sft": {"host_bytes": GIB}}
    assert [each.run for each in measured_in("a", same, same, peaks)] == ["a"]
    for other in (pipeline(model={"dtype": "bfloat16"}), pipeline(accelerator="TpuV6E8")):
        assert measured_in("a", other, same, peaks) == []
    names = MeasuredPeaks(replace(needs_of(same)[0], names=()), "a", peaks["sft"])
    assert measured_in("a", same, same, peaks) == [names]


@pytest.mark.parametrize(
    ("accelerator", "limits", "memory_bytes", "host_bytes"),
    [
        ("TpuV5E8", [{}], 16 * GIB, 330 * 10**9),
        ("TpuV5E8", [{"device_limit_bytes": 15 * GIB, "host_limit_bytes": 400 * GIB}], 15 * GIB, 400 * GIB),
        ("TpuV5E8", [{"host_limit_bytes": 400 * GIB}, {"host_limit_bytes": 300 * GIB}], 16 * GIB, 300 * GIB),
        ("cpu", [{"host_limit_bytes": 20 * GIB}], 20 * GIB, 20 * GIB),
    ],
)
def test_what_sessions_found_of_a_machine_counts_more_than_what_is_documented(
    accelerator: str, limits: list[dict[str, int]], memory_bytes: int, host_bytes: int
) -> None:
    names = replace(needs_of(pipeline())[0], names=())
    machine = machine_of(accelerator, [MeasuredPeaks(names, "a", each) for each in limits])
    assert (machine.memory_bytes, machine.host.memory_bytes) == (memory_bytes, host_bytes)


def test_a_plan_fits_into_the_machine_that_a_session_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    same = pipeline()
    needs = needs_of(same)
    monkeypatch.setattr(Lowering, "measure", lambda self, wanted: found_for(needs))

    def planned(**limits: int) -> dict[str, Any]:
        measured = measured_in("a", same, same, {"sft": limits})
        return memory_document(same, "fits.yaml", lambda line: None, tmp_path, measured)

    documented, found = planned(), planned(device_limit_bytes=4 * GIB, host_limit_bytes=3 * GIB)
    assert (documented["memory_bytes"], found["memory_bytes"]) == (16 * GIB, 4 * GIB)
    assert (found["host_bytes"], found["host_source"]) == (3 * GIB, "found by a session of this home")
    before, after = documented["stages"][0], found["stages"][0]
    assert {name: each["limit"] for name, each in after["memory"].items()} == {"device": 4 * GIB, "host": 3 * GIB}
    assert before["fits"] and not after["fits"] and after["largest_batch"] < before["largest_batch"]


# --- what was lowered before --------------------------------------------------


def test_what_was_lowered_is_found_again_until_something_that_matters_changes(tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    (source / "model.safetensors").write_bytes(b"one")
    key = {"program": "sft", "rows": 4}
    before = LoweredBefore(tmp_path / "plans", str(source))
    assert before.get(key) is None
    before.keep(key, [{"part": 1}])
    assert before.get(key) == [{"part": 1}]
    assert before.get({**key, "rows": 5}) is None
    (source / "model.safetensors").write_bytes(b"other")
    assert LoweredBefore(tmp_path / "plans", str(source)).get(key) is None


def test_a_damaged_answer_is_lowered_again(tmp_path: Path) -> None:
    before = LoweredBefore(tmp_path, "owner/name")
    before.keep({}, [{}])
    (kept,) = tmp_path.glob("*.json")
    kept.write_text("{", encoding="ascii")
    assert before.get({}) is None


def test_options_that_change_no_program_are_no_part_of_what_is_lowered() -> None:
    assert lowered_options(pipeline()) == lowered_options(pipeline(model={"system": '"be brief"'}))


# --- the screen ---------------------------------------------------------------


@pytest.mark.parametrize("one_memory", [False, True])
def test_eighty_columns_hold_the_verdict(one_memory: bool) -> None:
    needs = needs_of(pipeline())
    found, model = found_for(needs, cache_per_row=GIB // 8), Model(mesh_fsdp=2, mesh_tp=4)
    verdicts = [verdict_of(each, found, 16 * GIB, model, one_memory) for each in needs]
    measured = measured_in("fits-0001", pipeline(), pipeline(), {"sft": {"host_bytes": 9 * GIB}})
    stages = with_measured(verdicts, measured, {"device": 16 * GIB, "host": 330 * 10**9})
    checkpoints = checkpoint_verdicts(pipeline(), needs, found)
    document = {
        "pipeline": "fits",
        "chip": "CPU" if one_memory else "TPU v5e",
        "one_memory": one_memory,
        "host_bytes": 330 * 10**9,
        "accuracy": "not known",
        "memory_bytes": 16 * GIB,
        "mesh": {"fsdp": 2, "tp": 4},
        "model": {"kind": "gemma2-2b", "dtype": "float32", "remat": "none"},
        "stages": stages,
        "checkpoints": checkpoints,
        "output_bytes_max": 20 * 10**9,
        "fits": False,
    }
    console = Console(width=80, file=StringIO(), highlight=False)
    console.print(memory_view(document))
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert "ask, ask-again: does not fit; " in " ".join(text.split())
    assert "not yet" in text and "9.0" in text, "what was measured, and what was not"
    assert "…" not in text


def test_the_stages_of_a_plan_begin_in_the_column_of_its_other_lines() -> None:
    console = Console(width=80, file=StringIO(), highlight=False)
    console.print(outline_view(outline(pipeline())))
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    for word in ("stage", "sft", "session", "kernel"):
        assert any(line.startswith(f"  {word} ") for line in lines), word
