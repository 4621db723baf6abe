"""`relay rehearse --simulate`: what it says, what it exits with, and that it leaves nothing behind."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import main
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rehearse(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["rehearse", *arguments])


@pytest.mark.slow
def test_chains_are_summed_up_and_nothing_is_left_behind(place: Path) -> None:
    ran = rehearse("--simulate", "30", "--seed", "5")
    assert ran.exit_code == 0
    assert ran.output.splitlines()[0].startswith("30 chains in ")
    assert "30 finished" in ran.output
    assert " faults struck:" in ran.output
    assert ran.output.splitlines()[-1] == "every invariant held in every chain"
    assert list(place.iterdir()) == []


@pytest.mark.slow
def test_one_chain_tells_its_story(place: Path) -> None:
    ran = rehearse("--simulate", "1", "--seed", "42")
    assert ran.exit_code == 0
    told = ran.output.splitlines()
    assert told[0].startswith("2030-01-07 00:00:00  session 1 planned from the beginning")
    assert any("  Kaggle misbehaves: " in line for line in told)
    assert any(line.endswith("  the daemon died") for line in told)
    assert told[-1].startswith("every invariant holds (")
    assert list(place.iterdir()) == []


@pytest.mark.slow
def test_a_seed_that_breaks_an_invariant_is_named_with_the_command_that_tells_its_story(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DirectGateway, "find_kernel", lambda gateway, slug: None)
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # in this process, where the planted bug is
    pipeline = place / "mine.yaml"
    pipeline.write_text((ROOT / "examples" / "counting.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    ran = rehearse(str(pipeline), "--simulate", "30")
    assert ran.exit_code == 1
    broken = [line for line in ran.output.splitlines() if " broke: " in line]
    assert broken
    assert all("no order is pushed twice" in line or "does not end" in line for line in broken), broken
    seed = broken[0].split()[1]
    assert f"  relay rehearse {pipeline} --simulate 1 --seed {seed}" in ran.output
    again = rehearse(str(pipeline), "--simulate", "1", "--seed", seed)
    assert again.exit_code == 1
    assert f"broken: {broken[0].partition(' broke: ')[2]} (" in again.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--simulate", "0"], "0 is not in the range"),
        (["--simulate", "3", "--calm"], "--simulate and --calm do not go together"),
        (["--simulate", "3", "--faults", "f.yaml"], "--simulate and --faults do not go together"),
        (["--seed", "3"], "add --simulate N"),
        (["nowhere.yaml", "--simulate", "3"], "nowhere.yaml does not exist"),
        (["hasty.yaml", "--simulate", "3"], "session.margin_s leaves no time for a step"),
    ],
)
def test_flags_that_do_not_fit_are_refused_in_a_sentence(place: Path, arguments: list[str], says: str) -> None:
    hasty = place / "hasty.yaml"
    hasty.write_text(
        "{name: hasty, session: {limit_s: 60, margin_s: 58}, stages: [{name: one, kind: counting, steps: 9}]}"
    )
    ran = rehearse(*arguments)
    assert ran.exit_code == 2
    assert says in ran.output
    assert list(place.iterdir()) == [hasty]
