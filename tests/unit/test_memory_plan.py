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
from orchestrator.pipeline.chips import GIB
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.summary import outline
from orchestrator.preflight.memory.forecast import checkpoint_verdicts, memory_document, memory_of, stage_verdict
from orchestrator.preflight.memory.measure import Needs
from orchestrator.preflight.memory.programs import Program, StageNeeds, needs_of, programs_of, rows_to_compile, share
from orchestrator.views.plan import memory_view
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
        points = tuple(
            {
                "rows": rows,
                "cache": cache * rows // 8,
                "cache_whole": cache * rows,
                "inputs": 0,
                "outputs": 0,
                "temporaries": per_row * rows // 2,
            }
            for rows in (2, 4)
        )
        found[program] = Needs((GIB, 8 * GIB), adapter, optimizer, ((points[0], points[1]),), fsdp=2)
    return found


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


def test_a_program_is_compiled_for_the_most_rows_and_for_others_that_lie_apart() -> None:
    needs = needs_of(pipeline())
    rows = {program.kind: rows_to_compile(needs, program, 2) for program in programs_of(needs)}
    assert rows == {"sft": (4, 2), "answers": (32, 8), "grpo": (4, 2)}
    assert all(share(most, 2) != share(other, 2) for most, other in rows.values())


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
    verdicts = {each.names[0]: stage_verdict(each, found, 16 * GIB, model) for each in needs}
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
    sft, grpo, ask = (stage_verdict(each, found, 16 * GIB, model) for each in needs)
    assert sft["advice"] == "" and sft["fits"]
    assert "batch: 2 is the largest that fits" in grpo["advice"]
    assert "batch: 4 is the largest that fits" in ask["advice"]
    tight = found_for(needs, per_row=10 * GIB)
    assert "gradient_accumulation_steps: 4 fits" in stage_verdict(needs[0], tight, 16 * GIB, model)["advice"]


def test_a_probe_that_does_not_fit_leaves_the_batch_as_it_is() -> None:
    text = STAGES.replace("batch: 8,", "batch: 8, probe_problems: 64,") % {"mode": "lora", "beta": 0.1}
    whole = loader.parse(f"name: fits\nmodel: {{kind: gemma2-2b, mesh_fsdp: 2}}\nstages:{text}", "fits.yaml")
    needs = needs_of(whole)
    verdict = stage_verdict(needs[0], found_for(needs), 16 * GIB, Model(mesh_fsdp=2))
    assert (verdict["largest_batch"], verdict["fits"]) == (52, False)
    assert verdict["advice"] == "probe_problems: 26 is the largest that fits"


def test_the_cache_lies_on_the_first_chip_whole_before_it_is_spread() -> None:
    needs = needs_of(pipeline())
    begun, answering = memory_of(needs[2], found_for(needs, per_row=0, cache_per_row=GIB), 8)
    assert begun.phase == "answers: cache on chip 1"
    assert (begun.cache, answering.cache) == (9 * GIB, GIB)


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
        ({"accelerator": "cpu"}, "accelerator cpu has no chips"),
        ({"model": {"mesh_fsdp": 4}}, "is 16, and TpuV5E8 has 8 chips"),
        ({"model": {"kind": "gemma2"}}, "download it and name its folder as model.source"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        memory_document(pipeline(**changes), "fits.yaml", lambda line: None)


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


def test_eighty_columns_hold_the_verdict() -> None:
    needs = needs_of(pipeline())
    found, model = found_for(needs, cache_per_row=GIB // 8), Model(mesh_fsdp=2, mesh_tp=4)
    stages = [stage_verdict(each, found, 16 * GIB, model) for each in needs]
    checkpoints = checkpoint_verdicts(pipeline(), needs, found)
    document = {
        "pipeline": "fits",
        "chip": "TPU v5e",
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
    assert "ask, ask-again: does not fit; batch: " in " ".join(text.split())
    assert "…" not in text
