"""The page on what steps cost: what the work model computes for the shipped recipes, and nothing else."""

import re
from pathlib import Path

import pytest

from orchestrator.core.work.rates import RATES
from orchestrator.views.roofline_page import TABLES, batches_table, filled, steps_table

PAGE = Path(__file__).parents[3] / "docs/roofline.md"


def test_the_committed_page_is_what_the_command_writes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"<!-- (\w+): made by", page) == ["steps", "phases", "batches", "chips"]
    assert filled(page) == page, "make reference writes it again"
    torn = re.sub(r"^\| Gemma.*\n", "", page, flags=re.MULTILINE)
    assert torn != page
    assert filled(torn) == page


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_row_has_as_many_cells_as_the_head(table: object) -> None:
    lines = table().splitlines()  # type: ignore[operator]
    assert len(lines) > 2
    assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_the_table_says_what_a_person_computes_for_gemma_2_2bs_sft() -> None:
    """Three passes over 2.02e9 weights and two of 0.59e9 for logits, at 8 × 1,024 positions, are 130 TFLOP with attention."""
    matrices, output = 26 * (2304 * 256 * (2 * 8 + 2 * 4) + 3 * 2304 * 9216), 256_128 * 2304
    adapter_share = 1.05
    least = 8 * 1024 * (3 * 2 * matrices + 2 * 2 * output)
    (row,) = [line for line in steps_table().splitlines() if "Gemma 2 2B, SFT" in line]
    cells = [cell.strip() for cell in row.split("|")]
    assert least < float(cells[6]) * 1e12 < adapter_share * 1.15 * least
    seconds = float(cells[6]) * 1e12 / (8 * RATES["TpuV5E8"].flops)
    assert cells[8] == f"{seconds:.2g} s", "products bound a step of SFT"


def test_larger_batches_answer_more_problems_a_second_and_gain_more_over_tunix() -> None:
    rows = [line.split("|") for line in batches_table().splitlines() if "Gemma 2 2B" in line]
    for column in (4, 7):
        values = [float(row[column].replace(",", "")) for row in rows]
        assert values == sorted(values)
